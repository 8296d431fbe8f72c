// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/rows.cuh"

// Dimensions that N tensors share. Filled by cuda_joint() of joint.h; layouts agree.
template <int N>
struct Joint {
  i32 rank;  // 0: one index, at 0
  Divider sizes[8];
  i64 strides[N][8];
  // Of index number n < 2^31, row-major, in each tensor.
  void offsets(u32 n, i64 (&at)[N]) const {
#pragma unroll
    for (int t = 0; t < N; ++t) at[t] = 0;
#pragma unroll 1
    for (int d = rank - 1; d > 0; --d) {
      const u32 q = sizes[d].quotient(n), here = n - q * sizes[d].divisor;
#pragma unroll
      for (int t = 0; t < N; ++t) at[t] += here * strides[t][d];
      n = q;
    }
#pragma unroll
    for (int t = 0; t < N; ++t) at[t] += n * strides[t][0];
  }
};

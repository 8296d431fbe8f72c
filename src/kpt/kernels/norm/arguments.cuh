// SPDX-License-Identifier: Apache-2.0
#pragma once
// What norm.cu, norm_many.cu and norm_wide.cu are told; norm_cuda.cpp fills it.
#include "kpt/kernels/lib/cuda/held.cuh"

typedef ROW T;
typedef WEIGHT W;

struct Norm {
  u32 rows;
  i32 width;  // norm.cu, norm_many.cu: at most THREADS * PACKS * VEC
  f32 eps;
  i32 rms;
  Rows x, residual, y, sum;
};

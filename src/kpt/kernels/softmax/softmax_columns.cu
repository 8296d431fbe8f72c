// SPDX-License-Identifier: Apache-2.0
// softmax.h along a dimension whose elements are apart: 32 columns (neighbours in memory, as a rule) a block, each
// shared by blockDim.y threads, read twice. Defines: ROW, OUT.
#include "kpt/kernels/lib/cuda/exponents.cuh"
#include "kpt/kernels/lib/cuda/rows.cuh"

struct Softmax {
  u32 columns;
  i32 width, log;
  i64 x_stride, y_stride;
  Rows x, y;
};

constexpr bool kTwoBytes = sizeof(ROW) == 2 && sizeof(OUT) == 2;
typedef ExponentsOf<kTwoBytes> Exponents;
constexpr int kFlight = 8;  // loads on their way at once

extern "C" __global__ void __launch_bounds__(1024)
    softmax_columns(const ROW* x, OUT* y, const __grid_constant__ Softmax s) {
  __shared__ Exponents slots[32][32];
  grid_release();
  const u32 column = blockIdx.x * 32 + threadIdx.x;
  const bool mine = column < s.columns;
  if (mine) {
    x += s.x.offset(column);
    y += s.y.offset(column);
  }
  const int width = mine ? s.width : 0, step = blockDim.y;
  grid_wait();
  const auto load = [&](int start, float(&v)[kFlight]) {
#pragma unroll
    for (int i = 0; i < kFlight; ++i)
      v[i] = start + i * step < width ? to_float(x[(start + i * step) * s.x_stride]) : minus_infinity();
  };
  Exponents e = {minus_infinity(), 0};
  float v[kFlight];
  for (int start = threadIdx.y; start < width; start += kFlight * step) {
    load(start, v);
    e.add(v);
  }
  slots[threadIdx.y][threadIdx.x] = e;
  __syncthreads();
  e = slots[0][threadIdx.x];
  for (int i = 1; i < step; ++i) e.merge(slots[i][threadIdx.x]);
  const float factor = 1 / e.sum, shift = logf(e.sum);
  for (int start = threadIdx.y; start < width; start += kFlight * step) {
    load(start, v);
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      const float r = s.log ? v[i] - e.largest - shift : term<kTwoBytes>(v[i], e.largest) * factor;
      if (start + i * step < width) y[(start + i * step) * s.y_stride] = from_float<OUT>(r);
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
// y[i] = act(x[i / width * ld + i % width] + bias[i % width]): rows that lie `ld` apart become dense ones. bias: null
// where absent. Defines: T (element type), ACT (kpt::Act). A thread writes 16 bytes where y allows it; what it reads is
// read by its neighbours too, from the cache.
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/types.cuh"

constexpr int kVector = 16 / sizeof(T);

extern "C" __global__ void __launch_bounds__(256)
    gemm_unpad(const T* x, const T* bias, T* y, i64 count, i64 ld, u32 width) {
  grid_release();
  const i64 first = ((i64)blockIdx.x * 256 + threadIdx.x) * kVector;
  if (first >= count) return;
  i64 row = first / width;
  u32 column = (u32)(first - row * width);
  grid_wait();
  Pack<T, kVector> out;
#pragma unroll
  for (int v = 0; v < kVector; ++v) {
    if (first + v < count) {
      float sum = to_float(x[row * ld + column]);
      if (bias) sum += to_float(bias[column]);
      out.e[v] = from_float<T>(act<ACT, sizeof(T)>(sum));
    }
    if (++column == width) column = 0, ++row;
  }
  if (first + kVector <= count && ((u64)y & 15) == 0) {
    *(Pack<T, kVector>*)(y + first) = out;
    return;
  }
  for (int v = 0; v < kVector && first + v < count; ++v) y[first + v] = out.e[v];
}

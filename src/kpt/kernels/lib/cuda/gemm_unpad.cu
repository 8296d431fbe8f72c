// SPDX-License-Identifier: Apache-2.0
// Rows that lie `ld` apart become dense ones; where a row has no such source, its end comes from the edge:
//
//   y[row * width + column] = act(x[row * ld + column] + bias[column])                        column < main
//                             edge_act(edge[row * V + column - (width - V)] + edge_bias[column])   else; V: 16 bytes
//
// bias, edge_bias: null where absent. Defines: T (f32, bf16, f16), ACT, EDGE_ACT (kpt::Act). x starts and its rows are
// apart by lines of 16 bytes. A thread writes 16 bytes; it reads the two lines of 16 bytes that they lie in and shifts.
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/words.cuh"

constexpr int kVector = 16 / sizeof(T);

// 16 bytes from `bytes` behind the start of low, then high. bytes: even, below 16.
inline Words shifted(const Words& low, const Words& high, u32 bytes) {
  u32 w[8];
#pragma unroll
  for (int i = 0; i < 4; ++i) w[i] = low.w[i], w[i + 4] = high.w[i];
#pragma unroll
  for (int i = 0; i < 6; ++i) w[i] = bytes & 8 ? w[i + 2] : w[i];
#pragma unroll
  for (int i = 0; i < 5; ++i) w[i] = bytes & 4 ? w[i + 1] : w[i];
  Words out;
#pragma unroll
  for (int i = 0; i < 4; ++i) out.w[i] = bytes & 2 ? w[i] >> 16 | w[i + 1] << 16 : w[i];
  return out;
}

extern "C" __global__ void __launch_bounds__(256)
    gemm_unpad(const T* x, const T* edge, const T* bias, const T* edge_bias, T* y, u32 count, u32 ld, u32 width,
               u32 main) {
  grid_release();
  const u32 first = (blockIdx.x * 256 + threadIdx.x) * kVector;
  if (first >= count) return;
  u32 row = first / width, column = first - row * width;
  grid_wait();
  if (column + kVector <= main && ((u64)y & 15) == 0) {
    const u32 within = column % kVector;
    const T* const from = x + (row * ld + column - within);
    const Words low = load_words(from);
    Words out = shifted(low, within ? load_words(from + kVector) : low, within * sizeof(T));
    if (ACT != 0 || bias) {
      float sum[kVector];
      unpack<T>(out, sum);
#pragma unroll
      for (int v = 0; v < kVector; ++v)
        sum[v] = act<ACT, sizeof(T)>(bias ? sum[v] + to_float(bias[column + v]) : sum[v]);
      out = pack<T>(sum);
    }
    stream_words(y + first, out);  // x is to stay in the cache, not y
    return;
  }
#pragma unroll 1
  for (u32 i = first; i < first + kVector && i < count; ++i) {
    float sum;
    if (column < main) {
      sum = to_float(x[row * ld + column]);
      if (bias) sum += to_float(bias[column]);
      sum = act<ACT, sizeof(T)>(sum);
    } else {
      sum = to_float(edge[row * kVector + column + kVector - width]);
      if (edge_bias) sum += to_float(edge_bias[column]);
      sum = act<EDGE_ACT, sizeof(T)>(sum);
    }
    y[i] = from_float<T>(sum);
    if (++column == width) column = 0, ++row;
  }
}

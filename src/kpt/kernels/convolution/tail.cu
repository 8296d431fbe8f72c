// SPDX-License-Identifier: Apache-2.0
// y = act(y + bias[o] + residual) in place; y [b][o][pixel] and the residual row-major, channels-last where there is one
// pixel for each channel. bias, residual: null where absent. Defines: T (element type), ACT (kpt::Act). A thread has one
// vector of 16 bytes of the flat tensor; planes of any size, so a vector may reach into the next channel.
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/types.cuh"

struct Numbers {
  i64 count, pixels, channels;
};

extern "C" __global__ void __launch_bounds__(256) conv_tail(T* y, const T* bias, const T* residual, Numbers n) {
  grid_release();
  grid_wait();
  constexpr int V = 16 / sizeof(T);
  typedef Pack<T, V> Vector;
  const i64 first = ((i64)blockIdx.x * 256 + threadIdx.x) * V;
  if (first >= n.count) return;
  const i64 plane = n.count < (1ll << 31) ? (u32)first / (u32)n.pixels : first / n.pixels;
  i64 pixel = first - plane * n.pixels;
  i64 channel = plane % n.channels;
  float add = bias ? to_float(bias[channel]) : 0.0f;
  const bool whole = first + V <= n.count && ((u64)y | (u64)residual) % 16 == 0;
  Vector data, more;
  if (whole) data = *(const Vector*)(y + first);
  if (whole && residual) more = *(const Vector*)(residual + first);
#pragma unroll
  for (int v = 0; v < V; ++v) {
    if (!whole && first + v >= n.count) break;
    float x = to_float(whole ? data.e[v] : y[first + v]) + add;
    if (residual) x += to_float(whole ? more.e[v] : residual[first + v]);
    const T result = from_float<T>(act<ACT, sizeof(T)>(x));
    if (whole)
      data.e[v] = result;
    else
      y[first + v] = result;
    if (++pixel < n.pixels) continue;
    pixel = 0;
    channel = channel + 1 < n.channels ? channel + 1 : 0;
    if (bias) add = to_float(bias[channel]);
  }
  if (whole) *(Vector*)(y + first) = data;
}

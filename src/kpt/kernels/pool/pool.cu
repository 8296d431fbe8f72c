// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/rows.cuh"
// Maxima and means of windows, in f32. T: the element type. `group` threads share an output, one after the other in a
// warp: one where the window is small, so that threads side by side read side by side.

struct Axis {
  i32 size, out, kernel, stride, padding, dilation;
  i64 step;
};
struct Pool {
  Rows planes;  // of x
  Divider across, down, group, channels;
  Axis h, w;
  u32 outputs;
  i32 max, adaptive, include_pad, small, run, last;  // small: at most 3 x 3, no dilation; run: planes are dense; last: y is [N, oh, ow, C]
  float divisor;                               // 0: the window's size
};

struct Window {
  i32 begin, end, padded;
};
inline Window window_of(const Axis& a, i32 o, bool adaptive) {
  Window w;
  if (adaptive) {  // both products are below 2^31
    w.begin = (u32)(o * a.size) / (u32)a.out;
    w.end = (u32)((o + 1) * a.size + a.out - 1) / (u32)a.out;
    w.padded = w.end - w.begin;
    return w;
  }
  w.begin = o * a.stride - a.padding;
  w.end = w.begin + (a.kernel - 1) * a.dilation + 1;
  if (w.end > a.size + a.padding) w.end = a.size + a.padding;
  w.padded = w.end - w.begin;
  if (w.begin < 0) w.begin += (-w.begin + a.dilation - 1) / a.dilation * a.dilation;
  if (w.end > a.size) w.end = a.size;
  return w;
}

struct Largest {  // NaN wins
  static float first() { return minus_infinity(); }
  static float f(float a, float b) { return b > a || b != b ? b : a; }
};
struct Total {
  static float first() { return 0; }
  static float f(float a, float b) { return a + b; }
};

template <class Op>
inline float over_window(const Pool& k, const T* x, Window h, Window w, u32 lane) {
  float sum = Op::first();
  if (k.small) {
    const i32 rows = h.end - h.begin, columns = w.end - w.begin;
    x += h.begin * k.h.step + w.begin * k.w.step;
    float held[9];
#pragma unroll
    for (int i = 0; i < 9; ++i) {
      held[i] = Op::first();
      if (i / 3 < rows && i % 3 < columns) held[i] = to_float(x[i / 3 * k.h.step + i % 3 * k.w.step]);
    }
#pragma unroll
    for (int i = 0; i < 9; ++i) sum = Op::f(sum, held[i]);
  } else if (k.run && w.end - w.begin == k.w.size) {  // whole rows of a dense plane
    const u32 n = (u32)(h.end - h.begin) * (u32)k.w.size;
    x += (i64)h.begin * k.w.size;
#pragma unroll 8
    for (u32 i = lane; i < n; i += k.group.divisor) sum = Op::f(sum, to_float(x[i]));
  } else {
    const u32 rows = (u32)(h.end - h.begin + k.h.dilation - 1) / (u32)k.h.dilation;
    const u32 columns = (u32)(w.end - w.begin + k.w.dilation - 1) / (u32)k.w.dilation;
    x += h.begin * k.h.step + w.begin * k.w.step;
    const i64 down = k.h.dilation * k.h.step, across = k.w.dilation * k.w.step;
    if (k.group.divisor == 1) {
      for (u32 r = 0; r < rows; ++r)
#pragma unroll 4
        for (u32 c = 0; c < columns; ++c) sum = Op::f(sum, to_float(x[r * down + c * across]));
    } else {
#pragma unroll 4
      for (u32 i = lane; i < rows * columns; i += k.group.divisor)
        sum = Op::f(sum, to_float(x[i / columns * down + i % columns * across]));
    }
  }
  for (u32 step = k.group.divisor / 2; step; step >>= 1) sum = Op::f(sum, __shfl_xor_sync(0xffffffffu, sum, step));
  return sum;
}

// Four blocks on a multiprocessor: without the number ptxas aims at eight, 32 registers, and spills.
extern "C" __global__ void __launch_bounds__(256, 4) pool(const __grid_constant__ Pool k, const T* x, T* y) {
  grid_release();
  const u32 groups = blockDim.x / k.group.divisor, mine = k.group.quotient(threadIdx.x);
  const u32 unit = blockIdx.x * groups + mine, lane = threadIdx.x - mine * k.group.divisor;
  const u32 output = unit < k.outputs ? unit : k.outputs - 1;  // all lanes come to the shuffles
  // From the innermost axis outwards: j, i, plane, or channel, j, i, image.
  const u32 pixel = k.last ? k.channels.quotient(output) : output, channel = output - pixel * (k.last ? k.channels.divisor : 1);
  const u32 row = k.across.quotient(pixel), j = pixel - row * k.across.divisor;
  const u32 high = k.down.quotient(row), i = row - high * k.down.divisor;
  const u32 plane = k.last ? high * k.channels.divisor + channel : high;
  const Window h = window_of(k.h, i, k.adaptive), w = window_of(k.w, j, k.adaptive);
  x += k.planes.offset(plane);
  grid_wait();
  float v;
  if (k.max) {
    v = over_window<Largest>(k, x, h, w, lane);
  } else {
    float count = k.divisor;
    if (count == 0) {
      const i32 rows = k.include_pad ? h.padded : h.end - h.begin, columns = k.include_pad ? w.padded : w.end - w.begin;
      count = (float)rows * (float)columns;
    }
    v = over_window<Total>(k, x, h, w, lane) / count;
  }
  if (unit < k.outputs && lane == 0) y[output] = from_float<T>(v);
}

// SPDX-License-Identifier: Apache-2.0
// A convolution by its definition, one output a thread: y[b][o][i][j] = act(sum + bias[o] + residual). Neighbours along a
// row, or among the channels where they are `last`, read neighbouring inputs, so one channel a group (depthwise) runs at
// the speed of the cache. y and the residual are row-major, [b][i][j][o] where `last`; x and w have any strides. bias,
// residual: null where absent. Defines: T (element type), ACT (kpt::Act).
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/types.cuh"

struct Numbers {
  i64 count, x_b, x_c, x_h, x_w, w_o, w_c, w_h, w_w;
  int h, w, kh, kw, oh, ow, outputs, group_c, group_o;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, last;
};

extern "C" __global__ void __launch_bounds__(256)
    conv_direct(const T* x, const T* weight, const T* bias, const T* residual, T* y, Numbers n) {
  grid_release();
  grid_wait();
  const i64 at = (i64)blockIdx.x * 256 + threadIdx.x;
  if (at >= n.count) return;
  // From the innermost axis outwards: j, i, o or o, j, i.
  const int first = n.last ? n.outputs : n.ow, second = n.last ? n.ow : n.oh, third = n.last ? n.oh : n.outputs;
  const i64 rest = at / first, outer = rest / second, b = outer / third;
  const int inner = (int)(at - rest * first), middle = (int)(rest - outer * second), high = (int)(outer - b * third);
  const int o = n.last ? inner : high, i = n.last ? high : middle, j = n.last ? middle : inner;
  const int top = i * n.stride_h - n.pad_h, left = j * n.stride_w - n.pad_w;
  const T* from = x + b * n.x_b + (i64)(o / n.group_o) * n.group_c * n.x_c;
  const T* w = weight + o * n.w_o;
  float sum = 0;
  for (int c = 0; c < n.group_c; ++c, from += n.x_c, w += n.w_c) {
    for (int p = 0; p < n.kh; ++p) {
      const int r = top + p * n.dilation_h;
      for (int q = 0; q < n.kw; ++q) {
        const int s = left + q * n.dilation_w;
        if (r < 0 || r >= n.h || s < 0 || s >= n.w) continue;
        sum += to_float(w[p * n.w_h + q * n.w_w]) * to_float(from[r * n.x_h + s * n.x_w]);
      }
    }
  }
  if (bias) sum += to_float(bias[o]);
  if (residual) sum += to_float(residual[at]);
  y[at] = from_float<T>(act<ACT, sizeof(T)>(sum));
}

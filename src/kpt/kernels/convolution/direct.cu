// SPDX-License-Identifier: Apache-2.0
// A convolution by its definition, one output a thread: y[b][o][i][j] = act(sum + bias[o]). Neighbours along a row read
// neighbouring inputs, so one channel a group (depthwise) runs at the speed of the cache. y and w are row-major, x has
// any strides. Defines: T (element type), ACT (kpt::Act).
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/types.cuh"

struct Numbers {
  i64 count, x_b, x_c, x_h, x_w;
  int h, w, kh, kw, oh, ow, outputs, group_c, group_o;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, unused;
};

extern "C" __global__ void __launch_bounds__(256)
    conv_direct(const T* x, const T* weight, const T* bias, T* y, Numbers n) {
  grid_release();
  grid_wait();
  const i64 at = (i64)blockIdx.x * 256 + threadIdx.x;
  if (at >= n.count) return;
  const i64 row = at / n.ow;
  const int j = (int)(at - row * n.ow);
  const i64 plane = row / n.oh;
  const int i = (int)(row - plane * n.oh);
  const i64 b = plane / n.outputs;
  const int o = (int)(plane - b * n.outputs);
  const int top = i * n.stride_h - n.pad_h, left = j * n.stride_w - n.pad_w;
  const T* from = x + b * n.x_b + (i64)(o / n.group_o) * n.group_c * n.x_c;
  const T* w = weight + (i64)o * n.group_c * n.kh * n.kw;
  float sum = 0;
  for (int c = 0; c < n.group_c; ++c, from += n.x_c) {
    for (int p = 0; p < n.kh; ++p) {
      const int r = top + p * n.dilation_h;
      for (int q = 0; q < n.kw; ++q, ++w) {
        const int s = left + q * n.dilation_w;
        if (r < 0 || r >= n.h || s < 0 || s >= n.w) continue;
        sum += to_float(*w) * to_float(from[r * n.x_h + s * n.x_w]);
      }
    }
  }
  if (bias) sum += to_float(bias[o]);
  y[at] = from_float<T>(act<ACT, sizeof(T)>(sum));
}

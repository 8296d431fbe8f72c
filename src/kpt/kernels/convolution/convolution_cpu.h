// SPDX-License-Identifier: Apache-2.0
// The concrete convolution and its cut, as *_simd.cpp sees it: plain C++, no standard containers.
#pragma once
#include <cstdint>

#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

// x[b, c, h, w], weights [o, c / groups, kh, kw], y[b, o, oh, ow], or [b, oh, ow, o] where `last`; y and the residual
// are row-major. *_simd.cpp wants w of x contiguous, row-major weights, channels before the pixels and no residual.
struct ConvProblem {
  Elem elem = Elem::f32;
  int64_t b = 0, c = 0, h = 0, w = 0, o = 0, groups = 1, kh = 1, kw = 1, oh = 0, ow = 0;
  int64_t x_b = 0, x_c = 0, x_h = 0, x_w = 1;
  int64_t w_o = 0, w_c = 0, w_h = 0, w_w = 1;
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;
  bool has_bias = false, has_residual = false, last = false;
  Act act = Act::none;
  int threads = 1;
};

// panels: a unit is up to 48 output pixels (AVX-512) times a block of output channels of one image and group. Its input
// patches are laid out [channel, kh, kw][pixel] a few hundred rows at a time, never as a whole.
// planes (one input channel a group): a unit is one output channel of one image, computed from a padded copy of its
// plane whose columns are sorted by their phase modulo the stride, so that every load is contiguous.
struct ConvPlan {
  bool planes = false;
  int max_v = 1;
  int64_t panels = 0, wide = 0;  // as GemmPlan
  int64_t row_blocks = 1, row_block = 0;
  int64_t k_block = 0;      // channels in a block of the panel
  int64_t phase_width = 0;  // planes: columns of one phase, slack for whole vectors included
  int64_t units = 0, units_per_task = 1, tasks = 0;
  int64_t worker_bytes = 0;
};

struct ConvPointers {
  const void* x;
  const void* w;
  const void* bias;
  void* y;
};

#define KPT_CONV_ENTRIES(isa)                                                                                      \
  namespace isa {                                                                                                  \
  int64_t conv_worker_floats(const ConvProblem& p, const ConvPlan& plan);                                          \
  void conv_task(const ConvProblem& p, const ConvPlan& plan, const ConvPointers& at, int64_t task, void* scratch); \
  }
KPT_CONV_ENTRIES(generic)
KPT_CONV_ENTRIES(avx2)
KPT_CONV_ENTRIES(avx512)
KPT_CONV_ENTRIES(avx512bf16)
#undef KPT_CONV_ENTRIES

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
// One row of a softmax. Plain C++: shared with softmax_simd.cpp.
#pragma once
#include <cstdint>

#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

struct SoftmaxRow {
  const void* x;
  void* y;
  int64_t width, x_stride, y_stride;  // strides in elements
  float* scratch;                     // width floats
  bool log;
};
using SoftmaxFn = void (*)(const SoftmaxRow&);

#define KPT_SOFTMAX_ENTRY(isa)           \
  namespace isa {                        \
  SoftmaxFn softmax_row(Elem x, Elem y); \
  }
KPT_SOFTMAX_ENTRY(generic)
KPT_SOFTMAX_ENTRY(avx2)
KPT_SOFTMAX_ENTRY(avx512)
KPT_SOFTMAX_ENTRY(avx512bf16)
#undef KPT_SOFTMAX_ENTRY

}  // namespace kpt

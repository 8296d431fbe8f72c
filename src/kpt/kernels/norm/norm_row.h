// SPDX-License-Identifier: Apache-2.0
// One row of a normalisation. Plain C++: shared with norm_simd.cpp.
#pragma once
#include <cstdint>

#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

struct NormRow {
  const void* x;
  const void* residual;  // null: none
  const void* w;         // null: 1
  const void* b;         // null: 0
  void* y;
  void* sum;       // null: not wanted
  float* scratch;  // width floats
  int64_t width;
  float eps;
  bool rms;
};
using NormFn = void (*)(const NormRow&);

#define KPT_NORM_ENTRY(isa)        \
  namespace isa {                  \
  NormFn norm_row(Elem x, Elem w); \
  }
KPT_NORM_ENTRY(generic)
KPT_NORM_ENTRY(avx2)
KPT_NORM_ENTRY(avx512)
KPT_NORM_ENTRY(avx512bf16)
#undef KPT_NORM_ENTRY

}  // namespace kpt

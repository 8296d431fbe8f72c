// SPDX-License-Identifier: Apache-2.0
// Rows of kpt.rotary. Plain C++: shared with rotary_simd.cpp.
#pragma once
#include <cstdint>

#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

struct RotaryRows {
  const void* x;
  const void* cos;
  const void* sin;
  void* y;
  int64_t half;   // elements of half a row
  int64_t count;  // rows
  // In elements: from row to row, and from element to element of a row. In the order x, cos, sin, y.
  int64_t row[4], step[4];
};
using RotaryFn = void (*)(const RotaryRows&);

#define KPT_ROTARY_ENTRY(isa)             \
  namespace isa {                         \
  RotaryFn rotary_rows(Elem x, Elem cos); \
  }
KPT_ROTARY_ENTRY(generic)
KPT_ROTARY_ENTRY(avx2)
KPT_ROTARY_ENTRY(avx512)
KPT_ROTARY_ENTRY(avx512bf16)
#undef KPT_ROTARY_ENTRY

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
// One group of one sample. Plain C++: shared with group_norm_simd.cpp.
#pragma once
#include <cstdint>

#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

struct GroupRow {
  const void* x;
  const void* w;  // of the group's first channel; null: 1
  const void* b;  // likewise; null: 0
  void* y;
  int64_t channels, inner;
  float eps;
};
using GroupFn = void (*)(const GroupRow&);

#define KPT_GROUP_ENTRY(isa)    \
  namespace isa {               \
  GroupFn group_row(Elem elem); \
  }
KPT_GROUP_ENTRY(generic)
KPT_GROUP_ENTRY(avx2)
KPT_GROUP_ENTRY(avx512)
KPT_GROUP_ENTRY(avx512bf16)
#undef KPT_GROUP_ENTRY

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cpu/vec.h"

namespace kpt::KPT_ISA {

// A bool of a mask: true keeps the score. As a float: 0 keeps, -1 hides.
struct Keep {
  uint8_t value;
};
KPT_INLINE VecF load(const Keep* p) {
  using Bytes = uint8_t __attribute__((vector_size(kLanes)));
  return select(__builtin_convertvector(load_as<Bytes>(p), VecI) == 0, splat(-1.f), VecF{});
}
KPT_INLINE VecF load_n(const Keep* p, int n) {
  Keep all[kLanes] = {};
  for (int i = 0; i < n; ++i) all[i] = p[i];
  return load(all);
}
KPT_INLINE float load1(const Keep* p) { return p->value ? 0.f : -1.f; }

}  // namespace kpt::KPT_ISA

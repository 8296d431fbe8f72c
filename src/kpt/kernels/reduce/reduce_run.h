// SPDX-License-Identifier: Apache-2.0
// Vector loops of the reductions. Plain C++: shared with reduce_simd.cpp.
#pragma once
#include <cstdint>

#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

enum class Reduction : int32_t { sum, mean, max, min, var, any, all, argmax };

struct ReduceRun {
  Reduction kind;  // sum, mean, max, min, var
  const void* x;
  void* y;
  // row: n elements one after the other to one result. columns: n0 x n1 reduced positions with strides s0, s1 (in
  // elements), `columns` results side by side.
  int64_t n0, s0, n1, s1, columns;
  float correction;  // var: the divisor is max(0, n - correction)
  float* scratch;    // columns: 2 * columns floats
};

struct ReduceFns {
  void (*row)(const ReduceRun&);
  void (*columns)(const ReduceRun&);
};

#define KPT_REDUCE_ENTRY(isa)           \
  namespace isa {                       \
  ReduceFns reduce_fns(Elem x, Elem y); \
  }
KPT_REDUCE_ENTRY(generic)
KPT_REDUCE_ENTRY(avx2)
KPT_REDUCE_ENTRY(avx512)
KPT_REDUCE_ENTRY(avx512bf16)
#undef KPT_REDUCE_ENTRY

}  // namespace kpt

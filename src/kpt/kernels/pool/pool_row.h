// SPDX-License-Identifier: Apache-2.0
// One plane [H, W] whose rows have no gaps. Plain C++: shared with pool_simd.cpp.
#pragma once
#include "kpt/kernels/lib/cpu/act.h"
#include "kpt/kernels/pool/pool_problem.h"

namespace kpt {

struct PoolPlane {
  const Pool& pool;
  const void* x;
  void* y;
  float* lines;  // pool.w.size + pool.w.out of them
};
using PoolFn = void (*)(const PoolPlane&);

#define KPT_POOL_ENTRY(isa)     \
  namespace isa {               \
  PoolFn pool_plane(Elem elem); \
  }
KPT_POOL_ENTRY(generic)
KPT_POOL_ENTRY(avx2)
KPT_POOL_ENTRY(avx512)
KPT_POOL_ENTRY(avx512bf16)
#undef KPT_POOL_ENTRY

}  // namespace kpt

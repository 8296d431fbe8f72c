// SPDX-License-Identifier: Apache-2.0
// The concrete attention call and its cut, as *_simd.cpp sees it: plain C++, no standard containers.
#pragma once
#include <cstdint>

#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

enum class MaskKind : int32_t { none, key, boolean, add };

// Strides in elements, by axis name: q[b, h, s, d], k[b, g, t, d], v[b, g, t, e], mask[b, h, s, t], y[b, h, s, e] with
// e contiguous. g = h / (heads / kv_heads). The key mask uses mask_b and mask_t alone.
struct AttentionProblem {
  Elem elem = Elem::f32;
  int64_t b = 0, h = 0, kv_heads = 1, s = 0, t = 0, d = 0, e = 0;
  int64_t q_b = 0, q_h = 0, q_s = 0, q_d = 1;
  int64_t k_b = 0, k_h = 0, k_t = 0, k_d = 1;
  int64_t v_b = 0, v_h = 0, v_t = 0, v_e = 1;
  int64_t mask_b = 0, mask_h = 0, mask_s = 0, mask_t = 0;
  int64_t y_b = 0, y_h = 0, y_s = 0;
  MaskKind mask = MaskKind::none;
  Elem mask_elem = Elem::f32;  // of MaskKind::add
  bool causal = false;
  double scale = 1;
  int threads = 1;
};

// A unit is a panel of queries (up to 48 with AVX-512) of one head; it walks the keys in blocks, keeping a running
// maximum and sum per query (Milakov and Gimelshein 2018; Dao et al. 2022), so scratch does not grow with t.
struct AttentionPlan {
  bool few = false;  // a unit is all queries of one head, see few_queries.h
  int max_v = 1;
  int64_t panels = 0, wide = 0;  // as GemmPlan
  int64_t block = 0;             // keys in a block
  int64_t units = 0, units_per_task = 1, tasks = 0;
  int64_t worker_bytes = 0;
};

struct AttentionPointers {
  const void* q;
  const void* k;
  const void* v;
  const void* mask;
  void* y;
};

#define KPT_ATTENTION_ENTRIES(isa)                                                                                     \
  namespace isa {                                                                                                      \
  int64_t attention_worker_floats(const AttentionProblem& p, const AttentionPlan& plan);                               \
  void attention_task(const AttentionProblem& p, const AttentionPlan& plan, const AttentionPointers& at, int64_t task, \
                      void* scratch);                                                                                  \
  }
KPT_ATTENTION_ENTRIES(generic)
KPT_ATTENTION_ENTRIES(avx2)
KPT_ATTENTION_ENTRIES(avx512)
KPT_ATTENTION_ENTRIES(avx512bf16)
#undef KPT_ATTENTION_ENTRIES

}  // namespace kpt

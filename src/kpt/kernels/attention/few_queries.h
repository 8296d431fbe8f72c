// SPDX-License-Identifier: Apache-2.0
// Attention of up to 4 queries a head (decoding): scores are sums along d, softmax runs along the keys, values are read
// in place as panels. k and v pass through the registers once; nothing is packed but bf16, f16 and ragged values.
#pragma once
#include <cfloat>

#include "kpt/kernels/attention/attention_cpu.h"
#include "kpt/kernels/attention/keep.h"
#include "kpt/kernels/lib/cpu/dot.h"
#include "kpt/kernels/lib/cpu/finish.h"
#include "kpt/kernels/lib/cpu/pack.h"

namespace kpt::KPT_ISA {
namespace {

constexpr float kMinusInf = -__builtin_inff();
constexpr double kLog2E = 1.4426950408889634;

int64_t rounded(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Narrows keys [first, last) to those that queries before `queries` may see: what a key mask hides at either end is not
// even read (padding may hold anything), nor is what lies after the diagonal.
void visible(const AttentionProblem& p, const void* mask, int64_t b, int64_t queries, int64_t* first, int64_t* last) {
  if (p.mask == MaskKind::key) {
    const uint8_t* keep = static_cast<const uint8_t*>(mask) + b * p.mask_b;
    while (*last > *first && !keep[(*last - 1) * p.mask_t]) --*last;
    while (*first < *last && !keep[*first * p.mask_t]) ++*first;
  }
  if (p.causal && *last > queries) *last = queries;
}

struct FewScratch {
  float* scores;  // [s][block rounded up]
  float* out;     // [s][e rounded up]
  float* values;  // [block][e rounded up]
};

int64_t few_queries_floats(const AttentionProblem& p, const AttentionPlan& plan) {
  return p.s * rounded(plan.block) + p.s * rounded(p.e) + plan.block * rounded(p.e);
}

// An added mask in units of log2. The lowest finite number, with which models hide keys, stays finite: a row of nothing
// else weighs all keys alike, where one of -inf is NaN.
KPT_INLINE VecF mask_in_log2(VecF mask) {
  const VecF scaled = mask * static_cast<float>(kLog2E);
  return select(scaled == kMinusInf, select(mask == kMinusInf, mask, splat(-FLT_MAX)), scaled);
}

// What is added to scores [t, t + n) of one query in log2 units; of hidden ones -inf.
VecF hidden_or_added(const AttentionProblem& p, const void* mask, int64_t at, int n) {
  if (p.mask == MaskKind::add) {
    switch (p.mask_elem) {
      case Elem::f32: return mask_in_log2(load_strided(static_cast<const float*>(mask) + at, p.mask_t, n));
      case Elem::bf16: return mask_in_log2(load_strided(static_cast<const Bf16*>(mask) + at, p.mask_t, n));
      case Elem::f16: return mask_in_log2(load_strided(static_cast<const F16*>(mask) + at, p.mask_t, n));
    }
  }
  return select(load_strided(static_cast<const Keep*>(mask) + at, p.mask_t, n) < 0.f, splat(kMinusInf), VecF{});
}

struct Running {
  float maximum = kMinusInf, sum = 0;
};

// Scores of one query and block become weights. Returns the factor for what was summed before.
KPT_INLINE float softmax_row(const AttentionProblem& p, const void* mask, int64_t mask_at, float* scores, int64_t t0,
                             int64_t count, int64_t query, Running& run) {
  const float scale = static_cast<float>(p.scale * kLog2E);
  VecF lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = static_cast<float>(i);
  VecF top = splat(run.maximum);
  for (int64_t t = 0; t < count; t += kLanes) {
    const int n = count - t < kLanes ? static_cast<int>(count - t) : kLanes;
    VecF x = load(scores + t) * scale;
    if (mask) {
      const VecF m = hidden_or_added(p, mask, mask_at + t * p.mask_t, n);
      x = p.mask == MaskKind::add ? x + m : select(m < 0.f, m, x);
    }
    if (p.causal) x = select(lane > static_cast<float>(query - t0 - t), splat(kMinusInf), x);
    x = select(lane < static_cast<float>(n), x, splat(kMinusInf));
    store(scores + t, x);
    top = max_or_second(x, top);
  }
  float most[kLanes];  // NaN scores are left out here and come back as NaN weights
  store(most, top);
  float maximum = most[0];
  for (int i = 1; i < kLanes; ++i) maximum = most[i] > maximum ? most[i] : maximum;
  const float shift = maximum == kMinusInf ? 0.f : maximum;
  VecF total = VecF{};
  for (int64_t t = 0; t < count; t += kLanes) {
    const VecF w = exp2_low(load(scores + t) - shift);
    total = total + w;
    store(scores + t, w);
  }
  const float factor = exp2_low(splat(run.maximum - shift))[0];
  run.sum = run.sum * factor + kpt::KPT_ISA::sum(total);
  run.maximum = maximum;
  return factor;
}

// out[s][e] += weights[s][t] values[t][e].
inline void add_values(float* out, int64_t e, const float* weights, int64_t weights_row, int64_t rows,
                       const float* values, int64_t values_row, int64_t count) {
  for (int64_t at = 0; at < e;) {
    const int64_t left = (e - at) / kLanes;
    const int v = left < kMaxV ? static_cast<int>(left) : kMaxV;
    multiply(v, out + at, e, {weights, weights_row, 1}, rows, values + at, values_row, count, true);
    at += v * kLanes;
  }
}

KPT_INLINE const float* in_place(const float* v, const AttentionProblem& p) { return p.e % kLanes == 0 ? v : nullptr; }
template <class T>
KPT_INLINE const float* in_place(const T*, const AttentionProblem&) {
  return nullptr;
}

template <class T>
void few_queries_of(const AttentionProblem& p, const AttentionPlan& plan, const AttentionPointers& at, int64_t head,
                    float* memory) {
  const int64_t b = head / p.h, h = head % p.h, g = h / (p.h / p.kv_heads), e = rounded(p.e), row = rounded(plan.block);
  const FewScratch s{memory, memory + p.s * row, memory + p.s * (row + e)};
  const Side<T> queries{static_cast<const T*>(at.q) + b * p.q_b + h * p.q_h, p.q_s, 1};
  const T* keys = static_cast<const T*>(at.k) + b * p.k_b + g * p.k_h;
  const T* values = static_cast<const T*>(at.v) + b * p.v_b + g * p.v_h;
  Running run[4];
  for (int64_t i = 0; i < p.s * e; i += kLanes) store(s.out + i, VecF{});
  int64_t t0 = 0, end = p.t;
  visible(p, at.mask, b, p.s, &t0, &end);
  for (; t0 < end; t0 += plan.block) {
    const int64_t count = end - t0 < plan.block ? end - t0 : plan.block;
    const Side<T> block{keys + t0 * p.k_t, p.k_t, 1};
    if (p.s == 1)
      dot_rows<1>(s.scores, row, queries, 1, block, count, p.d);
    else if (p.s == 2)
      dot_rows<2>(s.scores, row, queries, 2, block, count, p.d);
    else
      dot_rows<4>(s.scores, row, queries, p.s, block, count, p.d);
    for (int64_t i = 0; i < p.s; ++i) {
      const int64_t mask_at = b * p.mask_b + h * p.mask_h + i * p.mask_s + t0 * p.mask_t;
      const float factor = softmax_row(p, at.mask, mask_at, s.scores + i * row, t0, count, i, run[i]);
      for (int64_t j = 0; j < e; j += kLanes) store(s.out + i * e + j, load(s.out + i * e + j) * factor);
    }
    const T* v = values + t0 * p.v_t;
    if (const float* direct = in_place(v, p)) {
      add_values(s.out, e, s.scores, row, p.s, direct, p.v_t, count);
    } else {
      pack_rows(s.values, e, v, p.v_t, p.e, count);
      add_values(s.out, e, s.scores, row, p.s, s.values, e, count);
    }
  }
  for (int64_t i = 0; i < p.s; ++i) {
    const bool nothing = run[i].maximum == kMinusInf && run[i].sum == 0;
    const bool zero = p.mask == MaskKind::key || p.mask == MaskKind::boolean || p.t == 0;
    const float factor = !nothing ? 1.f / run[i].sum : zero ? 0.f : __builtin_nanf("");
    const Tile tile{s.out + i * e, static_cast<int>(e), 1, static_cast<int>(p.e)};
    each_vector(tile, [&](VecF x) { return x * factor; });
    T* y = static_cast<T*>(at.y) + b * p.y_b + h * p.y_h + i * p.y_s;
    store_straight(tile, Place<T>{y, 0, 1}, Place<const T>{}, 0.f);
  }
}

void few_queries(const AttentionProblem& p, const AttentionPlan& plan, const AttentionPointers& at, int64_t head,
                 float* memory) {
  switch (p.elem) {
    case Elem::f32: return few_queries_of<float>(p, plan, at, head, memory);
    case Elem::bf16: return few_queries_of<Bf16>(p, plan, at, head, memory);
    case Elem::f16: return few_queries_of<F16>(p, plan, at, head, memory);
  }
}

}  // namespace
}  // namespace kpt::KPT_ISA

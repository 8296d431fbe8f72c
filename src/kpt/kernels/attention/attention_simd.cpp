// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/attention/attention_cpu.h"
#include "kpt/kernels/attention/few_queries.h"
#include "kpt/kernels/attention/keep.h"
#include "kpt/kernels/lib/cpu/finish.h"
#include "kpt/kernels/lib/cpu/pack.h"

namespace kpt::KPT_ISA {

namespace {

// Everything is [.][width] with queries as lanes, so softmax runs down columns and needs no sums across a vector.
struct Scratch {
  float* q;        // [d][width]
  float* scores;   // [block][width]
  float* mask;     // [block][width], in units of log2
  float* out;      // [e rounded up][width]
  float* keys;     // [block][d], bf16 and f16 only
  float* values;   // [block][e], likewise
  float* running;  // maximum [width], sum [width], correction [width]
};

Scratch scratch_of(const AttentionProblem& p, const AttentionPlan& plan, float* memory, int64_t* floats) {
  const int64_t width = plan.max_v * kLanes;
  const bool widen = p.elem != Elem::f32;
  const int64_t sizes[] = {p.d * width,
                           plan.block * width,
                           p.mask == MaskKind::boolean || p.mask == MaskKind::add ? plan.block * width : 0,
                           rounded(p.e) * width,
                           widen ? plan.block * p.d : 0,
                           widen ? plan.block * p.e : 0,
                           3 * width};
  float* at[7];
  int64_t used = 0;
  for (int i = 0; i < 7; ++i) {
    at[i] = memory + used;
    used += (sizes[i] + 15) / 16 * 16;
  }
  if (floats) *floats = used;
  return {at[0], at[1], at[2], at[3], at[4], at[5], at[6]};
}

template <class T>
struct Unit {
  const T* q;
  const T* k;
  const T* v;
  T* y;
  int64_t b, h, s0;
  int lanes, v_count;
};

template <class T>
Unit<T> unit_at(const AttentionProblem& p, const AttentionPlan& plan, const AttentionPointers& at, int64_t index) {
  const int64_t panel = index % plan.panels, head = index / plan.panels;
  const int64_t narrow = panel - plan.wide;
  Unit<T> u;
  u.v_count = narrow < 0 ? plan.max_v : plan.max_v - 1;
  u.s0 = (panel * plan.max_v - (narrow > 0 ? narrow : 0)) * kLanes;
  u.lanes = static_cast<int>(p.s - u.s0 < u.v_count * kLanes ? p.s - u.s0 : u.v_count * kLanes);
  u.b = head / p.h;
  u.h = head % p.h;
  const int64_t g = u.h / (p.h / p.kv_heads);
  u.q = static_cast<const T*>(at.q) + u.b * p.q_b + u.h * p.q_h + u.s0 * p.q_s;
  u.k = static_cast<const T*>(at.k) + u.b * p.k_b + g * p.k_h;
  u.v = static_cast<const T*>(at.v) + u.b * p.v_b + g * p.v_h;
  u.y = static_cast<T*>(at.y) + u.b * p.y_b + u.h * p.y_h + u.s0 * p.y_s;
  return u;
}

// The key or value block as floats: in place, or widened into scratch.
InPlace rows_of(const float* p, int64_t row, int64_t k, int64_t, int64_t, float*) { return {p, row, k}; }
template <class T>
InPlace rows_of(const T* p, int64_t row, int64_t k, int64_t rows, int64_t k_count, float* scratch) {
  widen_rows(scratch, p, row, k, rows, k_count);
  return {scratch, k_count, 1};
}

// mask[t][lane] of `count` keys: what is added, in log2 units; of a bool mask 0 or -1.
void pack_mask(const AttentionProblem& p, const void* mask, int64_t offset, int64_t count, int width, int lanes,
               float* to) {
  if (p.mask == MaskKind::boolean)
    return pack(to, width, static_cast<const Keep*>(mask) + offset, p.mask_s, p.mask_t, lanes, count);
  switch (p.mask_elem) {
    case Elem::f32: pack(to, width, static_cast<const float*>(mask) + offset, p.mask_s, p.mask_t, lanes, count); break;
    case Elem::bf16: pack(to, width, static_cast<const Bf16*>(mask) + offset, p.mask_s, p.mask_t, lanes, count); break;
    case Elem::f16: pack(to, width, static_cast<const F16*>(mask) + offset, p.mask_s, p.mask_t, lanes, count); break;
  }
  for (int64_t i = 0; i < count * width; i += kLanes) store(to + i, mask_in_log2(load(to + i)));
}

// What hides scores of one block.
struct Hidden {
  const float* mask = nullptr;    // [count][width], packed
  bool add = false;               // the mask is added; else it hides where negative
  const uint8_t* keep = nullptr;  // one byte a key
  int64_t keep_step = 0;
  bool causal = false;  // key t0 + i hidden from queries before it
  int64_t t0 = 0, s0 = 0;
};

// One vector of queries: scores become weights 2^(score - maximum), the running maximum, sum and correction are
// updated. first: no block came before.
KPT_INLINE void softmax_column(float* scores, int64_t count, int width, const Hidden& hidden, const float* mask,
                               bool first, float* maximum, float* sum, float* correction) {
  VecF query;
  for (int i = 0; i < kLanes; ++i)
    query[i] = static_cast<float>(hidden.s0 - hidden.t0 + i);  // < 2^24 apart where it matters
  const VecF before = first ? splat(kMinusInf) : load(maximum);
  VecF top = before;
  for (int64_t t = 0; t < count; ++t) {
    if (hidden.keep && !hidden.keep[t * hidden.keep_step]) continue;
    float* at = scores + t * width;
    VecF x = load(at);
    if (mask) {
      const VecF m = load(mask + t * width);
      x = hidden.add ? x + m : select(m < 0.f, splat(kMinusInf), x);
    }
    if (hidden.causal) x = select(splat(static_cast<float>(t)) > query, splat(kMinusInf), x);
    if (mask || hidden.causal) store(at, x);
    top = max_or_second(x, top);
  }
  const VecF shift = select(top == kMinusInf, VecF{}, top);  // all hidden so far: -inf - -inf would be NaN
  VecF total = VecF{};
  for (int64_t t = 0; t < count; ++t) {
    float* at = scores + t * width;
    if (hidden.keep && !hidden.keep[t * hidden.keep_step]) {
      store(at, VecF{});
      continue;
    }
    const VecF w = exp2_low(load(at) - shift);
    total = total + w;
    store(at, w);
  }
  const VecF factor = exp2_low(before - shift);
  store(maximum, top);
  store(sum, first ? total : fma(load(sum), factor, total));
  store(correction, factor);
}

template <class T>
void block_of(const AttentionProblem& p, const AttentionPointers& at, const Unit<T>& u, const Scratch& s, int64_t t0,
              int64_t count, bool first) {
  const int width = u.v_count * kLanes;
  const InPlace keys = rows_of(u.k + t0 * p.k_t, p.k_t, p.k_d, count, p.d, s.keys);
  multiply(u.v_count, s.scores, width, keys, count, s.q, width, p.d);

  Hidden hidden;
  hidden.t0 = t0;
  hidden.s0 = u.s0;
  hidden.causal = p.causal && t0 + count - 1 > u.s0;
  if (p.mask == MaskKind::key) {
    hidden.keep = static_cast<const uint8_t*>(at.mask) + u.b * p.mask_b + t0 * p.mask_t;
    hidden.keep_step = p.mask_t;
  } else if (p.mask != MaskKind::none) {
    const int64_t offset = u.b * p.mask_b + u.h * p.mask_h + u.s0 * p.mask_s + t0 * p.mask_t;
    pack_mask(p, at.mask, offset, count, width, u.lanes, s.mask);
    hidden.mask = s.mask;
    hidden.add = p.mask == MaskKind::add;
  }
  float *maximum = s.running, *sum = maximum + width, *correction = sum + width;
  for (int v = 0; v < width; v += kLanes) {
    softmax_column(s.scores + v, count, width, hidden, hidden.mask ? s.mask + v : nullptr, first, maximum + v, sum + v,
                   correction + v);
    hidden.s0 += kLanes;
  }
  if (!first)
    for (int64_t e = 0; e < p.e; ++e)
      for (int v = 0; v < width; v += kLanes) {
        float* out = s.out + e * width + v;
        store(out, load(out) * load(correction + v));
      }
  const InPlace values = rows_of(u.v + t0 * p.v_t, p.v_t, p.v_e, count, p.e, s.values);
  multiply(u.v_count, s.out, width, {values.p, values.k, values.row}, p.e, s.scores, width, count, !first);
}

template <class T>
void finish(const AttentionProblem& p, const Unit<T>& u, const Scratch& s) {
  const int width = u.v_count * kLanes;
  const float *maximum = s.running, *sum = maximum + width;
  float* factor = s.running + 2 * width;
  for (int v = 0; v < width; v += kLanes) {
    // Nothing visible: 0 where a mask hid all, NaN where -inf scores say so, as softmax by hand does.
    const bool zero = p.mask == MaskKind::key || p.mask == MaskKind::boolean || p.t == 0;
    const VecF none = splat(zero ? 0.f : __builtin_nanf(""));
    store(factor + v, select(load(maximum + v) == kMinusInf && load(sum + v) == 0.f, none, 1.f / load(sum + v)));
  }
  for (int64_t e = 0; e < p.e; ++e)
    for (int v = 0; v < width; v += kLanes) {
      float* out = s.out + e * width + v;
      store(out, load(out) * load(factor + v));
    }
  for (int64_t e = 0; e < p.e; e += kLanes) {
    const Tile tile{s.out + e * width, width, static_cast<int>(p.e - e < kLanes ? p.e - e : kLanes), u.lanes};
    store_turned(tile, Place<T>{u.y + e, 1, p.y_s}, Place<const T>{}, 0.f);
  }
}

template <class T>
void unit_of(const AttentionProblem& p, const AttentionPlan& plan, const AttentionPointers& at, int64_t index,
             const Scratch& s) {
  const Unit<T> u = unit_at<T>(p, plan, at, index);
  const int width = u.v_count * kLanes;
  pack(s.q, width, u.q, p.q_s, p.q_d, u.lanes, p.d);
  const float scale = static_cast<float>(p.scale * kLog2E);
  for (int64_t i = 0; i < p.d * width; i += kLanes) store(s.q + i, load(s.q + i) * scale);

  int64_t t0 = 0, end = p.t;
  visible(p, at.mask, u.b, u.s0 + u.lanes, &t0, &end);
  bool first = true;
  for (; t0 < end; t0 += plan.block) {
    block_of(p, at, u, s, t0, end - t0 < plan.block ? end - t0 : plan.block, first);
    first = false;
  }
  if (first) {  // no key at all
    for (int64_t i = 0; i < rounded(p.e) * width; i += kLanes) store(s.out + i, VecF{});
    for (int v = 0; v < width; v += kLanes) {
      store(s.running + v, splat(kMinusInf));
      store(s.running + width + v, VecF{});
    }
  }
  finish(p, u, s);
}

}  // namespace

int64_t attention_worker_floats(const AttentionProblem& p, const AttentionPlan& plan) {
  if (plan.few) return few_queries_floats(p, plan);
  int64_t floats = 0;
  scratch_of(p, plan, nullptr, &floats);
  return floats;
}

void attention_task(const AttentionProblem& p, const AttentionPlan& plan, const AttentionPointers& at, int64_t task,
                    void* scratch) {
  const Scratch s = scratch_of(p, plan, static_cast<float*>(scratch), nullptr);
  const int64_t first = task * plan.units_per_task;
  const int64_t last = first + plan.units_per_task < plan.units ? first + plan.units_per_task : plan.units;
  if (plan.few) {
    for (int64_t i = first; i < last; ++i) few_queries(p, plan, at, i, static_cast<float*>(scratch));
    return;
  }
  for (int64_t i = first; i < last; ++i) switch (p.elem) {
      case Elem::f32: unit_of<float>(p, plan, at, i, s); break;
      case Elem::bf16: unit_of<Bf16>(p, plan, at, i, s); break;
      case Elem::f16: unit_of<F16>(p, plan, at, i, s); break;
    }
}

}  // namespace kpt::KPT_ISA

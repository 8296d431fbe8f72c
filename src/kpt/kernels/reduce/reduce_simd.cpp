// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cpu/vec.h"
#include "kpt/kernels/reduce/reduce_run.h"

namespace kpt::KPT_ISA {
namespace {

struct Sum {
  static constexpr float kStart = 0;
  static KPT_INLINE VecF join(VecF a, VecF b) { return a + b; }
  static KPT_INLINE VecF step(VecF a, VecF x, VecF) { return a + x; }
};
struct Squares {  // of the deviations from m
  static constexpr float kStart = 0;
  static KPT_INLINE VecF join(VecF a, VecF b) { return a + b; }
  static KPT_INLINE VecF step(VecF a, VecF x, VecF m) { return a + (x - m) * (x - m); }
};
struct Max {
  static constexpr float kStart = -__builtin_inff();
  static KPT_INLINE VecF join(VecF a, VecF b) { return max_nan(a, b); }
  static KPT_INLINE VecF step(VecF a, VecF x, VecF) { return max_nan(a, x); }
};
struct Min {
  static constexpr float kStart = __builtin_inff();
  static KPT_INLINE VecF join(VecF a, VecF b) { return min_nan(a, b); }
  static KPT_INLINE VecF step(VecF a, VecF x, VecF) { return min_nan(a, x); }
};

template <class T, class F>
VecF fold(const T* x, int64_t n, float m) {
  const VecF start = splat(F::kStart), mean = splat(m);
  VecF s[4] = {start, start, start, start};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int k = 0; k < 4; ++k) s[k] = F::step(s[k], load(x + i + k * kLanes), mean);
  for (; i + kLanes <= n; i += kLanes) s[0] = F::step(s[0], load(x + i), mean);
  VecF all = F::join(F::join(s[0], s[1]), F::join(s[2], s[3]));
  for (; i < n; ++i) {  // the rest goes into the first lane alone
    VecF one = all;
    one[0] = F::step(all, splat(load1(x + i)), mean)[0];
    all = one;
  }
  return all;
}

KPT_INLINE float divisor(float n, float correction) { return n > correction ? n - correction : 0.f; }

template <class T, class U>
void row(const ReduceRun& r) {
  const T* x = static_cast<const T*>(r.x);
  const float n = static_cast<float>(r.n0);
  float result = 0;
  switch (r.kind) {
    case Reduction::max: result = max_of(fold<T, Max>(x, r.n0, 0)); break;
    case Reduction::min: result = min_of(fold<T, Min>(x, r.n0, 0)); break;
    case Reduction::var: {
      const float mean = sum(fold<T, Sum>(x, r.n0, 0)) / n;
      result = sum(fold<T, Squares>(x, r.n0, mean)) / divisor(n, r.correction);
      break;
    }
    default: result = sum(fold<T, Sum>(x, r.n0, 0)) / (r.kind == Reduction::mean ? n : 1.f);
  }
  store1(static_cast<U*>(r.y), result);
}

// One pass over the reduced positions: acc[c] = step(acc[c], x[.., c], m[c]).
template <class T, class F>
void pass(const ReduceRun& r, float* acc, const float* m) {
  for (int64_t c = 0; c < r.columns; ++c) acc[c] = F::kStart;
  for (int64_t i = 0; i < r.n0; ++i) {
    for (int64_t j = 0; j < r.n1; ++j) {
      const T* x = static_cast<const T*>(r.x) + i * r.s0 + j * r.s1;
      int64_t c = 0;
      for (; c + kLanes <= r.columns; c += kLanes)
        store(acc + c, F::step(load(acc + c), load(x + c), m ? load(m + c) : VecF{}));
      const int rest = static_cast<int>(r.columns - c);
      if (rest)
        store_n(acc + c, F::step(load_n(acc + c, rest), load_n(x + c, rest), m ? load_n(m + c, rest) : VecF{}), rest);
    }
  }
}

KPT_INLINE void divide(float* acc, int64_t n, float by) {
  for (int64_t c = 0; c < n; ++c) acc[c] /= by;
}

template <class T, class U>
void columns(const ReduceRun& r) {
  float* acc = r.scratch;
  const float n = static_cast<float>(r.n0 * r.n1);
  switch (r.kind) {
    case Reduction::max: pass<T, Max>(r, acc, nullptr); break;
    case Reduction::min: pass<T, Min>(r, acc, nullptr); break;
    case Reduction::var:
      pass<T, Sum>(r, acc + r.columns, nullptr);
      divide(acc + r.columns, r.columns, n);
      pass<T, Squares>(r, acc, acc + r.columns);
      divide(acc, r.columns, divisor(n, r.correction));
      break;
    default:
      pass<T, Sum>(r, acc, nullptr);
      if (r.kind == Reduction::mean) divide(acc, r.columns, n);
  }
  U* y = static_cast<U*>(r.y);
  int64_t c = 0;
  for (; c + kLanes <= r.columns; c += kLanes) store(y + c, load(acc + c));
  const int rest = static_cast<int>(r.columns - c);
  if (rest) store_n(y + c, load_n(acc + c, rest), rest);
}

}  // namespace

ReduceFns reduce_fns(Elem x, Elem y) {
  if (x == Elem::f32 && y == Elem::f32) return {row<float, float>, columns<float, float>};
  if (x == Elem::bf16 && y == Elem::bf16) return {row<Bf16, Bf16>, columns<Bf16, Bf16>};
  if (x == Elem::bf16 && y == Elem::f32) return {row<Bf16, float>, columns<Bf16, float>};
  if (x == Elem::f16 && y == Elem::f16) return {row<F16, F16>, columns<F16, F16>};
  if (x == Elem::f16 && y == Elem::f32) return {row<F16, float>, columns<F16, float>};
  return {nullptr, nullptr};
}

}  // namespace kpt::KPT_ISA

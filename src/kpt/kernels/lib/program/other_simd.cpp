// SPDX-License-Identifier: Apache-2.0
// The loops of kpt.pointwise that are not f32 arithmetic: f64, integers, bool, comparisons, selection. Plain loops,
// which the compiler vectorises; they are memory-bound or rare.
#include "kpt/kernels/lib/cpu/vec.h"
#include "kpt/kernels/lib/program/fn.h"
#include "kpt/kernels/lib/program/micro.h"

namespace kpt::KPT_ISA {
MicroFn micro_other(Fn fn, Lane lane, int form);

namespace {

using I64 = int64_t;

#define KPT_FN1(Name, expression)                                    \
  struct Name {                                                      \
    template <class T>                                               \
    static KPT_INLINE T run(T x, [[maybe_unused]] const double* p) { \
      return expression;                                             \
    }                                                                \
  };
#define KPT_FN2(Name, expression)       \
  struct Name {                         \
    template <class T>                  \
    static KPT_INLINE T run(T x, T y) { \
      return expression;                \
    }                                   \
  };

// Integers wrap, as in PyTorch: the arithmetic is done without sign.
KPT_INLINE double add(double x, double y) { return x + y; }
KPT_INLINE double sub(double x, double y) { return x - y; }
KPT_INLINE double mul(double x, double y) { return x * y; }
KPT_INLINE I64 add(I64 x, I64 y) { return static_cast<I64>(static_cast<uint64_t>(x) + static_cast<uint64_t>(y)); }
KPT_INLINE I64 sub(I64 x, I64 y) { return static_cast<I64>(static_cast<uint64_t>(x) - static_cast<uint64_t>(y)); }
KPT_INLINE I64 mul(I64 x, I64 y) { return static_cast<I64>(static_cast<uint64_t>(x) * static_cast<uint64_t>(y)); }
KPT_FN2(Add, add(x, y))
KPT_FN2(Sub, sub(x, y))
KPT_FN2(Mul, mul(x, y))
KPT_FN2(Max, x != x || x > y ? x : y)
KPT_FN2(Min, x != x || x < y ? x : y)
KPT_FN1(Neg, sub(T{0}, x))
KPT_FN1(Sign, static_cast<T>((x > 0) - (x < 0)))
KPT_FN1(Relu, x < 0 ? T{0} : x)
KPT_FN1(Relu6, x<0 ? T{0} : x> 6 ? T{6} : x)
KPT_FN1(Hardtanh, x<static_cast<T>(p[0]) ? static_cast<T>(p[0]) : x> static_cast<T>(p[1]) ? static_cast<T>(p[1]) : x)
KPT_FN1(Same, x)
KPT_FN1(AbsInt, x < 0 ? sub(T{0}, x) : x)
KPT_FN1(BitNot, ~x)
KPT_FN1(Not, static_cast<T>(x ^ 1))
KPT_FN2(And, static_cast<T>(x& y))
KPT_FN2(Or, static_cast<T>(x | y))
KPT_FN2(Xor, static_cast<T>(x ^ y))

// f64 through the C library.
KPT_FN2(Div, x / y)
KPT_FN2(Pow, __builtin_pow(x, y))
KPT_FN2(Atan2, __builtin_atan2(x, y))
KPT_FN2(DivTrunc, __builtin_trunc(x / y))
KPT_FN2(Swiglu, x / (1 + __builtin_exp(-x)) * y)
KPT_FN1(Abs, __builtin_fabs(x))
KPT_FN1(Exp, __builtin_exp(x))
KPT_FN1(Exp2, __builtin_exp2(x))
KPT_FN1(Expm1, __builtin_expm1(x))
KPT_FN1(Log, __builtin_log(x))
KPT_FN1(Log2, __builtin_log2(x))
KPT_FN1(Log1p, __builtin_log1p(x))
KPT_FN1(Sqrt, __builtin_sqrt(x))
KPT_FN1(Rsqrt, 1 / __builtin_sqrt(x))
KPT_FN1(Recip, 1 / x)
KPT_FN1(Sin, __builtin_sin(x))
KPT_FN1(Cos, __builtin_cos(x))
KPT_FN1(Tan, __builtin_tan(x))
KPT_FN1(Tanh, __builtin_tanh(x))
KPT_FN1(Sigmoid, 1 / (1 + __builtin_exp(-x)))
KPT_FN1(Erf, __builtin_erf(x))
KPT_FN1(Floor, __builtin_floor(x))
KPT_FN1(Ceil, __builtin_ceil(x))
KPT_FN1(Round, __builtin_rint(x))
KPT_FN1(Trunc, __builtin_trunc(x))
KPT_FN1(GeluErf, x * 0.5 * (1 + __builtin_erf(x * 0.70710678118654752440)))
KPT_FN1(GeluTanh, x * 0.5 * (1 + __builtin_tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))))
KPT_FN1(Silu, x / (1 + __builtin_exp(-x)))
KPT_FN1(Mish, x* __builtin_tanh(x > 20 ? x : __builtin_log1p(__builtin_exp(x))))
KPT_FN1(Elu, x <= 0 ? __builtin_expm1(x * p[2]) * p[0] * p[1] : x * p[1])
KPT_FN1(LeakyRelu, x > 0 ? x : x * p[0])
KPT_FN1(Hardsigmoid, (x < -3 ? 0 : x > 3 ? 6 : x + 3) / 6)
KPT_FN1(Hardswish, x*(x<-3 ? 0 : x> 3 ? 6 : x + 3) / 6)
KPT_FN1(Softplus, x* p[0] > p[1] ? x : __builtin_log1p(__builtin_exp(x * p[0])) / p[0])
KPT_FN1(LogSigmoid, (x > 0 ? 0 : x) - __builtin_log1p(__builtin_exp(-__builtin_fabs(x))))

KPT_INLINE double rem(double x, double y) {
  const double m = __builtin_fmod(x, y);
  return m != 0 && (y < 0) != (m < 0) ? m + y : m;
}
KPT_INLINE double div_floor(double x, double y) {
  if (y == 0) return x / y;
  const double m = __builtin_fmod(x, y);
  double q = (x - m) / y;
  if (m != 0 && (y < 0) != (m < 0)) q -= 1;
  if (q == 0) return __builtin_copysign(0.0, x / y);
  const double f = __builtin_floor(q);
  return q - f > 0.5 ? f + 1 : f;
}
// The divisor is not 0 (the compiler of programs sees to it); INT64_MIN / -1 traps, so -1 is a negation.
KPT_INLINE I64 rem(I64 x, I64 y) {
  if (y == -1) return 0;
  const I64 m = x % y;
  return m != 0 && (y < 0) != (m < 0) ? m + y : m;
}
KPT_INLINE I64 div_trunc(I64 x, I64 y) { return y == -1 ? sub(I64{0}, x) : x / y; }
KPT_INLINE I64 div_floor(I64 x, I64 y) {
  if (y == -1) return sub(I64{0}, x);
  return x / y - (x % y != 0 && (x < 0) != (y < 0));
}
KPT_INLINE I64 power(I64 x, I64 y) {
  if (y < 0) return x == 1 ? 1 : x == -1 ? (y & 1 ? -1 : 1) : 0;
  I64 r = 1;
  for (; y; y >>= 1, x = mul(x, x))
    if (y & 1) r = mul(r, x);
  return r;
}
KPT_FN2(Rem, rem(x, y))
KPT_FN2(DivFloor, div_floor(x, y))
KPT_FN2(DivTruncInt, div_trunc(x, y))
KPT_FN2(PowInt, power(x, y))

template <class T, class F>
void unary(const MicroArgs& m) {
  T* dst = static_cast<T*>(m.dst);
  const T* a = static_cast<const T*>(m.a);
  const double* p = m.params;
#pragma GCC ivdep
  for (int64_t i = 0; i < m.n; ++i) dst[i] = F::run(a[i], p);
}

template <class T, class F, int form>
void binary(const MicroArgs& m) {
  T* dst = static_cast<T*>(m.dst);
  const T* a = static_cast<const T*>(m.a);
  const T* b = static_cast<const T*>(m.b);
  const T one_a = *a, one_b = *b;
#pragma GCC ivdep
  for (int64_t i = 0; i < m.n; ++i) dst[i] = F::run(form & 1 ? one_a : a[i], form & 2 ? one_b : b[i]);
}
template <class T, class F>
MicroFn pick(int form) {
  return form == 0 ? binary<T, F, 0> : form == 1 ? binary<T, F, 1> : form == 2 ? binary<T, F, 2> : nullptr;
}

struct Eq {
  template <class T>
  static KPT_INLINE bool run(T x, T y) {
    return x == y;
  }
};
struct Ne {
  template <class T>
  static KPT_INLINE bool run(T x, T y) {
    return x != y;
  }
};
struct Lt {
  template <class T>
  static KPT_INLINE bool run(T x, T y) {
    return x < y;
  }
};
struct Le {
  template <class T>
  static KPT_INLINE bool run(T x, T y) {
    return x <= y;
  }
};
struct Gt {
  template <class T>
  static KPT_INLINE bool run(T x, T y) {
    return x > y;
  }
};
struct Ge {
  template <class T>
  static KPT_INLINE bool run(T x, T y) {
    return x >= y;
  }
};

template <class T, class F, int form>
void compare(const MicroArgs& m) {
  uint8_t* __restrict dst = static_cast<uint8_t*>(m.dst);
  const T* a = static_cast<const T*>(m.a);
  const T* b = static_cast<const T*>(m.b);
  const T one_a = *a, one_b = *b;
  for (int64_t i = 0; i < m.n; ++i) dst[i] = F::run(form & 1 ? one_a : a[i], form & 2 ? one_b : b[i]);
}
template <class T, class F>
MicroFn pick_compare(int form) {
  return form == 0 ? compare<T, F, 0> : form == 1 ? compare<T, F, 1> : form == 2 ? compare<T, F, 2> : nullptr;
}

template <class T, bool nan>
void test(const MicroArgs& m) {
  uint8_t* __restrict dst = static_cast<uint8_t*>(m.dst);
  const T* a = static_cast<const T*>(m.a);
  for (int64_t i = 0; i < m.n; ++i)
    dst[i] = nan ? a[i] != a[i] : a[i] == static_cast<T>(__builtin_inf()) || a[i] == static_cast<T>(-__builtin_inf());
}
void never(const MicroArgs& m) { __builtin_memset(m.dst, 0, static_cast<size_t>(m.n)); }

template <class T, int form>
void where(const MicroArgs& m) {
  T* dst = static_cast<T*>(m.dst);
  const uint8_t* mask = static_cast<const uint8_t*>(m.a);
  const T* b = static_cast<const T*>(m.b);
  const T* c = static_cast<const T*>(m.c);
  const T one_b = *b, one_c = *c;
#pragma GCC ivdep
  for (int64_t i = 0; i < m.n; ++i) {
    const T x = form & 2 ? one_b : b[i], y = form & 4 ? one_c : c[i];
    dst[i] = mask[i] ? x : y;
  }
}
template <class T>
MicroFn pick_where(int form) {
  switch (form) {
    case 0: return where<T, 0>;
    case 2: return where<T, 2>;
    case 4: return where<T, 4>;
    case 6: return where<T, 6>;
    default: return nullptr;
  }
}

template <class T, class F>
void row(const MicroArgs& m) {
  const T* a = static_cast<const T*>(m.a);
  T r = a[0];
  for (int64_t i = 1; i < m.n; ++i) r = F::run(r, a[i]);
  *static_cast<T*>(m.dst) = r;
}
template <class T, bool mean>
void row_sum(const MicroArgs& m) {
  const T* a = static_cast<const T*>(m.a);
  T r = 0;
  for (int64_t i = 0; i < m.n; ++i) r = add(r, a[i]);
  *static_cast<T*>(m.dst) = mean ? r / static_cast<T>(m.n) : r;
}

template <class T>
MicroFn compare_of(Fn fn, int form) {
  switch (fn) {
    case Fn::eq: return pick_compare<T, Eq>(form);
    case Fn::ne: return pick_compare<T, Ne>(form);
    case Fn::lt: return pick_compare<T, Lt>(form);
    case Fn::le: return pick_compare<T, Le>(form);
    case Fn::gt: return pick_compare<T, Gt>(form);
    case Fn::ge: return pick_compare<T, Ge>(form);
    case Fn::where: return pick_where<T>(form);
    default: return nullptr;
  }
}

// What f64 and i64 have in common.
template <class T>
MicroFn shared_of(Fn fn, int form) {
  switch (fn) {
    case Fn::add: return pick<T, Add>(form);
    case Fn::sub: return pick<T, Sub>(form);
    case Fn::mul: return pick<T, Mul>(form);
    case Fn::max: return pick<T, Max>(form);
    case Fn::min: return pick<T, Min>(form);
    case Fn::rem: return pick<T, Rem>(form);
    case Fn::div_floor: return pick<T, DivFloor>(form);
    case Fn::neg: return form ? nullptr : unary<T, Neg>;
    case Fn::sign: return form ? nullptr : unary<T, Sign>;
    case Fn::relu: return form ? nullptr : unary<T, Relu>;
    case Fn::relu6: return form ? nullptr : unary<T, Relu6>;
    case Fn::hardtanh: return form ? nullptr : unary<T, Hardtanh>;
    case Fn::row_sum: return form ? nullptr : row_sum<T, false>;
    case Fn::row_mean: return form ? nullptr : row_sum<T, true>;
    case Fn::row_max: return form ? nullptr : row<T, Max>;
    case Fn::row_min: return form ? nullptr : row<T, Min>;
    default: return compare_of<T>(fn, form);
  }
}

MicroFn f64_unary_of(Fn fn) {
  switch (fn) {
    case Fn::abs: return unary<double, Abs>;
    case Fn::exp: return unary<double, Exp>;
    case Fn::exp2: return unary<double, Exp2>;
    case Fn::expm1: return unary<double, Expm1>;
    case Fn::log: return unary<double, Log>;
    case Fn::log2: return unary<double, Log2>;
    case Fn::log1p: return unary<double, Log1p>;
    case Fn::sqrt: return unary<double, Sqrt>;
    case Fn::rsqrt: return unary<double, Rsqrt>;
    case Fn::recip: return unary<double, Recip>;
    case Fn::sin: return unary<double, Sin>;
    case Fn::cos: return unary<double, Cos>;
    case Fn::tan: return unary<double, Tan>;
    case Fn::tanh: return unary<double, Tanh>;
    case Fn::sigmoid: return unary<double, Sigmoid>;
    case Fn::erf: return unary<double, Erf>;
    case Fn::floor: return unary<double, Floor>;
    case Fn::ceil: return unary<double, Ceil>;
    case Fn::round: return unary<double, Round>;
    case Fn::trunc: return unary<double, Trunc>;
    case Fn::gelu_erf: return unary<double, GeluErf>;
    case Fn::gelu_tanh: return unary<double, GeluTanh>;
    case Fn::silu: return unary<double, Silu>;
    case Fn::mish: return unary<double, Mish>;
    case Fn::elu: return unary<double, Elu>;
    case Fn::leaky_relu: return unary<double, LeakyRelu>;
    case Fn::hardswish: return unary<double, Hardswish>;
    case Fn::hardsigmoid: return unary<double, Hardsigmoid>;
    case Fn::softplus: return unary<double, Softplus>;
    case Fn::log_sigmoid: return unary<double, LogSigmoid>;
    case Fn::isnan: return test<double, true>;
    case Fn::isinf: return test<double, false>;
    default: return nullptr;
  }
}

MicroFn f64_of(Fn fn, int form) {
  switch (fn) {
    case Fn::div: return pick<double, Div>(form);
    case Fn::div_trunc: return pick<double, DivTrunc>(form);
    case Fn::pow: return pick<double, Pow>(form);
    case Fn::atan2: return pick<double, Atan2>(form);
    case Fn::swiglu: return pick<double, Swiglu>(form);
    default:
      if (MicroFn f = form ? nullptr : f64_unary_of(fn)) return f;
      return shared_of<double>(fn, form);
  }
}

MicroFn i64_of(Fn fn, int form) {
  switch (fn) {
    case Fn::div_trunc: return pick<I64, DivTruncInt>(form);
    case Fn::pow: return pick<I64, PowInt>(form);
    case Fn::bit_and: return pick<I64, And>(form);
    case Fn::bit_or: return pick<I64, Or>(form);
    case Fn::bit_xor: return pick<I64, Xor>(form);
    case Fn::bit_not: return form ? nullptr : unary<I64, BitNot>;
    case Fn::abs: return form ? nullptr : unary<I64, AbsInt>;
    case Fn::floor:
    case Fn::ceil:
    case Fn::round:
    case Fn::trunc: return form ? nullptr : unary<I64, Same>;
    case Fn::isnan:
    case Fn::isinf: return form ? nullptr : never;
    default: return shared_of<I64>(fn, form);
  }
}

MicroFn u8_of(Fn fn, int form) {
  switch (fn) {
    case Fn::bit_and:
    case Fn::logical_and: return pick<uint8_t, And>(form);
    case Fn::bit_or:
    case Fn::logical_or: return pick<uint8_t, Or>(form);
    case Fn::bit_xor:
    case Fn::logical_xor: return pick<uint8_t, Xor>(form);
    case Fn::bit_not:
    case Fn::logical_not: return form ? nullptr : unary<uint8_t, Not>;
    case Fn::where: return pick_where<uint8_t>(form);
    default: return nullptr;
  }
}

}  // namespace

MicroFn micro_other(Fn fn, Lane lane, int form) {
  switch (lane) {
    case Lane::f64: return f64_of(fn, form);
    case Lane::i64: return i64_of(fn, form);
    case Lane::u8: return u8_of(fn, form);
    case Lane::f32:
      if (fn == Fn::isnan) return form ? nullptr : test<float, true>;
      if (fn == Fn::isinf) return form ? nullptr : test<float, false>;
      return compare_of<float>(fn, form);
  }
  return nullptr;
}

}  // namespace kpt::KPT_ISA

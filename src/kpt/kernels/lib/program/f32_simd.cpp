// SPDX-License-Identifier: Apache-2.0
// f32 arithmetic of kpt.pointwise.
#include "kpt/kernels/lib/cpu/math.h"
#include "kpt/kernels/lib/program/fn.h"
#include "kpt/kernels/lib/program/micro.h"

namespace kpt::KPT_ISA {
MicroFn micro_f32(Fn fn, int form);

namespace {

#define KPT_UNARY(Name, expression)                                          \
  struct Name {                                                              \
    static KPT_INLINE VecF run(VecF x, const double*) { return expression; } \
  };
#define KPT_BINARY(Name, expression)                                  \
  struct Name {                                                       \
    static KPT_INLINE VecF run(VecF x, VecF y) { return expression; } \
  };
// Functions without a vector form go lane by lane through the C library.
#define KPT_LANES1(Name, expression)                    \
  struct Name {                                         \
    static KPT_INLINE VecF run(VecF v, const double*) { \
      for (int i = 0; i < kLanes; ++i) {                \
        const float x = v[i];                           \
        v[i] = expression;                              \
      }                                                 \
      return v;                                         \
    }                                                   \
  };
#define KPT_LANES2(Name, expression)             \
  struct Name {                                  \
    static KPT_INLINE VecF run(VecF v, VecF w) { \
      for (int i = 0; i < kLanes; ++i) {         \
        const float x = v[i], y = w[i];          \
        v[i] = expression;                       \
      }                                          \
      return v;                                  \
    }                                            \
  };

KPT_BINARY(Add, x + y)
KPT_BINARY(Sub, x - y)
KPT_BINARY(Mul, x* y)
KPT_BINARY(Div, x / y)
KPT_BINARY(Max, max_nan(x, y))
KPT_BINARY(Min, min_nan(x, y))
KPT_BINARY(DivTrunc, trunc(x / y))
KPT_BINARY(Swiglu, silu(x) * y)
KPT_UNARY(Neg, -x)
KPT_UNARY(Abs, abs(x))
KPT_UNARY(Sign, select(x > 0.f, splat(1.f), select(x < 0.f, splat(-1.f), VecF{})))
KPT_UNARY(Exp, exp(x))
KPT_UNARY(Expm1, expm1(x))
KPT_UNARY(Log, log(x))
KPT_UNARY(Log1p, log1p(x))
KPT_UNARY(Sqrt, sqrt(x))
KPT_UNARY(Rsqrt, 1.f / sqrt(x))
KPT_UNARY(Recip, 1.f / x)
KPT_UNARY(Tanh, tanh(x))
KPT_UNARY(Sigmoid, sigmoid(x))
KPT_UNARY(Erf, erf(x))
KPT_UNARY(Floor, floor(x))
KPT_UNARY(Ceil, ceil(x))
KPT_UNARY(Round, round_even(x))
KPT_UNARY(Trunc, trunc(x))
KPT_UNARY(Relu, relu(x))
KPT_UNARY(Relu6, min_nan(relu(x), splat(6.f)))
KPT_UNARY(GeluErf, gelu_erf(x))
KPT_UNARY(GeluTanh, gelu_tanh(x))
KPT_UNARY(Silu, silu(x))
KPT_UNARY(Hardswish, x* min_nan(max_nan(x + 3.f, VecF{}), splat(6.f)) / 6.f)
KPT_UNARY(Hardsigmoid, min_nan(max_nan(x + 3.f, VecF{}), splat(6.f)) / 6.f)
KPT_UNARY(LogSigmoid, min_nan(x, VecF{}) - log1p(exp(-abs(x))))
KPT_LANES1(Exp2, __builtin_exp2f(x))
KPT_LANES1(Log2, __builtin_log2f(x))
KPT_LANES1(Sin, __builtin_sinf(x))
KPT_LANES1(Cos, __builtin_cosf(x))
KPT_LANES1(Tan, __builtin_tanf(x))
KPT_LANES2(Pow, __builtin_powf(x, y))
KPT_LANES2(Atan2, __builtin_atan2f(x, y))

struct Mish {  // x tanh(ln(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); from 20 on it is x in float
  static KPT_INLINE VecF run(VecF x, const double*) {
    const VecF e = exp(min_nan(x, splat(20.f)));
    const VecF n = e * (e + 2.f);
    return select(x > 20.f, x, x * (n / (n + 2.f)));
  }
};
struct Elu {
  static KPT_INLINE VecF run(VecF x, const double* p) {
    const VecF low = expm1(x * splat(static_cast<float>(p[2]))) * splat(static_cast<float>(p[0] * p[1]));
    return select(x <= 0.f, low, x * splat(static_cast<float>(p[1])));
  }
};
struct LeakyRelu {
  static KPT_INLINE VecF run(VecF x, const double* p) {
    return select(x > 0.f, x, x * splat(static_cast<float>(p[0])));
  }
};
struct Hardtanh {
  static KPT_INLINE VecF run(VecF x, const double* p) {
    return min_nan(max_nan(x, splat(static_cast<float>(p[0]))), splat(static_cast<float>(p[1])));
  }
};
struct Softplus {
  static KPT_INLINE VecF run(VecF x, const double* p) {
    const VecF beta = splat(static_cast<float>(p[0]));
    const VecF t = x * beta;
    return select(t > splat(static_cast<float>(p[1])), x, log1p(exp(t)) / beta);
  }
};

// Python's modulo and floor division of floats, as PyTorch defines them (c10/util/generic_math.h).
KPT_INLINE float python_rem(float x, float y) {
  const float m = __builtin_fmodf(x, y);
  return m != 0 && (y < 0) != (m < 0) ? m + y : m;
}
KPT_INLINE float python_div(float x, float y) {
  if (y == 0) return x / y;
  const float m = __builtin_fmodf(x, y);
  float q = (x - m) / y;
  if (m != 0 && (y < 0) != (m < 0)) q -= 1;
  if (q == 0) return __builtin_copysignf(0, x / y);
  const float f = __builtin_floorf(q);
  return q - f > 0.5f ? f + 1 : f;
}
KPT_LANES2(Rem, python_rem(x, y))
KPT_LANES2(DivFloor, python_div(x, y))

template <class F>
void unary(const MicroArgs& m) {
  float* dst = static_cast<float*>(m.dst);
  const float* a = static_cast<const float*>(m.a);
  int64_t i = 0;
  for (; i + kLanes <= m.n; i += kLanes) store(dst + i, F::run(load(a + i), m.params));
  const int rest = static_cast<int>(m.n - i);
  if (rest) store_n(dst + i, F::run(load_n(a + i, rest), m.params), rest);
}

template <class F, int form>
void binary(const MicroArgs& m) {
  float* dst = static_cast<float*>(m.dst);
  const float* a = static_cast<const float*>(m.a);
  const float* b = static_cast<const float*>(m.b);
  const VecF one_a = splat(*a), one_b = splat(*b);
  int64_t i = 0;
  for (; i + kLanes <= m.n; i += kLanes)
    store(dst + i, F::run(form & 1 ? one_a : load(a + i), form & 2 ? one_b : load(b + i)));
  const int rest = static_cast<int>(m.n - i);
  if (!rest) return;
  // The rest of the divisor is filled with ones: no spurious work on 0 / 0.
  store_n(dst + i, F::run(form & 1 ? one_a : load_n(a + i, rest, 1.f), form & 2 ? one_b : load_n(b + i, rest, 1.f)),
          rest);
}

template <class F>
MicroFn pick(int form) {
  return form == 0 ? binary<F, 0> : form == 1 ? binary<F, 1> : form == 2 ? binary<F, 2> : nullptr;
}

// Four accumulators: the adds of one do not wait for each other, and each sums few enough terms to lose little.
template <bool mean>
void row_sum(const MicroArgs& m) {
  const float* a = static_cast<const float*>(m.a);
  VecF s[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= m.n; i += 4 * kLanes)
    for (int k = 0; k < 4; ++k) s[k] += load(a + i + k * kLanes);
  for (; i + kLanes <= m.n; i += kLanes) s[0] += load(a + i);
  if (i < m.n) s[1] += load_n(a + i, static_cast<int>(m.n - i));
  const float total = sum((s[0] + s[1]) + (s[2] + s[3]));
  *static_cast<float*>(m.dst) = mean ? total / static_cast<float>(m.n) : total;
}

template <class F, bool largest>
void row_extreme(const MicroArgs& m) {
  const float* a = static_cast<const float*>(m.a);
  VecF s = splat(largest ? -__builtin_inff() : __builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= m.n; i += kLanes) s = F::run(s, load(a + i));
  if (i < m.n) s = F::run(s, load_n(a + i, static_cast<int>(m.n - i), a[i]));
  *static_cast<float*>(m.dst) = largest ? max_of(s) : min_of(s);
}

MicroFn unary_of(Fn fn) {
  switch (fn) {
    case Fn::neg: return unary<Neg>;
    case Fn::abs: return unary<Abs>;
    case Fn::sign: return unary<Sign>;
    case Fn::exp: return unary<Exp>;
    case Fn::exp2: return unary<Exp2>;
    case Fn::expm1: return unary<Expm1>;
    case Fn::log: return unary<Log>;
    case Fn::log2: return unary<Log2>;
    case Fn::log1p: return unary<Log1p>;
    case Fn::sqrt: return unary<Sqrt>;
    case Fn::rsqrt: return unary<Rsqrt>;
    case Fn::recip: return unary<Recip>;
    case Fn::sin: return unary<Sin>;
    case Fn::cos: return unary<Cos>;
    case Fn::tan: return unary<Tan>;
    case Fn::tanh: return unary<Tanh>;
    case Fn::sigmoid: return unary<Sigmoid>;
    case Fn::erf: return unary<Erf>;
    case Fn::floor: return unary<Floor>;
    case Fn::ceil: return unary<Ceil>;
    case Fn::round: return unary<Round>;
    case Fn::trunc: return unary<Trunc>;
    case Fn::relu: return unary<Relu>;
    case Fn::relu6: return unary<Relu6>;
    case Fn::gelu_erf: return unary<GeluErf>;
    case Fn::gelu_tanh: return unary<GeluTanh>;
    case Fn::silu: return unary<Silu>;
    case Fn::mish: return unary<Mish>;
    case Fn::elu: return unary<Elu>;
    case Fn::leaky_relu: return unary<LeakyRelu>;
    case Fn::hardtanh: return unary<Hardtanh>;
    case Fn::hardswish: return unary<Hardswish>;
    case Fn::hardsigmoid: return unary<Hardsigmoid>;
    case Fn::softplus: return unary<Softplus>;
    case Fn::log_sigmoid: return unary<LogSigmoid>;
    case Fn::row_sum: return row_sum<false>;
    case Fn::row_mean: return row_sum<true>;
    case Fn::row_max: return row_extreme<Max, true>;
    case Fn::row_min: return row_extreme<Min, false>;
    default: return nullptr;
  }
}

}  // namespace

MicroFn micro_f32(Fn fn, int form) {
  switch (fn) {
    case Fn::add: return pick<Add>(form);
    case Fn::sub: return pick<Sub>(form);
    case Fn::mul: return pick<Mul>(form);
    case Fn::div: return pick<Div>(form);
    case Fn::max: return pick<Max>(form);
    case Fn::min: return pick<Min>(form);
    case Fn::pow: return pick<Pow>(form);
    case Fn::atan2: return pick<Atan2>(form);
    case Fn::rem: return pick<Rem>(form);
    case Fn::div_floor: return pick<DivFloor>(form);
    case Fn::div_trunc: return pick<DivTrunc>(form);
    case Fn::swiglu: return pick<Swiglu>(form);
    default: return form == 0 ? unary_of(fn) : nullptr;
  }
}

}  // namespace kpt::KPT_ISA

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/types.cuh"
// What generated programs (lib/cuda/generate.h) are written in. A value is computed with as float (f32, bf16, f16),
// double (f64), i64 (integers; they wrap) or bool: the lanes of lib/program/micro.h. fn_NAME is the instruction NAME of
// lib/program/program.cpp; each gives what lib/program/evaluate.cpp does, within the rounding of its lane.

inline float lane(f32 x) { return x; }
inline float lane(bf16 x) { return to_float(x); }
inline float lane(f16 x) { return to_float(x); }
inline double lane(f64 x) { return x; }
inline i64 lane(i64 x) { return x; }
inline i64 lane(i32 x) { return x; }
inline i64 lane(i16 x) { return x; }
inline i64 lane(i8 x) { return x; }
inline i64 lane(u8 x) { return x; }
inline bool lane(boolean x) { return x.bits != 0; }

inline void put(f32& y, float x) { y = x; }
inline void put(bf16& y, float x) { y = from_float<bf16>(x); }
inline void put(f16& y, float x) { y = from_float<f16>(x); }
inline void put(f64& y, double x) { y = x; }
inline void put(i64& y, i64 x) { y = x; }
inline void put(i32& y, i64 x) { y = (i32)x; }
inline void put(i16& y, i64 x) { y = (i16)x; }
inline void put(i8& y, i64 x) { y = (i8)x; }
inline void put(u8& y, i64 x) { y = (u8)x; }
inline void put(boolean& y, bool x) { y.bits = x ? 1 : 0; }

template <class T>
inline float as_float(T x) {
  return (float)x;
}
template <class T>
inline double as_double(T x) {
  return (double)x;
}
template <class T>
inline bool as_bool(T x) {
  return x != 0;
}
// Out of range and NaN: INT64_MIN, as on the CPU.
template <class F>
inline i64 whole(F x) {
  return x >= (F)-0x1p63 && x < (F)0x1p63 ? (i64)x : (i64)0x8000000000000000ull;
}
inline i64 as_i64(float x) { return whole(x); }
inline i64 as_i64(double x) { return whole(x); }
inline i64 as_i64(i64 x) { return x; }
inline i64 as_i64(bool x) { return x; }

inline float round_bf16(float x) { return to_float(from_float<bf16>(x)); }
inline float round_f16(float x) { return to_float(from_float<f16>(x)); }

inline float infinity() { return __int_as_float(0x7f800000); }

// --- arithmetic ----------------------------------------------------------------------------------------------------

#define KPT_ARITHMETIC(name, op)                                 \
  inline float fn_##name(float x, float y) { return x op y; }    \
  inline double fn_##name(double x, double y) { return x op y; } \
  inline i64 fn_##name(i64 x, i64 y) { return (i64)((u64)x op(u64) y); }
KPT_ARITHMETIC(add, +)
KPT_ARITHMETIC(sub, -)
KPT_ARITHMETIC(mul, *)
inline float fn_div(float x, float y) { return x / y; }
inline double fn_div(double x, double y) { return x / y; }

// The larger; NaN wins.
inline float fn_maximum(float x, float y) {
  float z;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
inline float fn_minimum(float x, float y) {
  float z;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}
inline double fn_maximum(double x, double y) { return x != x || x > y ? x : y; }
inline double fn_minimum(double x, double y) { return x != x || x < y ? x : y; }
inline i64 fn_maximum(i64 x, i64 y) { return x > y ? x : y; }
inline i64 fn_minimum(i64 x, i64 y) { return x < y ? x : y; }

template <class F>
inline F fn_div_trunc(F x, F y) {
  return trunc(x / y);
}
// x mod y with the sign of y, and the quotient that belongs to it (c10/util/generic_math.h).
template <class F>
inline F fn_remainder(F x, F y) {
  const F m = fmod(x, y);
  return m != 0 && (y < 0) != (m < 0) ? m + y : m;
}
template <class F>
inline F fn_div_floor(F x, F y) {
  if (y == 0) return x / y;
  const F m = fmod(x, y);
  F q = (x - m) / y;
  if (m != 0 && (y < 0) != (m < 0)) q -= 1;
  if (q == 0) return copysign((F)0, x / y);
  const F f = floor(q);
  return q - f > (F)0.5 ? f + 1 : f;
}
template <>
inline i64 fn_div_trunc(i64 x, i64 y) {
  return y == -1 ? fn_sub((i64)0, x) : x / y;
}
template <>
inline i64 fn_remainder(i64 x, i64 y) {
  if (y == -1) return 0;
  const i64 m = x % y;
  return m != 0 && (y < 0) != (m < 0) ? m + y : m;
}
template <>
inline i64 fn_div_floor(i64 x, i64 y) {
  if (y == -1) return fn_sub((i64)0, x);
  return x / y - (x % y != 0 && (x < 0) != (y < 0));
}
template <class F>
inline F fn_pow(F x, F y) {
  return pow(x, y);
}
template <>
inline i64 fn_pow(i64 x, i64 y) {
  if (y < 0) return x == 1 ? 1 : x == -1 ? (y & 1 ? -1 : 1) : 0;
  i64 r = 1;
  for (; y; y >>= 1, x = fn_mul(x, x))
    if (y & 1) r = fn_mul(r, x);
  return r;
}
template <class F>
inline F fn_atan2(F x, F y) {
  return atan2(x, y);
}

template <class T>
inline T fn_neg(T x) {
  return -x;
}
template <>
inline i64 fn_neg(i64 x) {
  return fn_sub((i64)0, x);
}
inline float fn_abs(float x) { return fabsf(x); }
inline double fn_abs(double x) { return fabs(x); }
inline i64 fn_abs(i64 x) { return x < 0 ? fn_neg(x) : x; }
template <class T>
inline T fn_sign(T x) {
  return (T)((x > 0) - (x < 0));
}

// --- functions -----------------------------------------------------------------------------------------------------

#define KPT_FUNCTION(name, expression) \
  template <class F>                   \
  inline F fn_##name(F x) {            \
    return expression;                 \
  }
KPT_FUNCTION(exp, exp(x))
KPT_FUNCTION(exp2, exp2(x))
KPT_FUNCTION(expm1, expm1(x))
KPT_FUNCTION(log, log(x))
KPT_FUNCTION(log2, log2(x))
KPT_FUNCTION(log1p, log1p(x))
KPT_FUNCTION(sqrt, sqrt(x))
KPT_FUNCTION(rsqrt, rsqrt(x))
KPT_FUNCTION(reciprocal, 1 / x)
KPT_FUNCTION(sin, sin(x))
KPT_FUNCTION(cos, cos(x))
KPT_FUNCTION(tan, tan(x))
KPT_FUNCTION(tanh, tanh(x))
KPT_FUNCTION(erf, erf(x))
KPT_FUNCTION(floor, floor(x))
KPT_FUNCTION(ceil, ceil(x))
KPT_FUNCTION(round, rint(x))
KPT_FUNCTION(trunc, trunc(x))
template <>
inline i64 fn_floor(i64 x) {
  return x;
}
template <>
inline i64 fn_ceil(i64 x) {
  return x;
}
template <>
inline i64 fn_round(i64 x) {
  return x;
}
template <>
inline i64 fn_trunc(i64 x) {
  return x;
}

// x / (1 + e): the divisor is 1 or more, where the approximate division errs by 2 ulp; above 2^126 it gives 0, and the
// quotient is then below 2^-126 |x|.
inline float over(float x, float y) { return __fdividef(x, y); }
inline double over(double x, double y) { return x / y; }
KPT_FUNCTION(sigmoid, over((F)1, 1 + exp(-x)))
KPT_FUNCTION(silu, over(x, 1 + exp(-x)))
template <class F>
inline F fn_swiglu(F x, F y) {
  return fn_silu(x) * y;
}
KPT_FUNCTION(gelu_erf, x*(F)0.5 * (1 + erf(x * (F)0.70710678118654752440)))
// 0.5 (1 + tanh u) = 1 / (1 + e^-2u), which keeps all digits at both ends.
KPT_FUNCTION(gelu_tanh, over(x, 1 + exp((F)-1.5957691216057307117 * (x + (F)0.044715 * x * x * x))))
template <class F>
inline F fn_mish(F x) {  // x tanh(ln(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); beyond 40 it is x in double
  const F e = exp(x > 40 ? (F)40 : x);
  const F n = e * (e + 2);
  return x > 40 ? x : x * (n / (n + 2));
}
template <class F>
inline F fn_log_sigmoid(F x) {
  return (x > 0 ? (F)0 : x) - log1p(exp(-fn_abs(x)));
}
template <class F>
inline F fn_elu(F x, F low, F high, F in) {  // low: alpha scale
  return x <= 0 ? expm1(x * in) * low : x * high;
}
template <class F>
inline F fn_leaky_relu(F x, F slope) {
  return x > 0 ? x : x * slope;
}
template <class F>
inline F fn_softplus(F x, F beta, F threshold) {
  return x * beta > threshold ? x : log1p(exp(x * beta)) / beta;
}
template <class T>
inline T fn_hardtanh(T x, T low, T high) {
  return fn_minimum(fn_maximum(x, low), high);
}
template <class T>
inline T fn_relu(T x) {
  return x < 0 ? (T)0 : x;
}
template <class T>
inline T fn_relu6(T x) {
  return fn_minimum(fn_relu(x), (T)6);
}
template <class F>
inline F fn_hardsigmoid(F x) {
  return fn_hardtanh(x + 3, (F)0, (F)6) * (F)(1.0 / 6);
}
template <class F>
inline F fn_hardswish(F x) {
  return x * fn_hardsigmoid(x);
}

// --- bool ----------------------------------------------------------------------------------------------------------

#define KPT_COMPARE(name, op)       \
  template <class T>                \
  inline bool fn_##name(T x, T y) { \
    return x op y;                  \
  }
KPT_COMPARE(eq, ==)
KPT_COMPARE(ne, !=)
KPT_COMPARE(lt, <)
KPT_COMPARE(le, <=)
KPT_COMPARE(gt, >)
KPT_COMPARE(ge, >=)
inline bool fn_logical_and(bool x, bool y) { return x && y; }
inline bool fn_logical_or(bool x, bool y) { return x || y; }
inline bool fn_logical_xor(bool x, bool y) { return x != y; }
inline bool fn_logical_not(bool x) { return !x; }
inline bool fn_bitwise_and(bool x, bool y) { return x && y; }
inline bool fn_bitwise_or(bool x, bool y) { return x || y; }
inline bool fn_bitwise_xor(bool x, bool y) { return x != y; }
inline bool fn_bitwise_not(bool x) { return !x; }
inline i64 fn_bitwise_and(i64 x, i64 y) { return x & y; }
inline i64 fn_bitwise_or(i64 x, i64 y) { return x | y; }
inline i64 fn_bitwise_xor(i64 x, i64 y) { return x ^ y; }
inline i64 fn_bitwise_not(i64 x) { return ~x; }
template <class F>
inline bool fn_isnan(F x) {
  return x != x;
}
template <class F>
inline bool fn_isinf(F x) {
  return fn_abs(x) == (F)infinity();
}
template <>
inline bool fn_isinf(i64) {
  return false;
}
template <class T>
inline T fn_where(bool mask, T x, T y) {
  return mask ? x : y;
}

// SPDX-License-Identifier: Apache-2.0
// Elementary functions on VecF. Coefficients are our own minimax fits (tools/fit_math.py: Lawson-weighted least squares
// on Chebyshev points against mpmath). The ulp bounds below are those math_test.cpp holds the float code to, for every
// instruction set, with FMA or without.
// NaN in, NaN out. No function traps or reads errno.
#pragma once
#include "kpt/kernels/lib/cpu/vec.h"

namespace kpt::KPT_ISA {

// 2^n for integer n in [-126, 127].
KPT_INLINE VecF pow2(VecI n) { return (VecF)((n + 127) << 23); }

// x 2^n for n in [-252, 254], rounding once where the result is subnormal.
KPT_INLINE VecF scale_pow2(VecF x, VecI n) {
#if defined(__AVX512F__)
  return (VecF)_mm512_maskz_scalef_ps(kAll, (__m512)x, (__m512)to_float(n));
#else
  const VecI half = n >> 1;
  return x * pow2(half) * pow2(n - half);
#endif
}

// e^r - 1 for |r| <= ln(2)/2 by r + r^2 P(r); fit 3.1e-9.
KPT_INLINE VecF exp_minus_one_reduced(VecF r) {
  VecF p = splat(0.00139504788f);
  p = fma(p, r, splat(0.00836888235f));
  p = fma(p, r, splat(0.041666206f));
  p = fma(p, r, splat(0.166665196f));
  p = fma(p, r, splat(0.5f));
  return fma(p, r * r, r);
}

// e^x, 2 ulp. exp(-inf) = 0, exp(x > 88.73) = inf; subnormal results are kept.
KPT_INLINE VecF exp(VecF x) {
  // The clamps keep NaN and leave room for the scaling: e^89 is inf, e^-104 is 0 in float.
  x = (x > 89.f) ? splat(89.f) : x;
  x = (x < -104.f) ? splat(-104.f) : x;
  const VecF magic = splat(12582912.f);  // 1.5 * 2^23: the sum's low bits are the nearest integer
  const VecF shifted = fma(x, splat(1.44269504f), magic);
  const VecF n = shifted - magic;
  VecF r = fma(n, splat(-0.693145752f), x);  // ln 2 in two parts, the first with 15 bits: n times it is exact
  r = fma(n, splat(-1.42860677e-6f), r);
  const VecF p = exp_minus_one_reduced(r) + 1.f;
#if defined(__AVX512F__)
  return (VecF)_mm512_maskz_scalef_ps(kAll, (__m512)p, (__m512)n);
#else
  return scale_pow2(p, (VecI)shifted - (VecI)magic);
#endif
}

// 2^x for x <= 127, 2 ulp (softmax: the caller has subtracted the maximum and folded log2 e into its scale). 2^-inf =
// 0.
KPT_INLINE VecF exp2_low(VecF x) {
  x = max_or_second(splat(-150.f), x);  // 2^-150 rounds to 0; keeps NaN
  const VecF n = round_even(x);
  const VecF r = x - n;
  VecF p = splat(0.000154763009f);
  p = fma(p, r, splat(0.00134002697f));
  p = fma(p, r, splat(0.00961800385f));
  p = fma(p, r, splat(0.055503279f));
  p = fma(p, r, splat(0.240226507f));
  p = fma(p, r, splat(0.693147182f));
  p = fma(p, r, splat(1.f));
#if defined(__AVX512F__)
  return (VecF)_mm512_maskz_scalef_ps(kAll, (__m512)p, (__m512)n);
#else
  return scale_pow2(p, to_int(n));
#endif
}

// e^x - 1, 2 ulp: keeps small x.
KPT_INLINE VecF expm1(VecF x) {
  x = (x > 89.f) ? splat(89.f) : x;
  x = (x < -30.f) ? splat(-30.f) : x;
  const VecF magic = splat(12582912.f);
  const VecF shifted = fma(x, splat(1.44269504f), magic);
  const VecF n = shifted - magic;
  VecF r = fma(n, splat(-0.693145752f), x);
  r = fma(n, splat(-1.42860677e-6f), r);
  const VecF p = exp_minus_one_reduced(r);
  // 2^n p + (2^n - 1); n = 128 overflows pow2, so that top step is done in halves.
  const VecI k = (VecI)shifted - (VecI)magic;
  const VecI top = k > 127;
  const VecF s = pow2(select(top, k - 1, k));
  const VecF y = fma(p, s, s - select(top, splat(0.5f), splat(1.f)));
  return select(n == 0.f, p, select(top, y + y, y));
}

// ln x, 1 ulp. log(0) = -inf, log(x < 0) = NaN, log(inf) = inf; subnormal x is taken exactly.
KPT_INLINE VecF log(VecF x) {
  const VecI tiny = x < 1.17549435e-38f;
  const VecF scaled = select(tiny, x * 8388608.f, x);
  const VecI bits = (VecI)scaled;
  // m in [sqrt(1/2), sqrt(2)): 0x3f3504f3 is sqrt(1/2).
  const VecI shifted = (VecI)((VecU)bits - 0x3f3504f3u);  // unsigned: -0 wraps
  const VecI e = (shifted >> 23) - select(tiny, splat(23), splat(0));
  const VecF m = (VecF)((shifted & 0x7fffff) + 0x3f3504f3);
  const VecF f = m - 1.f;
  VecF p = splat(0.0674664006f);
  p = fma(p, f, splat(-0.116756514f));
  p = fma(p, f, splat(0.11888162f));
  p = fma(p, f, splat(-0.124055892f));
  p = fma(p, f, splat(0.142195523f));
  p = fma(p, f, splat(-0.166679963f));
  p = fma(p, f, splat(0.200021192f));
  p = fma(p, f, splat(-0.250000089f));
  p = fma(p, f, splat(0.333333135f));
  const VecF n = to_float(e);
  const VecF f2 = f * f;
  VecF low = fma(p, f * f2, n * -2.12194440e-4f);  // ln 2 = 0.693359375 - 2.1219444e-4
  low = fma(f2, splat(-0.5f), low);
  VecF y = fma(n, splat(0.693359375f), f + low);
  y = (x == __builtin_inff()) ? x : y;
  y = (x == 0.f) ? splat(-__builtin_inff()) : y;
  return (x >= 0.f) ? y : splat(__builtin_nanf(""));
}

// ln(1 + x), 2 ulp: the rounding of 1 + x is put back to first order.
KPT_INLINE VecF log1p(VecF x) {
  const VecF u = x + 1.f;
  const VecF lost = x - (u - 1.f);
  const VecF y = log(u) + select(lost == 0.f, VecF{}, lost / u);  // 0 / 0 at x = -1
  return select((VecI)(abs(x) < 1e-8f) | (VecI)(x == __builtin_inff()), x, y);
}

// tanh x, 6 ulp: odd rational, fit 7.5e-9; 1 from 9.02 on (there 1 - tanh < 2^-25).
KPT_INLINE VecF tanh(VecF x) {
  const VecF u = x * x;
  VecF p = splat(-8.22844803e-14f);
  p = fma(p, u, splat(5.17768502e-11f));
  p = fma(p, u, splat(-2.00191419e-08f));
  p = fma(p, u, splat(1.1103929e-05f));
  p = fma(p, u, splat(0.00309916236f));
  p = fma(p, u, splat(0.130797252f));
  p = fma(p, u, splat(1.f));
  VecF q = splat(0.000253915117f);
  q = fma(q, u, splat(0.0244761072f));
  q = fma(q, u, splat(0.464130521f));
  q = fma(q, u, splat(1.f));
  VecF y = x * p / q;
  y = (abs(y) > 1.f) ? copysign(splat(1.f), x) : y;
  return (abs(x) > 9.02f) ? copysign(splat(1.f), x) : y;
}

// erf x, 7 ulp: odd rational, fit 2.5e-8; 1 from 3.92 on (there 1 - erf < 2^-24).
KPT_INLINE VecF erf(VecF x) {
  const VecF u = x * x;
  VecF p = splat(1.98677481e-06f);
  p = fma(p, u, splat(0.00028456538f));
  p = fma(p, u, splat(0.00388334552f));
  p = fma(p, u, splat(0.053101752f));
  p = fma(p, u, splat(0.193545192f));
  p = fma(p, u, splat(1.12837911f));
  VecF q = splat(3.74200681e-05f);
  q = fma(q, u, splat(0.00118557038f));
  q = fma(q, u, splat(0.0152072553f));
  q = fma(q, u, splat(0.115350038f));
  q = fma(q, u, splat(0.50485754f));
  q = fma(q, u, splat(1.f));
  VecF y = x * p / q;
  y = (abs(y) > 1.f) ? copysign(splat(1.f), x) : y;
  return (abs(x) > 3.92f) ? copysign(splat(1.f), x) : y;
}

// 1 / (1 + e^-x), 3 ulp for x > -87; 0 below -88.7, where the result would be subnormal.
KPT_INLINE VecF sigmoid(VecF x) { return 1.f / (exp(-x) + 1.f); }

// x sigmoid(x), 3 ulp for x > -87. silu(-inf) = NaN as in PyTorch.
KPT_INLINE VecF silu(VecF x) { return x / (exp(-x) + 1.f); }

// x (1/2 + R(x)) with R the normal distribution less 1/2, odd rational, fit 2.7e-8. Absolute error within
// 2^-23 max(|x|, |result|): for negative x the sum cancels, as it does in PyTorch. gelu(-inf) = NaN as in PyTorch.
KPT_INLINE VecF gelu_erf(VecF x) {
  const VecF u = x * x;
  VecF p = splat(2.16958149e-08f);
  p = fma(p, u, splat(6.28932503e-06f));
  p = fma(p, u, splat(0.000173766501f));
  p = fma(p, u, splat(0.00470661186f));
  p = fma(p, u, splat(0.0344390497f));
  p = fma(p, u, splat(0.398942262f));
  VecF q = splat(1.1619735e-06f);
  q = fma(q, u, splat(7.47114973e-05f));
  q = fma(q, u, splat(0.00191321562f));
  q = fma(q, u, splat(0.0289641824f));
  q = fma(q, u, splat(0.252992123f));
  q = fma(q, u, splat(1.f));
  VecF r = x * p / q;
  r = (abs(x) > 5.5f) ? copysign(splat(0.5f), x) : r;  // from here on 1/2 - R < 2^-25
  return x * (r + 0.5f);
}

// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 ..): no cancellation. 8 ulp for x > -2.5; below, the
// relative error grows with the exponent's size, to 1e-5 at -8, where the tanh form gives 0.
KPT_INLINE VecF gelu_tanh(VecF x) {
  const VecF inner = x * fma(x * x, splat(0.0713548163f), splat(1.59576912f));  // 2 sqrt(2/pi) (0.044715, 1)
  return x / (exp(-inner) + 1.f);
}

KPT_INLINE VecF relu(VecF x) { return (x < 0.f) ? VecF{} : x; }

}  // namespace kpt::KPT_ISA

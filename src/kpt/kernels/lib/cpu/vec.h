// SPDX-License-Identifier: Apache-2.0
// Vectors of floats for *_simd.cpp, as wide as the instruction set the file is compiled for (KPT_ISA): 16 lanes with
// avx512 and avx512bf16, 8 with avx2, 4 otherwise. GCC vector extensions, so + - * / < & | and ?: work lane by lane and
// a comparison gives a mask of -1 / 0 of type VecI. Everything is inside kpt::KPT_ISA and always inlined: a function of
// one set can never be linked into the code of another. That is also why only <cstdint> and <cstddef> of the standard
// library are included here, and nothing else of it may be in a *_simd.cpp.
#pragma once
#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define KPT_INLINE inline __attribute__((always_inline))

namespace kpt::KPT_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

using VecF = float __attribute__((vector_size(kLanes * 4)));
using VecI = int32_t __attribute__((vector_size(kLanes * 4)));
using VecU = uint32_t __attribute__((vector_size(kLanes * 4)));
using VecD = double __attribute__((vector_size(kLanes * 8)));    // as many lanes as VecF: two registers
using VecH = uint16_t __attribute__((vector_size(kLanes * 2)));  // bits of bf16 or f16

// vec<float>, vec<int32_t>, ...
template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  using type = VecF;
};
template <>
struct VecOf<double> {
  using type = VecD;
};
template <>
struct VecOf<int32_t> {
  using type = VecI;
};
template <class T>
using vec = typename VecOf<T>::type;

// Loads and stores take any address: unaligned costs nothing on the machines in view unless it crosses a cache line.
template <class V, class T>
KPT_INLINE V load_as(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}
template <class V, class T>
KPT_INLINE void store_as(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}
KPT_INLINE VecF load(const float* p) { return load_as<VecF>(p); }
KPT_INLINE VecI load(const int32_t* p) { return load_as<VecI>(p); }
KPT_INLINE VecD load(const double* p) { return load_as<VecD>(p); }
KPT_INLINE void store(float* p, VecF v) { store_as(p, v); }
KPT_INLINE void store(int32_t* p, VecI v) { store_as(p, v); }
KPT_INLINE void store(double* p, VecD v) { store_as(p, v); }

KPT_INLINE VecF splat(float x) { return x - VecF{}; }  // x - 0 is x for every x, -0 and NaN included
KPT_INLINE VecI splat(int32_t x) { return x - VecI{}; }
KPT_INLINE VecD splat(double x) { return x - VecD{}; }
KPT_INLINE VecF bits_to_float(VecI v) { return (VecF)v; }
KPT_INLINE VecI float_to_bits(VecF v) { return (VecI)v; }

#if defined(__AVX512F__)
// The maskz forms with all lanes are the plain instructions; GCC 12's headers warn of their own plain forms.
constexpr __mmask16 kAll = 0xffff;
KPT_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
#endif

// The first n lanes (0 <= n <= kLanes); the others are `fill`. Reads nothing beyond them.
KPT_INLINE VecF load_n(const float* p, int n, float fill = 0) {
#if defined(__AVX512F__)
  return (VecF)_mm512_mask_loadu_ps((__m512)splat(fill), first(n), p);
#else
  VecF v = splat(fill);
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}
KPT_INLINE void store_n(float* p, VecF v, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, first(n), (__m512)v);
#else
  for (int i = 0; i < n; ++i) p[i] = v[i];
#endif
}

KPT_INLINE VecF fma(VecF a, VecF b, VecF c) { return a * b + c; }  // fused by -ffp-contract=fast where there is FMA
KPT_INLINE VecF select(VecI mask, VecF a, VecF b) { return mask ? a : b; }
KPT_INLINE VecI select(VecI mask, VecI a, VecI b) { return mask ? a : b; }
// Where x or y is NaN the second operand is the result, as in minps / maxps.
KPT_INLINE VecF min_or_second(VecF x, VecF y) { return x < y ? x : y; }
KPT_INLINE VecF max_or_second(VecF x, VecF y) { return x > y ? x : y; }
// NaN if either is NaN (torch.minimum, torch.maximum, amax).
KPT_INLINE VecF min_nan(VecF x, VecF y) { return (x != x) ? x : min_or_second(x, y); }
KPT_INLINE VecF max_nan(VecF x, VecF y) { return (x != x) ? x : max_or_second(x, y); }
KPT_INLINE VecF abs(VecF x) { return (VecF)((VecI)x & 0x7fffffff); }
KPT_INLINE VecF copysign(VecF x, VecF sign) { return (VecF)(((VecI)x & 0x7fffffff) | ((VecI)sign & INT32_MIN)); }
KPT_INLINE VecF to_float(VecI v) { return __builtin_convertvector(v, VecF); }
KPT_INLINE VecI to_int(VecF v) { return __builtin_convertvector(v, VecI); }  // towards zero; |v| < 2^31
KPT_INLINE VecD to_double(VecF v) { return __builtin_convertvector(v, VecD); }
KPT_INLINE VecF to_float(VecD v) { return __builtin_convertvector(v, VecF); }

KPT_INLINE VecF sqrt(VecF x) {
#if defined(__AVX512F__)
  return (VecF)_mm512_maskz_sqrt_ps(kAll, (__m512)x);
#elif defined(__AVX2__)
  return (VecF)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
  return (VecF)_mm_sqrt_ps((__m128)x);
#else
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// To the nearest integer, ties to even; values from 2^23 up are integers already. Keeps NaN and inf; -0.3 gives -0.
KPT_INLINE VecF round_even(VecF x) {
#if defined(__AVX512F__)
  return (VecF)_mm512_maskz_roundscale_ps(kAll, (__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  return (VecF)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const VecF big = copysign(splat(8388608.f), x);
  const VecF r = copysign((x + big) - big, x);
  return abs(x) < 8388608.f ? r : x;
#endif
}
KPT_INLINE VecF floor(VecF x) {
  const VecF r = round_even(x);
  return copysign(r > x ? r - 1.f : r, x);
}
KPT_INLINE VecF ceil(VecF x) {
  const VecF r = round_even(x);
  return copysign(r < x ? r + 1.f : r, x);
}
KPT_INLINE VecF trunc(VecF x) { return copysign(floor(abs(x)), x); }

// Horizontal: in a fixed tree order, so results do not depend on anything but the values.
KPT_INLINE float sum(VecF v) {
  float s[kLanes];
  store(s, v);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  return s[0];
}
KPT_INLINE float max_of(VecF v) {  // NaN if a lane is NaN
  float m[kLanes];
  store(m, v);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) m[i] = (m[i] != m[i] || m[i] > m[i + half]) ? m[i] : m[i + half];
  return m[0];
}
KPT_INLINE float min_of(VecF v) { return -max_of(-v); }
KPT_INLINE bool any(VecI mask) {
  int32_t m[kLanes], r = 0;
  store(m, mask);
  for (int i = 0; i < kLanes; ++i) r |= m[i];
  return r != 0;
}

// bf16: the upper half of a float; back by rounding to nearest even, NaN made quiet and kept (0x7fc0 | sign), bit for
// bit as f32_to_bf16 of tensor.h, so vcvtneps2bf16 (which flushes subnormals) is not used.
KPT_INLINE VecF bf16_to_float(VecH h) { return (VecF)(__builtin_convertvector(h, VecU) << 16); }
KPT_INLINE VecH float_to_bf16(VecF x) {
  const VecU u = (VecU)x;
  const VecU rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const VecU quiet = (u >> 16) | 0x40u;
  return __builtin_convertvector((x == x) ? rounded : quiet, VecH);
}

KPT_INLINE VecF f16_to_float(VecH h) {
#if defined(__AVX512F__)
  return (VecF)_mm512_maskz_cvtph_ps(kAll, (__m256i)h);
#elif defined(__AVX2__)
  return (VecF)_mm256_cvtph_ps((__m128i)h);
#else
  // Exponent and mantissa moved into place read as a float 2^112 times too small; the product is exact, subnormals too.
  const VecU u = __builtin_convertvector(h, VecU);
  const VecU magnitude = (u & 0x7fffu) << 13;
  const VecF scaled = (VecF)magnitude * 0x1p112f;
  const VecF special = (VecF)(magnitude | 0x7f800000u);  // inf and NaN
  const VecF value = ((u & 0x7c00u) == 0x7c00u) ? special : scaled;
  return (VecF)((VecU)value | ((u & 0x8000u) << 16));
#endif
}
KPT_INLINE VecH float_to_f16(VecF x) {
#if defined(__AVX512F__)
  return (VecH)_mm512_maskz_cvtps_ph(kAll, (__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  return (VecH)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const VecU sign = ((VecU)x >> 16) & 0x8000u;
  const VecF a = abs(x);
  const VecU u = (VecU)a;
  const VecU normal = (u - (112u << 23) + 0xfffu + ((u >> 13) & 1u)) >> 13;
  const VecU subnormal = (VecU)(a + 0.5f) - 0x3f000000u;  // 0.5 puts bit 2^-24 last: the addition rounds to even
  VecU r = (a < 0x1p-14f) ? subnormal : normal;
  r = (a >= 65520.f) ? (0x7c00u - VecU{}) : r;
  r = (a != a) ? ((u >> 13 & 0x3ffu) | 0x7e00u) : r;
  return __builtin_convertvector(r | sign, VecH);
#endif
}

// A vector of elements stored as float, bf16 or f16 (two distinct types for 16 bits).
struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};
KPT_INLINE VecF load(const Bf16* p) { return bf16_to_float(load_as<VecH>(p)); }
KPT_INLINE VecF load(const F16* p) { return f16_to_float(load_as<VecH>(p)); }
KPT_INLINE void store(Bf16* p, VecF v) { store_as(p, float_to_bf16(v)); }
KPT_INLINE void store(F16* p, VecF v) { store_as(p, float_to_f16(v)); }
KPT_INLINE VecH load_half_n(const void* p, int n) {
  VecH h = {};
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  h = (VecH)_mm256_maskz_loadu_epi16(first(n), p);
#else
  const uint16_t* q = static_cast<const uint16_t*>(p);
  for (int i = 0; i < n; ++i) h[i] = q[i];
#endif
  return h;
}
KPT_INLINE void store_half_n(void* p, VecH h, int n) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  _mm256_mask_storeu_epi16(p, first(n), (__m256i)h);
#else
  uint16_t* q = static_cast<uint16_t*>(p);
  for (int i = 0; i < n; ++i) q[i] = h[i];
#endif
}
KPT_INLINE VecF load_n(const Bf16* p, int n) { return bf16_to_float(load_half_n(p, n)); }
KPT_INLINE VecF load_n(const F16* p, int n) { return f16_to_float(load_half_n(p, n)); }
KPT_INLINE void store_n(Bf16* p, VecF v, int n) { store_half_n(p, float_to_bf16(v), n); }
KPT_INLINE void store_n(F16* p, VecF v, int n) { store_half_n(p, float_to_f16(v), n); }
// One element.
KPT_INLINE float load1(const float* p) { return *p; }
KPT_INLINE float load1(const Bf16* p) { return __builtin_bit_cast(float, static_cast<uint32_t>(p->bits) << 16); }
KPT_INLINE float load1(const F16* p) { return load_n(p, 1)[0]; }
KPT_INLINE void store1(float* p, float v) { *p = v; }
KPT_INLINE void store1(Bf16* p, float v) { store_n(p, splat(v), 1); }
KPT_INLINE void store1(F16* p, float v) { store_n(p, splat(v), 1); }

}  // namespace kpt::KPT_ISA

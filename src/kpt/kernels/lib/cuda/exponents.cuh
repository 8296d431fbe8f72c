// SPDX-License-Identifier: Apache-2.0
#pragma once
// A sum of exponentials with its largest exponent taken out, merged as it comes (Milakov and Gimelshein, 2018).
#include "kpt/kernels/lib/cuda/rows.cuh"

// exp(v - largest). For results of 2 bytes by the hardware's power of two: what it is off (2^-22) and what the rounded
// constant adds for large |v| is the same share for all that matters in a row, or far below the result's rounding. expf
// takes four times as many instructions: they would set the pace, not memory.
template <bool two_bytes>
inline float term(float v, float largest) {
  if constexpr (two_bytes) {
    constexpr float kLog2e = 1.44269504f;
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(fmaf(v, kLog2e, -largest * kLog2e)));
    return y;
  }
  return expf(v - largest);
}

// Starts as {-inf, 0}. NaN among the terms stays in the sum; +inf makes it NaN; all -inf leaves 0.
template <bool two_bytes>
struct ExponentsOf {
  float largest, sum;
  void merge(const ExponentsOf& o) {
    const float both = fmaxf(largest, o.largest);
    const float base = both == minus_infinity() ? 0 : both;  // -inf - -inf would be NaN
    sum = sum * term<two_bytes>(largest, base) + o.sum * term<two_bytes>(o.largest, base);
    largest = both;
  }
  template <int count>
  void add(const float (&v)[count]) {  // -inf: no element
    float both = largest;
#pragma unroll
    for (int i = 0; i < count; ++i) both = fmaxf(both, v[i]);
    const float base = both == minus_infinity() ? 0 : both;
    sum *= term<two_bytes>(largest, base);
#pragma unroll
    for (int i = 0; i < count; ++i) sum += term<two_bytes>(v[i], base);
    largest = both;
  }
};

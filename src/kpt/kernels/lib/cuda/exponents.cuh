// SPDX-License-Identifier: Apache-2.0
#pragma once
// A sum of exponentials with its largest exponent taken out, merged as it comes (Milakov and Gimelshein, 2018).
#include "kpt/kernels/lib/cuda/rows.cuh"

// exp(v - largest). For results of 2 bytes by the hardware's power of two: rows that wait as they are stored move at 94
// to 98 % of a copy with it, at 67 to 73 % with expf (H200, benchmarks/cuda/rows_speed.cpp). The difference comes first:
// the lowest finite number, with which models hide keys, would overflow as a power of two.
template <bool two_bytes>
inline float term(float v, float largest) {
  if constexpr (two_bytes) return exp2_of((v - largest) * 1.44269504f);
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

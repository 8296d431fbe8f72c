// SPDX-License-Identifier: Apache-2.0
#pragma once
// A sum of exponentials with its largest exponent taken out, merged as it comes (Milakov and Gimelshein, 2018).
#include "kpt/kernels/lib/cuda/rows.cuh"

// Starts as {-inf, 0}. NaN among the terms stays in the sum; +inf makes it NaN; all -inf leaves 0.
struct Exponents {
  float largest, sum;
  void merge(const Exponents& o) {
    const float both = fmaxf(largest, o.largest);
    const float base = both == minus_infinity() ? 0 : both;  // -inf - -inf would be NaN
    sum = sum * expf(largest - base) + o.sum * expf(o.largest - base);
    largest = both;
  }
  template <int count>
  void add(const float (&v)[count]) {  // -inf: no element
    float both = largest;
#pragma unroll
    for (int i = 0; i < count; ++i) both = fmaxf(both, v[i]);
    const float base = both == minus_infinity() ? 0 : both;
    sum *= expf(largest - base);
#pragma unroll
    for (int i = 0; i < count; ++i) sum += expf(v[i] - base);
    largest = both;
  }
};

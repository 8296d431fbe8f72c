// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cpu/math.h"
#include "kpt/kernels/softmax/softmax_row.h"

namespace kpt::KPT_ISA {
namespace {

// The row as float in scratch; returns its largest element. A NaN is passed over here: it makes the sum NaN later.
template <class T>
float gather(const SoftmaxRow& r) {
  const T* x = static_cast<const T*>(r.x);
  float* s = r.scratch;
  if (r.x_stride != 1) {
    for (int64_t i = 0; i < r.width; ++i) s[i] = load1(x + i * r.x_stride);
  }
  const float lowest = -__builtin_inff();
  VecF m[2] = {splat(lowest), splat(lowest)};
  int64_t i = 0;
  const bool copied = r.x_stride != 1;
  for (; i + 2 * kLanes <= r.width; i += 2 * kLanes) {
    for (int k = 0; k < 2; ++k) {
      const VecF v = copied ? load(s + i + k * kLanes) : load(x + i + k * kLanes);
      if (!copied) store(s + i + k * kLanes, v);
      m[k] = max_or_second(v, m[k]);
    }
  }
  for (; i < r.width; i += kLanes) {
    const int n = r.width - i < kLanes ? static_cast<int>(r.width - i) : kLanes;
    if (!copied) store_n(s + i, load_n(x + i, n), n);
    m[0] = max_or_second(load_n(s + i, n, lowest), m[0]);
  }
  return max_of(max_or_second(m[0], m[1]));
}

// exp(s - largest) into scratch where `keep`; returns the sum.
template <bool keep>
float exponentials(float* s, int64_t width, float largest) {
  VecF sums[2] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= width; i += 2 * kLanes) {
    for (int k = 0; k < 2; ++k) {
      const VecF e = exp(load(s + i + k * kLanes) - largest);
      if (keep) store(s + i + k * kLanes, e);
      sums[k] += e;
    }
  }
  for (; i < width; i += kLanes) {
    const int n = width - i < kLanes ? static_cast<int>(width - i) : kLanes;
    const VecF e = exp(load_n(s + i, n, -__builtin_inff()) - largest);
    if (keep) store_n(s + i, e, n);
    // Lanes behind the row hold exp(-inf - largest): 0, or NaN where the row is all -inf and NaN is the answer anyway.
    sums[0] += e;
  }
  return sum(sums[0] + sums[1]);
}

template <class U, bool log_of>
void scatter(const SoftmaxRow& r, float a, float b) {
  U* y = static_cast<U*>(r.y);
  const auto value = [&](VecF v) __attribute__((always_inline)) { return log_of ? v - a - b : v * a; };
  int64_t i = 0;
  if (r.y_stride != 1) {
    for (; i < r.width; ++i) store1(y + i * r.y_stride, log_of ? r.scratch[i] - a - b : r.scratch[i] * a);
    return;
  }
  for (; i + kLanes <= r.width; i += kLanes) store(y + i, value(load(r.scratch + i)));
  const int rest = static_cast<int>(r.width - i);
  if (rest) store_n(y + i, value(load_n(r.scratch + i, rest)), rest);
}

template <class T, class U>
void row(const SoftmaxRow& r) {
  const float largest = gather<T>(r);
  if (r.log) {
    const float total = exponentials<false>(r.scratch, r.width, largest);
    scatter<U, true>(r, largest, log(splat(total))[0]);
  } else {
    scatter<U, false>(r, 1.f / exponentials<true>(r.scratch, r.width, largest), 0);
  }
}

}  // namespace

SoftmaxFn softmax_row(Elem x, Elem y) {
  switch (x) {
    case Elem::f32: return y == Elem::f32 ? row<float, float> : nullptr;
    case Elem::bf16: return y == Elem::f32 ? row<Bf16, float> : y == Elem::bf16 ? row<Bf16, Bf16> : nullptr;
    case Elem::f16: return y == Elem::f32 ? row<F16, float> : y == Elem::f16 ? row<F16, F16> : nullptr;
  }
  return nullptr;
}

}  // namespace kpt::KPT_ISA

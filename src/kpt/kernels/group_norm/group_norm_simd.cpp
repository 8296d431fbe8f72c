// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/group_norm/group_row.h"
#include "kpt/kernels/lib/cpu/vec.h"

namespace kpt::KPT_ISA {
namespace {

// The sum of (x - mean), or of its square.
template <class T, bool square>
float total(const T* x, int64_t n, float mean) {
  VecF s[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) {
      const VecF d = load(x + i + k * kLanes) - mean;
      s[k] += square ? d * d : d;
    }
  }
  for (; i + kLanes <= n; i += kLanes) {
    const VecF d = load(x + i) - mean;
    s[0] += square ? d * d : d;
  }
  float rest = 0;
  for (; i < n; ++i) {
    const float d = load1(x + i) - mean;
    rest += square ? d * d : d;
  }
  return sum((s[0] + s[1]) + (s[2] + s[3])) + rest;
}

template <class T>
void row(const GroupRow& r) {
  const T* x = static_cast<const T*>(r.x);
  T* y = static_cast<T*>(r.y);
  const int64_t n = r.channels * r.inner;
  const float mean = total<T, false>(x, n, 0) / static_cast<float>(n);
  const float scale = 1.f / __builtin_sqrtf(total<T, true>(x, n, mean) / static_cast<float>(n) + r.eps);
  for (int64_t c = 0; c < r.channels; ++c) {
    const float w = r.w ? load1(static_cast<const T*>(r.w) + c) * scale : scale;
    const float b = r.b ? load1(static_cast<const T*>(r.b) + c) : 0.f;
    int64_t i = c * r.inner;
    const int64_t end = i + r.inner;
    for (; i + kLanes <= end; i += kLanes) store(y + i, (load(x + i) - mean) * w + b);
    const int rest = static_cast<int>(end - i);
    if (rest) store_n(y + i, (load_n(x + i, rest) - mean) * w + b, rest);
  }
}

}  // namespace

GroupFn group_row(Elem elem) {
  switch (elem) {
    case Elem::f32: return row<float>;
    case Elem::bf16: return row<Bf16>;
    case Elem::f16: return row<F16>;
  }
  return nullptr;
}

}  // namespace kpt::KPT_ISA

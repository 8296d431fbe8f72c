// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cpu/vec.h"
#include "kpt/kernels/norm/norm_row.h"

namespace kpt::KPT_ISA {
namespace {

constexpr int kStep = 4 * kLanes;  // four accumulators: their additions do not wait for each other

// x + residual in float to scratch (and to `sum`), returning the sum, or for rms the sum of squares.
template <class T, bool has_residual, bool has_sum, bool rms>
float gather(const NormRow& r) {
  const T* x = static_cast<const T*>(r.x);
  const T* residual = static_cast<const T*>(r.residual);
  T* sum_out = static_cast<T*>(r.sum);
  VecF s[4] = {};
  int64_t i = 0;
  const auto whole = [&](int64_t at, VecF & acc) __attribute__((always_inline)) {
    VecF v = load(x + at);
    if (has_residual) v += load(residual + at);
    store(r.scratch + at, v);
    if (has_sum) store(sum_out + at, v);
    acc += rms ? v * v : v;
  };
  for (; i + kStep <= r.width; i += kStep)
    for (int k = 0; k < 4; ++k) whole(i + k * kLanes, s[k]);
  for (; i + kLanes <= r.width; i += kLanes) whole(i, s[0]);
  const int rest = static_cast<int>(r.width - i);
  if (rest) {
    VecF v = load_n(x + i, rest);
    if (has_residual) v += load_n(residual + i, rest);
    store_n(r.scratch + i, v, rest);
    if (has_sum) store_n(sum_out + i, v, rest);
    s[1] += rms ? v * v : v;
  }
  return sum((s[0] + s[1]) + (s[2] + s[3]));
}

template <class T, bool rms>
float gather(const NormRow& r) {
  if (r.residual) return r.sum ? gather<T, true, true, rms>(r) : gather<T, true, false, rms>(r);
  return r.sum ? gather<T, false, true, rms>(r) : gather<T, false, false, rms>(r);
}

float squared_deviations(const float* x, int64_t width, float mean) {
  VecF s[4] = {};
  int64_t i = 0;
  for (; i + kStep <= width; i += kStep) {
    for (int k = 0; k < 4; ++k) {
      const VecF d = load(x + i + k * kLanes) - mean;
      s[k] += d * d;
    }
  }
  for (; i + kLanes <= width; i += kLanes) {
    const VecF d = load(x + i) - mean;
    s[0] += d * d;
  }
  if (i < width) {
    const VecF d = load_n(x + i, static_cast<int>(width - i), mean) - mean;
    s[1] += d * d;
  }
  return sum((s[0] + s[1]) + (s[2] + s[3]));
}

template <class T, class W>
void row(const NormRow& r) {
  const float n = static_cast<float>(r.width);
  const float total = r.rms ? gather<T, true>(r) : gather<T, false>(r);
  const float mean = r.rms ? 0.f : total / n;
  const float variance = (r.rms ? total : squared_deviations(r.scratch, r.width, mean)) / n;
  const float scale = 1.f / __builtin_sqrtf(variance + r.eps);
  T* y = static_cast<T*>(r.y);
  const W* w = static_cast<const W*>(r.w);
  const W* b = static_cast<const W*>(r.b);
  int64_t i = 0;
  for (; i + kLanes <= r.width; i += kLanes) {
    VecF v = (load(r.scratch + i) - mean) * scale;
    if (w) v *= load(w + i);
    if (b) v += load(b + i);
    store(y + i, v);
  }
  const int rest = static_cast<int>(r.width - i);
  if (!rest) return;
  VecF v = (load_n(r.scratch + i, rest) - mean) * scale;
  if (w) v *= load_n(w + i, rest);
  if (b) v += load_n(b + i, rest);
  store_n(y + i, v, rest);
}

}  // namespace

NormFn norm_row(Elem x, Elem w) {
  switch (x) {
    case Elem::f32: return row<float, float>;
    case Elem::bf16: return w == Elem::bf16 ? row<Bf16, Bf16> : row<Bf16, float>;
    case Elem::f16: return w == Elem::f16 ? row<F16, F16> : row<F16, float>;
  }
  return nullptr;
}

}  // namespace kpt::KPT_ISA

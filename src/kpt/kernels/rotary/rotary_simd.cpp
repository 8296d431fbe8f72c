// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cpu/vec.h"
#include "kpt/kernels/rotary/rotary_rows.h"

namespace kpt::KPT_ISA {
namespace {

template <class T, class C>
KPT_INLINE void dense_row(const T* x, const C* cos, const C* sin, T* y, int64_t half) {
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const VecF a = load(x + i), b = load(x + half + i);
    store(y + i, a * load(cos + i) - b * load(sin + i));
    store(y + half + i, b * load(cos + half + i) + a * load(sin + half + i));
  }
  const int rest = static_cast<int>(half - i);
  if (!rest) return;
  const VecF a = load_n(x + i, rest), b = load_n(x + half + i, rest);
  store_n(y + i, a * load_n(cos + i, rest) - b * load_n(sin + i, rest), rest);
  store_n(y + half + i, b * load_n(cos + half + i, rest) + a * load_n(sin + half + i, rest), rest);
}

template <class T, class C>
KPT_INLINE void strided_row(const T* x, const C* cos, const C* sin, T* y, const RotaryRows& r) {
  for (int64_t i = 0; i < r.half; ++i) {
    const int64_t j = i + r.half;
    const float a = load1(x + i * r.step[0]), b = load1(x + j * r.step[0]);
    const float c[2] = {load1(cos + i * r.step[1]), load1(cos + j * r.step[1])};
    const float s[2] = {load1(sin + i * r.step[2]), load1(sin + j * r.step[2])};
    store1(y + i * r.step[3], a * c[0] - b * s[0]);
    store1(y + j * r.step[3], b * c[1] + a * s[1]);
  }
}

template <class T, class C>
void rows(const RotaryRows& r) {
  const T* x = static_cast<const T*>(r.x);
  const C* cos = static_cast<const C*>(r.cos);
  const C* sin = static_cast<const C*>(r.sin);
  T* y = static_cast<T*>(r.y);
  const bool dense = r.step[0] == 1 && r.step[1] == 1 && r.step[2] == 1 && r.step[3] == 1;
  for (int64_t i = 0; i < r.count; ++i) {
    if (dense)
      dense_row(x, cos, sin, y, r.half);
    else
      strided_row(x, cos, sin, y, r);
    x += r.row[0];
    cos += r.row[1];
    sin += r.row[2];
    y += r.row[3];
  }
}

}  // namespace

RotaryFn rotary_rows(Elem x, Elem cos) {
  switch (x) {
    case Elem::f32: return rows<float, float>;
    case Elem::bf16: return cos == Elem::bf16 ? rows<Bf16, Bf16> : rows<Bf16, float>;
    case Elem::f16: return cos == Elem::f16 ? rows<F16, F16> : rows<F16, float>;
  }
  return nullptr;
}

}  // namespace kpt::KPT_ISA

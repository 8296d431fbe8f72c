// SPDX-License-Identifier: Apache-2.0
// Loads, stores and conversions of kpt.pointwise, and the table of all its loops for one instruction set.
#include "kpt/kernels/lib/cpu/vec.h"
#include "kpt/kernels/lib/program/fn.h"
#include "kpt/kernels/lib/program/micro.h"

namespace kpt::KPT_ISA {
MicroFn micro_f32(Fn fn, int form);
MicroFn micro_other(Fn fn, Lane lane, int form);

namespace {

template <class From, class To>
KPT_INLINE To cast(From x) {
  return static_cast<To>(x);
}
// C++ leaves conversions out of range undefined; these give what cvttsd2si gives, as tensor.h does.
template <class F>
KPT_INLINE int64_t to_i64(F x) {
  return x >= static_cast<F>(-0x1p63) && x < static_cast<F>(0x1p63) ? static_cast<int64_t>(x) : INT64_MIN;
}
template <>
KPT_INLINE int64_t cast<float, int64_t>(float x) {
  return to_i64(x);
}
template <>
KPT_INLINE int64_t cast<double, int64_t>(double x) {
  return to_i64(x);
}
struct Bool {
  uint8_t value;
};
template <class From>
KPT_INLINE Bool to_bool(From x) {
  return {static_cast<uint8_t>(x != 0)};
}

template <class From, class To>
void convert(const MicroArgs& m) {
  To* __restrict dst = static_cast<To*>(m.dst);
  const From* __restrict a = static_cast<const From*>(m.a);
  for (int64_t i = 0; i < m.n; ++i) dst[i] = cast<From, To>(a[i]);
}
template <class From>
void convert_to_bool(const MicroArgs& m) {
  Bool* __restrict dst = static_cast<Bool*>(m.dst);
  const From* __restrict a = static_cast<const From*>(m.a);
  for (int64_t i = 0; i < m.n; ++i) dst[i] = to_bool(a[i]);
}

MicroFn converter(Lane from, Lane to) {
  switch (from) {
    case Lane::f32:
      return to == Lane::f64   ? convert<float, double>
             : to == Lane::i64 ? convert<float, int64_t>
                               : convert_to_bool<float>;
    case Lane::f64:
      return to == Lane::f32   ? convert<double, float>
             : to == Lane::i64 ? convert<double, int64_t>
                               : convert_to_bool<double>;
    case Lane::i64:
      return to == Lane::f32   ? convert<int64_t, float>
             : to == Lane::f64 ? convert<int64_t, double>
                               : convert_to_bool<int64_t>;
    case Lane::u8:
      return to == Lane::f32   ? convert<uint8_t, float>
             : to == Lane::f64 ? convert<uint8_t, double>
                               : convert<uint8_t, int64_t>;
  }
  return nullptr;
}

template <class T>
void fill(const MicroArgs& m) {
  T* dst = static_cast<T*>(m.dst);
  const T x = *static_cast<const T*>(m.a);
  for (int64_t i = 0; i < m.n; ++i) dst[i] = x;
}
MicroFn filler(Lane lane) {
  return lane == Lane::f32   ? fill<float>
         : lane == Lane::f64 ? fill<double>
         : lane == Lane::i64 ? fill<int64_t>
                             : fill<uint8_t>;
}

template <class Narrow>
void wrap(const MicroArgs& m) {
  int64_t* dst = static_cast<int64_t*>(m.dst);
  const int64_t* a = static_cast<const int64_t*>(m.a);
  for (int64_t i = 0; i < m.n; ++i) dst[i] = static_cast<Narrow>(a[i]);
}
MicroFn wrapper(DType narrow) {
  switch (narrow) {
    case DType::i32: return wrap<int32_t>;
    case DType::i16: return wrap<int16_t>;
    case DType::i8: return wrap<int8_t>;
    case DType::u8: return wrap<uint8_t>;
    default: return nullptr;
  }
}

KPT_INLINE VecF through(Bf16, VecF x) { return bf16_to_float(float_to_bf16(x)); }
KPT_INLINE VecF through(F16, VecF x) { return f16_to_float(float_to_f16(x)); }
template <class Narrow>
void round_through(const MicroArgs& m) {
  float* dst = static_cast<float*>(m.dst);
  const float* a = static_cast<const float*>(m.a);
  int64_t i = 0;
  for (; i + kLanes <= m.n; i += kLanes) store(dst + i, through(Narrow{}, load(a + i)));
  const int rest = static_cast<int>(m.n - i);
  if (rest) store_n(dst + i, through(Narrow{}, load_n(a + i, rest)), rest);
}
MicroFn rounder(DType narrow) { return narrow == DType::bf16 ? round_through<Bf16> : round_through<F16>; }

template <class From, class To>
void move(void* dst, int64_t dst_stride, const void* src, int64_t src_stride, int64_t n) {
  To* __restrict d = static_cast<To*>(dst);
  const From* __restrict s = static_cast<const From*>(src);
  if (dst_stride == 1 && src_stride == 1) {
    for (int64_t i = 0; i < n; ++i) d[i] = static_cast<To>(s[i]);
  } else if (dst_stride == 1 && src_stride == 0) {
    const To x = static_cast<To>(*s);
    for (int64_t i = 0; i < n; ++i) d[i] = x;
  } else {
    for (int64_t i = 0; i < n; ++i) d[i * dst_stride] = static_cast<To>(s[i * src_stride]);
  }
}

template <class From, class To>  // one of the two is float, the other Bf16 or F16
void move_half(void* dst, int64_t dst_stride, const void* src, int64_t src_stride, int64_t n) {
  To* d = static_cast<To*>(dst);
  const From* s = static_cast<const From*>(src);
  int64_t i = 0;
  if (dst_stride == 1 && src_stride == 1) {
    for (; i + kLanes <= n; i += kLanes) store(d + i, load(s + i));
    const int rest = static_cast<int>(n - i);
    if (rest) store_n(d + i, load_n(s + i, rest), rest);
    return;
  }
  for (; i < n; ++i) store1(d + i * dst_stride, load1(s + i * src_stride));
}

MoveFn loader(DType from) {
  switch (from) {
    case DType::f64: return move<double, double>;
    case DType::f32: return move<float, float>;
    case DType::bf16: return move_half<Bf16, float>;
    case DType::f16: return move_half<F16, float>;
    case DType::i64: return move<int64_t, int64_t>;
    case DType::i32: return move<int32_t, int64_t>;
    case DType::i16: return move<int16_t, int64_t>;
    case DType::i8: return move<int8_t, int64_t>;
    case DType::u8: return move<uint8_t, int64_t>;
    case DType::boolean: return move<uint8_t, uint8_t>;
  }
  return nullptr;
}

MoveFn storer(DType to) {
  switch (to) {
    case DType::f64: return move<double, double>;
    case DType::f32: return move<float, float>;
    case DType::bf16: return move_half<float, Bf16>;
    case DType::f16: return move_half<float, F16>;
    case DType::i64: return move<int64_t, int64_t>;
    case DType::i32: return move<int64_t, int32_t>;
    case DType::i16: return move<int64_t, int16_t>;
    case DType::i8: return move<int64_t, int8_t>;
    case DType::u8: return move<int64_t, uint8_t>;
    case DType::boolean: return move<uint8_t, uint8_t>;
  }
  return nullptr;
}

}  // namespace

extern const MicroTable kMicroTable = {micro_f32, micro_other, converter, filler, wrapper, rounder, loader, storer};

}  // namespace kpt::KPT_ISA

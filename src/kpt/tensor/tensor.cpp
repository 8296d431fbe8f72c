// SPDX-License-Identifier: Apache-2.0
#include "kpt/tensor/tensor.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

namespace kpt {
namespace {

constexpr std::align_val_t kAlign{64};  // a cache line, and the widest vector register

template <class T>
T peek(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
void poke(void* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

// Conversion to an integer as PyTorch does on x86: through int64, wrapping to the narrower type; NaN and values out of
// int64's range, which C++ leaves undefined, give INT64_MIN as the processor's instruction does.
int64_t to_int64(double v) {
  if (!(v >= -9223372036854775808.0 && v < 9223372036854775808.0)) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(v);
}

int64_t offset_of(const TensorDesc& desc, int64_t index) {
  int64_t offset = 0;
  for (int d = desc.sizes.rank() - 1; d >= 0; --d) {
    offset += index % desc.sizes[d] * desc.strides[d];
    index /= desc.sizes[d];
  }
  return offset;
}

char* element(const Tensor& t, int64_t index) {
  KPT_CHECK(index >= 0 && index < t.desc.numel(), "tensor.at", "got index ", index, ", want one in [0, ",
            t.desc.numel(), ")");
  return static_cast<char*>(t.data) + offset_of(t.desc, index) * static_cast<int64_t>(size_of(t.desc.dtype));
}

}  // namespace

bool TensorDesc::is_contiguous() const {
  if (numel() == 0) return true;
  int64_t want = 1;
  for (int d = sizes.rank() - 1; d >= 0; --d) {
    if (sizes[d] == 1) continue;
    if (strides[d] != want) return false;
    want *= sizes[d];
  }
  return true;
}

std::ostream& operator<<(std::ostream& os, const TensorDesc& desc) {
  os << desc.dtype << desc.sizes;
  if (!desc.is_contiguous()) os << " strides " << desc.strides;
  return os;
}

Tensor Tensor::empty(DType dtype, const Dims& sizes) {
  for (int64_t n : sizes) KPT_CHECK(n >= 0, "tensor.empty", "got sizes ", sizes, ", want none below 0");
  Tensor t;
  t.desc = TensorDesc::contiguous(dtype, sizes);
  int64_t bytes = static_cast<int64_t>(size_of(dtype));
  bool fits = true;
  for (int64_t n : sizes)
    if (n == 0) bytes = 0;
  for (int64_t n : sizes) fits = fits && !__builtin_mul_overflow(bytes, n, &bytes);
  // A size of 0 still gets an address of its own, so that data is never null.
  void* p = fits ? ::operator new(static_cast<size_t>(bytes ? bytes : 64), kAlign, std::nothrow) : nullptr;
  if (!p) {
    throw_error(ErrorKind::resource, "tensor.empty",
                cat("got no memory for ", fits ? cat(bytes, " bytes") : std::string("more than 2^63 bytes"), " (",
                    dtype, sizes, "), try smaller inputs"));
  }
  t.owner = std::shared_ptr<void>(p, [](void* q) { ::operator delete(q, kAlign); });
  t.data = p;
  return t;
}

Tensor Tensor::zeros(DType dtype, const Dims& sizes) {
  Tensor t = empty(dtype, sizes);
  std::memset(t.data, 0, t.desc.bytes());
  return t;
}

template <class T>
Tensor Tensor::from(DType dtype, const Dims& sizes, const std::vector<T>& values) {
  KPT_CHECK(static_cast<int64_t>(values.size()) == sizes.numel(), "tensor.from", "got ", values.size(),
            " values for sizes ", sizes, ", want ", sizes.numel());
  Tensor t = empty(dtype, sizes);
  char* p = static_cast<char*>(t.data);
  for (size_t i = 0; i < values.size(); ++i) {
    // i64 to i64 goes around double, which holds 53 bits only.
    if constexpr (sizeof(T) == 8 && std::numeric_limits<T>::is_integer) {
      if (dtype == DType::i64) {
        poke<int64_t>(p + i * 8, values[i]);
        continue;
      }
    }
    store_from_double(dtype, p + i * size_of(dtype), static_cast<double>(values[i]));
  }
  return t;
}
template KPT_API Tensor Tensor::from(DType, const Dims&, const std::vector<float>&);
template KPT_API Tensor Tensor::from(DType, const Dims&, const std::vector<double>&);
template KPT_API Tensor Tensor::from(DType, const Dims&, const std::vector<int64_t>&);
template KPT_API Tensor Tensor::from(DType, const Dims&, const std::vector<int32_t>&);
template KPT_API Tensor Tensor::from(DType, const Dims&, const std::vector<uint8_t>&);

double Tensor::at(int64_t index) const { return load_as_double(desc.dtype, element(*this, index)); }
void Tensor::set(int64_t index, double value) { store_from_double(desc.dtype, element(*this, index), value); }

Tensor Tensor::clone() const {
  Tensor out = empty(desc.dtype, desc.sizes);
  const size_t width = size_of(desc.dtype);
  if (desc.is_contiguous()) {
    if (out.desc.bytes()) std::memcpy(out.data, data, out.desc.bytes());
    return out;
  }
  for (int64_t i = 0, n = desc.numel(); i < n; ++i)
    std::memcpy(static_cast<char*>(out.data) + static_cast<size_t>(i) * width, element(*this, i), width);
  return out;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == desc.dtype) return clone();
  Tensor out = empty(dtype, desc.sizes);
  char* p = static_cast<char*>(out.data);
  for (int64_t i = 0, n = desc.numel(); i < n; ++i)
    store_from_double(dtype, p + static_cast<size_t>(i) * size_of(dtype), at(i));
  return out;
}

float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);  // NaN, made quiet
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) {
    const uint32_t quiet = mantissa ? 0x400000u : 0;
    return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13) | quiet);
  }
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact in f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
  if (magnitude < 0x38800000u) {  // below 2^-14: the sum with 0.5 leaves the rounded multiple of 2^-24 in the low bits
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

namespace {

// double -> 16 bits in one rounding: f32 in between could round twice, so the f32 is made "odd" where it was inexact
// (Boldo & Melquiond, "Emulation of FMA and correctly rounded sums", 2008): then the second rounding is right.
float to_f32_round_odd(double v) {
  const float f = static_cast<float>(v);
  if (!std::isfinite(f) || static_cast<double>(f) == v) return f;
  uint32_t bits = std::bit_cast<uint32_t>(f);
  if (bits & 1u) return f;
  const bool away = std::fabs(static_cast<double>(f)) > std::fabs(v);
  bits = away ? bits - 1 : bits + 1;
  return std::bit_cast<float>(bits);
}

}  // namespace

double load_as_double(DType dtype, const void* p) {
  switch (dtype) {
    case DType::f64: return peek<double>(p);
    case DType::f32: return static_cast<double>(peek<float>(p));
    case DType::f16: return static_cast<double>(f16_to_f32(peek<uint16_t>(p)));
    case DType::bf16: return static_cast<double>(bf16_to_f32(peek<uint16_t>(p)));
    case DType::i64: return static_cast<double>(peek<int64_t>(p));
    case DType::i32: return peek<int32_t>(p);
    case DType::i16: return peek<int16_t>(p);
    case DType::i8: return peek<int8_t>(p);
    case DType::u8: return peek<uint8_t>(p);
    case DType::boolean: return peek<uint8_t>(p) != 0;
  }
  return 0;
}

void store_from_double(DType dtype, void* p, double v) {
  switch (dtype) {
    case DType::f64: return poke(p, v);
    case DType::f32: return poke(p, static_cast<float>(v));
    case DType::f16: return poke(p, f32_to_f16(to_f32_round_odd(v)));
    case DType::bf16: return poke(p, f32_to_bf16(to_f32_round_odd(v)));
    case DType::i64: return poke(p, to_int64(v));
    case DType::i32: return poke(p, static_cast<int32_t>(to_int64(v)));
    case DType::i16: return poke(p, static_cast<int16_t>(to_int64(v)));
    case DType::i8: return poke(p, static_cast<int8_t>(to_int64(v)));
    case DType::u8: return poke(p, static_cast<uint8_t>(to_int64(v)));
    case DType::boolean: return poke<uint8_t>(p, v != 0);
  }
}

}  // namespace kpt

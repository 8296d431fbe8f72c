// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kpt/base/dims.h"
#include "kpt/base/dtype.h"

namespace kpt {

// What a tensor looks like, without its data. Strides in elements; 0 where broadcast; never negative.
struct KPT_API TensorDesc {
  DType dtype = DType::f32;
  Dims sizes;
  Dims strides;

  static TensorDesc contiguous(DType dtype, const Dims& sizes) { return {dtype, sizes, contiguous_strides(sizes)}; }
  bool is_contiguous() const;  // sizes of 0 and 1 are ignored, as in PyTorch
  int64_t numel() const { return sizes.numel(); }
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype); }
};

KPT_API std::ostream& operator<<(std::ostream& os, const TensorDesc& desc);

// A value type: copies share the buffer. `data` points at the first element (offset included); owner keeps it alive and
// may be empty for borrowed memory (weights of a torch module are held by the bridge's owner).
struct KPT_API Tensor {
  TensorDesc desc;
  void* data = nullptr;
  std::shared_ptr<void> owner;

  // 64-byte aligned, uninitialised. Throws Error{resource} with the number of bytes.
  static Tensor empty(DType dtype, const Dims& sizes);
  static Tensor zeros(DType dtype, const Dims& sizes);
  template <class T>
  static Tensor from(DType dtype, const Dims& sizes,
                     const std::vector<T>& values);  // f32, f64, i64, i32, bool(uint8_t)

  bool defined() const { return data != nullptr || desc.numel() == 0; }
  // Element by linear (row-major) index, converted; for tests and references, not for hot loops.
  double at(int64_t index) const;
  void set(int64_t index, double value);
  Tensor clone() const;          // contiguous copy
  Tensor to(DType dtype) const;  // contiguous copy, round to nearest even
};

// Bit-exact conversions used everywhere (round to nearest even, NaN kept quiet).
KPT_API float bf16_to_f32(uint16_t bits);
KPT_API uint16_t f32_to_bf16(float value);
KPT_API float f16_to_f32(uint16_t bits);
KPT_API uint16_t f32_to_f16(float value);

// Reads / writes one element of any dtype as double (i64 beyond 2^53 rounds).
KPT_API double load_as_double(DType dtype, const void* element);
KPT_API void store_from_double(DType dtype, void* element, double value);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string_view>

#include "kpt/base/error.h"

namespace kpt {

// Element types, by the names of the text form: f64 f32 f16 bf16 i64 i32 i16 i8 u8 bool.
enum class DType : uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean };

KPT_API std::string_view name(DType dtype);
KPT_API std::optional<DType> parse_dtype(std::string_view text);
KPT_API std::ostream& operator<<(std::ostream& os, DType dtype);

// Bytes of one element.
constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16: return 2;
    default: return 1;
  }
}

constexpr bool is_float(DType dtype) {
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

}  // namespace kpt

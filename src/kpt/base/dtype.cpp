// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/dtype.h"

#include <array>
#include <ostream>

namespace kpt {

namespace {
constexpr std::array<std::string_view, 10> kNames = {"f64", "f32", "f16", "bf16", "i64",
                                                     "i32", "i16", "i8",  "u8",   "bool"};
}  // namespace

std::string_view name(DType dtype) { return kNames[static_cast<size_t>(dtype)]; }

std::optional<DType> parse_dtype(std::string_view text) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == text) return static_cast<DType>(i);
  return std::nullopt;
}

std::ostream& operator<<(std::ostream& os, DType dtype) { return os << name(dtype); }

}  // namespace kpt

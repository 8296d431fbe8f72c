// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "kpt/base/error.h"

namespace kpt {

// SHA-256 (FIPS 180-4): names for content that are the same in every process, on every machine and in every other tool.
// Not constant-time; for names and checksums, not for secrets.
class KPT_API Sha256 {
 public:
  void add(const void* data, size_t bytes);
  // What follows is unambiguous however the parts are cut: "ab","c" and "a","bc" differ. Numbers are little-endian.
  void add_field(std::string_view text);  // its length, then its bytes
  void add_number(uint64_t value);
  std::string hex();  // 64 lower-case digits; the object is spent

 private:
  void block(const uint8_t* data);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> pending_{};
  size_t filled_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/sha256.h"

#include <gtest/gtest.h>

namespace kpt {
namespace {

std::string of(std::string_view text) {
  Sha256 hash;
  hash.add(text.data(), text.size());
  return hash.hex();
}

// The examples of FIPS 180-4 (NIST, SHA256.pdf and the long-message example of RFC 6234).
TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(of(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, HoweverTheBytesArriveTheHashIsTheSame) {
  for (size_t length : {55u, 56u, 63u, 64u, 65u, 119u, 120u, 128u}) {
    const std::string text(length, 'x');
    Sha256 hash;
    for (char c : text) hash.add(&c, 1);
    EXPECT_EQ(hash.hex(), of(text)) << length;
  }
}

TEST(Sha256, FieldsDoNotRunTogether) {
  Sha256 a, b;
  a.add_field("ab"), a.add_field("c");
  b.add_field("a"), b.add_field("bc");
  EXPECT_NE(a.hex(), b.hex());
}

}  // namespace
}  // namespace kpt

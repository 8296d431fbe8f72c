// SPDX-License-Identifier: Apache-2.0
#include "kpt/tensor/tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace kpt {
namespace {

// The nearest 16-bit float by search over all of them: an independent judge of the rounding.
template <class ToFloat>
uint16_t nearest(double v, ToFloat to_float, uint16_t infinity) {
  uint16_t lo = 0, hi = infinity;  // positive numbers are ordered as their bits
  while (hi - lo > 1) {
    const uint16_t mid = static_cast<uint16_t>((lo + hi) / 2);
    (static_cast<double>(to_float(mid)) <= v ? lo : hi) = mid;
  }
  const double low = static_cast<double>(to_float(lo));
  // The step above the largest finite number stands for infinity.
  const double high = hi == infinity ? low + (low - static_cast<double>(to_float(static_cast<uint16_t>(lo - 1))))
                                     : static_cast<double>(to_float(hi));
  if (v - low != high - v) return v - low < high - v ? lo : hi;
  return lo % 2 == 0 ? lo : hi;
}

TEST(Tensor, EveryHalfComesBackFromFloat) {
  for (uint32_t b = 0; b < 65536; ++b) {
    const uint16_t bits = static_cast<uint16_t>(b);
    if (!std::isnan(f16_to_f32(bits))) {
      ASSERT_EQ(f32_to_f16(f16_to_f32(bits)), bits);
    }
    if (!std::isnan(bf16_to_f32(bits))) {
      ASSERT_EQ(f32_to_bf16(bf16_to_f32(bits)), bits);
    }
  }
}

TEST(Tensor, NanStaysNanAndIsQuiet) {
  for (uint32_t payload : {0x7f800001u, 0x7fc00000u, 0xff800001u, 0x7fffffffu}) {
    const float nan = std::bit_cast<float>(payload);
    EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(nan)))) << payload;
    EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(nan)))) << payload;
    EXPECT_TRUE(f32_to_bf16(nan) & 0x40);
    EXPECT_TRUE(f32_to_f16(nan) & 0x200);
  }
}

TEST(Tensor, RoundsToNearestEvenIncludingSubnormalsAndOverflow) {
  uint32_t state = 12345;
  for (int i = 0; i < 200000; ++i) {
    state = state * 1664525u + 1013904223u;
    const float f = std::bit_cast<float>(state & 0x7fffffffu);
    if (!std::isfinite(f)) continue;
    ASSERT_EQ(f32_to_bf16(f), nearest(f, bf16_to_f32, 0x7f80)) << f;
    // Into the range of f16, subnormals and overflow included.
    const float h =
        std::ldexp(1.0f + static_cast<float>(state & 0x7fffff) * 0x1p-23f, static_cast<int>(state >> 23) % 44 - 26);
    ASSERT_EQ(f32_to_f16(h), nearest(h, f16_to_f32, 0x7c00)) << h;
  }
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0);
  EXPECT_EQ(f32_to_f16(0x1.000002p-25f), 1);
}

TEST(Tensor, DoubleToHalfRoundsOnce) {
  uint16_t bits;
  const double tie_plus = 1.0 + 0x1p-8 + 0x1p-40;  // f32 would drop 2^-40 and then round the tie down
  store_from_double(DType::bf16, &bits, tie_plus);
  EXPECT_EQ(bits, 0x3f81);
  store_from_double(DType::f16, &bits, 1.0 + 0x1p-11 + 0x1p-40);
  EXPECT_EQ(bits, 0x3c01);
}

TEST(Tensor, DescKnowsContiguousWhateverTheStrideOfSizeOne) {
  TensorDesc d{DType::f32, {2, 1, 3}, {3, 77, 1}};
  EXPECT_TRUE(d.is_contiguous());
  d.strides[0] = 4;
  EXPECT_FALSE(d.is_contiguous());
  d.sizes[1] = 0;
  EXPECT_TRUE(d.is_contiguous());
  EXPECT_EQ(d.bytes(), 0u);
  EXPECT_EQ(cat(TensorDesc::contiguous(DType::bf16, {2, 3})), "bf16[2, 3]");
  EXPECT_EQ(cat(TensorDesc{DType::f32, {3, 2}, {1, 3}}), "f32[3, 2] strides [1, 3]");
}

TEST(Tensor, EmptyIsAlignedAndZeroSizedOnesExist) {
  for (int64_t n : {0, 1, 7, 1000}) {
    Tensor t = Tensor::empty(DType::u8, {n});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data) % 64, 0u);
    EXPECT_TRUE(t.defined());
    EXPECT_NE(t.data, nullptr);
  }
  EXPECT_FALSE((Tensor{TensorDesc::contiguous(DType::f32, {2}), nullptr, nullptr}).defined());
}

TEST(Tensor, TooMuchMemoryIsAnErrorWithTheBytes) {
  try {
    Tensor::empty(DType::f32, {int64_t{1} << 55});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::resource);
    EXPECT_NE(std::string(e.what()).find("144115188075855872 bytes"), std::string::npos) << e.what();
  }
  EXPECT_THROW(Tensor::empty(DType::f64, {int64_t{1} << 40, int64_t{1} << 40}), Error);
  EXPECT_EQ(Tensor::empty(DType::f64, {int64_t{1} << 40, int64_t{1} << 40, 0}).desc.numel(), 0);
  EXPECT_THROW(Tensor::empty(DType::f64, {-1}), Error);
}

TEST(Tensor, StridedReadsAndClone) {
  Tensor t = Tensor::from<float>(DType::f32, {2, 3}, {0, 1, 2, 3, 4, 5});
  Tensor v = t;
  v.desc = {DType::f32, {3, 2}, {1, 3}};  // transposed view
  EXPECT_EQ(v.at(1), 3);
  v.set(1, 30);
  EXPECT_EQ(t.at(3), 30);
  Tensor c = v.clone();
  EXPECT_TRUE(c.desc.is_contiguous());
  EXPECT_EQ(c.at(1), 30);
  EXPECT_EQ(c.at(5), 5);
  Tensor b = v.to(DType::boolean);
  EXPECT_EQ(b.at(0), 0);
  EXPECT_EQ(b.at(1), 1);
  EXPECT_THROW(v.at(6), Error);
  EXPECT_THROW(v.at(-1), Error);
}

TEST(Tensor, IntegersKeepAllBitsAndWrapAsTorch) {
  const int64_t big = (int64_t{1} << 53) + 1;
  Tensor t = Tensor::from<int64_t>(DType::i64, {1}, {big});
  EXPECT_EQ(*static_cast<int64_t*>(t.data), big);
  EXPECT_EQ(*static_cast<int64_t*>(t.clone().data), big);
  uint8_t u;
  store_from_double(DType::u8, &u, 260);
  EXPECT_EQ(u, 4);
  int64_t i;
  store_from_double(DType::i64, &i, std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(i, std::numeric_limits<int64_t>::min());
  EXPECT_THROW(Tensor::from<float>(DType::f32, {3}, {1, 2}), Error);
}

}  // namespace
}  // namespace kpt

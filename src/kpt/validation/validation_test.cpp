// SPDX-License-Identifier: Apache-2.0
#include "kpt/validation/validation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace kpt {
namespace {

Tensor f64s(const std::vector<double>& v) {
  Tensor t = Tensor::empty(DType::f64, {static_cast<int64_t>(v.size())});
  for (size_t i = 0; i < v.size(); ++i) t.set(static_cast<int64_t>(i), v[i]);
  return t;
}
const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

TEST(Distance, IsRmseOverRmsOfTheReference) {
  const Distance d = distance(f64s({1, 2, 2}), f64s({1, 2, 4}));
  EXPECT_DOUBLE_EQ(d.rel_rmse, 2 / std::sqrt(21.0));
  EXPECT_DOUBLE_EQ(d.max_abs, 2);
  EXPECT_DOUBLE_EQ(d.cosine, 13 / (3 * std::sqrt(21.0)));
}

TEST(Distance, NanAgreesOnlyWithNanAndInfinityOnlyWithItself) {
  EXPECT_EQ(distance(f64s({1, kNan, kInf}), f64s({1, kNan, kInf})).rel_rmse, 0);
  EXPECT_EQ(distance(f64s({1, kNan}), f64s({1, 2})).rel_rmse, kInf);
  EXPECT_EQ(distance(f64s({1, 2}), f64s({1, kNan})).nonfinite, 1);
  EXPECT_EQ(distance(f64s({kInf}), f64s({-kInf})).rel_rmse, kInf);
}

TEST(Distance, AnAllZeroReferenceIsMetOnlyByZeros) {
  EXPECT_EQ(distance(f64s({0, 0}), f64s({0, 0})).rel_rmse, 0);
  EXPECT_EQ(distance(f64s({0, 1e-30}), f64s({0, 0})).rel_rmse, kInf);
}

TEST(Checksum, ThreadsAndStridesDoNotCount) {
  Tensor t = Tensor::empty(DType::i32, {3, 1 << 20});  // three pieces for threads
  for (int64_t i = 0; i < t.desc.numel(); ++i) static_cast<int32_t*>(t.data)[i] = static_cast<int32_t>(i * 2654435761);
  const Checksum one = checksum(t, 1);
  EXPECT_EQ(checksum(t, 3), one);
  Tensor turned = t;  // the same values by other strides
  turned.desc.sizes = {1 << 20, 3};
  turned.desc.strides = {1, 1 << 20};
  EXPECT_EQ(checksum(turned, 2), checksum(turned.clone(), 1));
  EXPECT_FALSE(checksum(turned, 2) == one);
  static_cast<int32_t*>(t.data)[2 << 20] ^= 1;
  EXPECT_FALSE(checksum(t, 3) == one);
}

TEST(Distance, OtherSizesAreRefused) { EXPECT_THROW(distance(f64s({1}), f64s({1, 2})), Error); }

Distance error(double e, double cosine = 1) {
  Distance d;
  d.rel_rmse = e;
  d.cosine = cosine;
  return d;
}

TEST(Judge, ConservativeTakesTwiceTheOriginalAndNoMore) {
  EXPECT_TRUE(judge("conservative", DType::f32, error(1.5e-6), error(3e-7), nullptr).ok);
  EXPECT_FALSE(judge("conservative", DType::f32, error(1.7e-6), error(3e-7), nullptr).ok);
  EXPECT_FALSE(judge("conservative", DType::f64, error(1e-9), error(1e-15), nullptr).ok);
}

TEST(Judge, NanAndInfinityNeverPass) {
  EXPECT_FALSE(judge("conservative", DType::f32, error(kNan), error(kNan), nullptr).ok);
  EXPECT_FALSE(judge("aggressive", DType::f32, error(kInf), error(0), nullptr).ok);
}

TEST(Judge, BalancedComparesWithTheOriginalInBf16WhereThereIsOne) {
  const Distance bf16 = error(4e-3);
  EXPECT_TRUE(judge("balanced", DType::f32, error(5e-3), error(3e-7), &bf16).ok);
  EXPECT_FALSE(judge("balanced", DType::f32, error(7e-3), error(3e-7), &bf16).ok);
  EXPECT_FALSE(judge("balanced", DType::f32, error(5e-3), error(3e-7), nullptr).ok);
}

TEST(Judge, AggressiveAsksForTheCosineToo) {
  EXPECT_TRUE(judge("aggressive", DType::f32, error(0.04, 0.9995), error(0), nullptr).ok);
  EXPECT_FALSE(judge("aggressive", DType::f32, error(0.04, 0.9985), error(0), nullptr).ok);
}

// The 95 % interval holds the true ratio about 95 times in 100, for noise with outliers.
TEST(Bootstrap, CoversTheTruthAtItsRate) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> noise(std::log(1.2), 0.05);
  int covered = 0;
  for (int trial = 0; trial < 400; ++trial) {
    std::vector<double> rounds;
    for (int i = 0; i < 25; ++i) rounds.push_back(noise(random) + (random() % 20 == 0 ? 0.5 : 0));
    const Interval iv = bootstrap(rounds, static_cast<uint64_t>(trial));
    EXPECT_LE(iv.low, iv.median);
    EXPECT_LE(iv.median, iv.high);
    covered += iv.low <= 1.2 && 1.2 <= iv.high;
  }
  EXPECT_GE(covered, 360);
  EXPECT_LE(covered, 398);
}

TEST(Bootstrap, WantsThreeRounds) { EXPECT_THROW(bootstrap({0.1, 0.2}), Error); }

}  // namespace
}  // namespace kpt

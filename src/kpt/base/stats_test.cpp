// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/stats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace kpt {
namespace {

TEST(Stats, MedianOfOddAndEvenCounts) {
  EXPECT_EQ(median(std::vector<double>{3, 1, 2}), 2);
  EXPECT_EQ(median(std::vector<double>{4, 1, 2, 3}), 2.5);
  EXPECT_THROW(median(std::vector<double>{}), Error);
}

TEST(Stats, SignIntervalOfTwentySamplesIsTheFourthFromEitherEnd) {
  std::vector<double> samples;
  for (int i = 1; i <= 20; ++i) samples.push_back(i);
  // Tables of Binomial(20, 1/2): P(<= 3) = 0.001288, P(<= 4) = 0.005909.
  const Range r = sign_interval(samples, 0.002);
  EXPECT_EQ(r.low, 4);
  EXPECT_EQ(r.high, 17);
  EXPECT_EQ(sign_interval(samples, 0.006).low, 5);
}

TEST(Stats, SignIntervalOfTooFewSamplesSaysNothing) {
  const Range r = sign_interval(std::vector<double>{1, 2, 3}, 0.01);
  EXPECT_TRUE(std::isinf(r.low) && r.low < 0 && std::isinf(r.high) && r.high > 0);
}

TEST(Stats, SignTestCountsTheTail) {
  const std::vector<double> samples{1, 1, 1, 1, 1, 1, 1, 1, 1, -1};
  EXPECT_NEAR(sign_test(samples, 0), 11.0 / 1024, 1e-12);
  EXPECT_NEAR(sign_test(samples, 1), 1, 1e-12);  // equal counts against
}

TEST(Stats, BootstrapIntervalHoldsTheMedianAsOftenAsItSays) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal(0.1, 1);
  int held = 0;
  for (uint64_t trial = 0; trial < 400; ++trial) {
    std::vector<double> samples(30);
    for (double& x : samples) x = normal(random);
    const Range r = bootstrap_median(samples, 0.9, trial);
    held += r.low <= 0.1 && 0.1 <= r.high;
  }
  EXPECT_GT(held, 340);  // 90 % of 400 less three standard deviations
  EXPECT_LT(held, 385);  // wider than that would be a wrong level, not luck
}

TEST(Stats, DifferenceOfMediansHasItsSign) {
  const std::vector<double> a{1, 1.1, 0.9, 1, 1.05}, b{2, 2.1, 1.9, 2, 2.05};
  const Range r = bootstrap_median_difference(a, b);
  EXPECT_GT(r.low, 0.7);
  EXPECT_LT(r.high, 1.3);
  EXPECT_THROW(bootstrap_median_difference(a, std::vector<double>{1, 2}), Error);
}

}  // namespace
}  // namespace kpt

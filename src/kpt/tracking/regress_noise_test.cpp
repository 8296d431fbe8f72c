// SPDX-License-Identifier: Apache-2.0
// The gate's error rates on recorded noise. Runs are drawn from the recording in blocks, so that the machine's habits
// (a time slice of another process, a neighbour's burst) stay together; the tolerance comes from another part of the
// recording than the comparisons.
#include <gtest/gtest.h>

#include <random>

#include "kpt/tracking/noise_test.h"
#include "kpt/tracking/regress.h"

namespace kpt {
namespace {

// 25 rounds: longer than any pattern that the recording's autocorrelation shows.
constexpr size_t kBlock = 100;

// One comparison as a runner does it: rounds of A B B A, a look when the rounds for it are there, until there is a
// verdict.
Finding compare(std::span<const double> noise, double slowdown, const PairedOptions& options, std::mt19937_64& random) {
  std::uniform_int_distribution<size_t> pick(0, noise.size() - 1);
  size_t at = 0, left = 0;
  const auto next = [&] {
    if (left == 0) at = pick(random), left = kBlock;
    --left;
    return noise[at++ % noise.size()];
  };
  std::vector<double> rounds;
  Finding f = judge_paired(rounds, options);
  while (f.outcome == Outcome::no_verdict && f.more_rounds > 0) {
    for (int i = 0; i < f.more_rounds; ++i) {
      const double a1 = next(), b1 = next() * (1 + slowdown), b2 = next() * (1 + slowdown), a2 = next();
      rounds.push_back(round_log_ratio(a1, b1, b2, a2));
    }
    f = judge_paired(rounds, options);
  }
  return f;
}

struct Rates {
  double regression = 0, gain = 0, no_verdict = 0, rounds = 0;
};

Rates rates(std::span<const double> noise, double slowdown, const PairedOptions& options, int comparisons) {
  std::mt19937_64 random(11);
  Rates r;
  for (int i = 0; i < comparisons; ++i) {
    const Finding f = compare(noise, slowdown, options, random);
    r.regression += f.outcome == Outcome::regression;
    r.gain += f.outcome == Outcome::gain;
    r.no_verdict += f.outcome == Outcome::no_verdict;
    r.rounds += f.rounds;
  }
  for (double* x : {&r.regression, &r.gain, &r.no_verdict, &r.rounds}) *x /= comparisons;
  return r;
}

void print(const char* what, const Rates& r, int comparisons) {
  std::printf("%s, %d comparisons: regression %.2f %%, gain %.2f %%, no verdict %.2f %%, %.0f rounds on average\n",
              what, comparisons, 100 * r.regression, 100 * r.gain, 100 * r.no_verdict, r.rounds);
}

class RecordedNoise : public testing::Test {
 protected:
  void SetUp() override {
    noise_ = read_noise();
    ASSERT_EQ(noise_.size(), 4000u);
    const size_t quarter = noise_.size() / 4;
    std::vector<double> aa;
    for (size_t i = 0; i < quarter; i += 4)
      aa.push_back(round_log_ratio(noise_[i], noise_[i + 1], noise_[i + 2], noise_[i + 3]));
    const Calibration c = calibrate(aa, options_);
    options_.tolerance = c.tolerance;
    rest_ = std::span(noise_).subspan(quarter);
    std::printf("calibrated on %zu A/A rounds: tolerance %.2f %%, bias %.2f %%, spread %.2f %%\n", aa.size(),
                100 * c.tolerance, 100 * c.bias, 100 * c.spread);
  }
  std::vector<double> noise_;
  std::span<const double> rest_;
  PairedOptions options_;
};

TEST_F(RecordedNoise, TenThousandEqualPairsRaiseAtMostOnePercentFalseAlarms) {
  const Rates r = rates(rest_, 0, options_, 10000);
  print("equal builds", r, 10000);
  EXPECT_LE(r.regression, 0.01);
  EXPECT_LE(r.gain, 0.01);
  EXPECT_LE(r.no_verdict, 0.10) << "an answer that is seldom given is none";
}

// What the tolerance is for: the recording's own patterns tilt the rounds a little, and a rule that took any tilt for a
// change would call equal builds different.
TEST_F(RecordedNoise, WithoutAToleranceTheMachineItselfRaisesAlarms) {
  options_.tolerance = 0;
  const Rates r = rates(rest_, 0, options_, 1000);
  print("equal builds, no tolerance", r, 1000);
  EXPECT_GT(r.regression + r.gain, 0.01);
}

TEST_F(RecordedNoise, ThreePercentSlowdownIsFoundNineTimesOfTen) {
  const Rates r = rates(rest_, 0.03, options_, 2000);
  print("3 % slower", r, 2000);
  EXPECT_GE(r.regression, 0.90);
  EXPECT_EQ(r.gain, 0);
}

TEST_F(RecordedNoise, TenPercentSlowdownIsFoundSoon) {
  const Rates r = rates(rest_, 0.10, options_, 2000);
  print("10 % slower", r, 2000);
  EXPECT_GE(r.regression, 0.99);
  EXPECT_LE(r.rounds, 80);
}

// The same looks without paying for them: what the rule is for. Independent noise, no tolerance, so that every alarm is
// one of looking.
TEST(Sequential, LooksThatAreNotPaidForRaiseFalseAlarms) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  PairedOptions paid;
  paid.tolerance = 0;
  paid.false_alarms = 0.05;
  PairedOptions unpaid = paid;
  unpaid.false_alarms = 0.25;  // five looks: 0.05 each
  int alarms_paid = 0, alarms_unpaid = 0;
  for (int i = 0; i < 4000; ++i) {
    std::vector<double> rounds(320);
    for (double& x : rounds) x = normal(random);
    const auto any = [&](const PairedOptions& o) {
      for (size_t n : {20u, 40u, 80u, 160u, 320u})
        if (judge_paired(std::span(rounds).first(n), o).outcome == Outcome::regression) return 1;
      return 0;
    };
    alarms_paid += any(paid), alarms_unpaid += any(unpaid);
  }
  std::printf("independent noise, 5 looks: %.2f %% false alarms paid, %.2f %% unpaid, wanted 5 %%\n",
              alarms_paid / 40.0, alarms_unpaid / 40.0);
  EXPECT_LE(alarms_paid, 200);
  EXPECT_GT(alarms_unpaid, 300);
}

// Makes noise.txt anew, in the folder it is called from; the header of testdata/noise.txt says how to call it.
TEST(Noise, DISABLED_Record) { record_noise("noise.txt", 4000, 8); }

}  // namespace
}  // namespace kpt

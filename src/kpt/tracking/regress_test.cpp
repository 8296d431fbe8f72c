// SPDX-License-Identifier: Apache-2.0
#include "kpt/tracking/regress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kpt/tracking/test_util.h"

namespace kpt {
namespace {

// Rounds around one log ratio with a spread of 1 %.
std::vector<double> rounds_at(double change, int count, double spread = 0.01, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> noise(std::log1p(change), spread);
  std::vector<double> rounds;
  for (int i = 0; i < count; ++i) rounds.push_back(noise(random));
  return rounds;
}

TEST(Paired, SeverityFollowsTheSizeOfTheLoss) {
  const PairedOptions options;
  const auto judged = [&](double change) { return judge_paired(rounds_at(change, 320), options); };
  EXPECT_EQ(judged(0).outcome, Outcome::none);
  EXPECT_EQ(judged(0).severity, Severity::none);
  EXPECT_EQ(judged(0.05).severity, Severity::minor);
  EXPECT_EQ(judged(0.15).severity, Severity::moderate);
  EXPECT_EQ(judged(0.40).severity, Severity::severe);
  for (double change : {0.05, 0.15, 0.40}) {
    const Finding f = judged(change);
    EXPECT_EQ(f.outcome, Outcome::regression);
    EXPECT_NEAR(f.change, change, 0.01);
    EXPECT_TRUE(f.low <= f.change && f.change <= f.high);
    EXPECT_LT(f.p, 1e-10);
  }
}

TEST(Paired, GainIsNeverARegressionAndIsFlaggedUnlessAnnounced) {
  PairedOptions options;
  Finding f = judge_paired(rounds_at(-0.30, 320), options);
  EXPECT_EQ(f.outcome, Outcome::gain);
  EXPECT_EQ(f.severity, Severity::none);
  EXPECT_TRUE(f.unexplained_gain);
  EXPECT_LT(f.change, -0.28);
  EXPECT_EQ(f.p, 1);
  options.gain_expected = true;
  EXPECT_FALSE(judge_paired(rounds_at(-0.30, 320), options).unexplained_gain);
}

TEST(Paired, HigherIsBetterTurnsTheSign) {
  PairedOptions options;
  options.direction = Direction::higher;
  const Finding less = judge_paired(rounds_at(-0.15, 320), options);
  EXPECT_EQ(less.outcome, Outcome::regression);
  EXPECT_EQ(less.severity, Severity::moderate);
  EXPECT_NEAR(less.change, -0.15, 0.01);
  EXPECT_TRUE(less.low <= less.change && less.change <= less.high);
  EXPECT_EQ(judge_paired(rounds_at(0.15, 320), options).outcome, Outcome::gain);
}

TEST(Paired, AsksForRoundsUntilTheCap) {
  const PairedOptions options;
  EXPECT_EQ(looks(options), 5);
  EXPECT_EQ(judge_paired(rounds_at(0, 0), options).more_rounds, 20);
  EXPECT_EQ(judge_paired(rounds_at(0, 13), options).more_rounds, 7);
  // A spread of 10 % leaves 2 % open to the end.
  const auto noisy = rounds_at(0.02, 320, 0.10);
  for (int n : {20, 40, 80, 160}) {
    const Finding f = judge_paired(std::span(noisy).first(static_cast<size_t>(n)), options);
    EXPECT_EQ(f.outcome, Outcome::no_verdict);
    EXPECT_EQ(f.rounds, n);
    EXPECT_EQ(f.more_rounds, n);
  }
  const Finding last = judge_paired(noisy, options);
  EXPECT_EQ(last.outcome, Outcome::no_verdict);
  EXPECT_EQ(last.more_rounds, 0);
  EXPECT_NE(last.reason.find("no verdict within the cap"), std::string::npos);
  EXPECT_THROW(judge_paired(rounds_at(0, 321), options), Error);
}

TEST(Paired, BetweenTwoLooksOnlyTheFullOneCounts) {
  auto rounds = rounds_at(0, 40);
  for (size_t i = 20; i < 39; ++i) rounds[i] = 1;  // would tip the median of 39
  const Finding f = judge_paired(std::span(rounds).first(39), {});
  EXPECT_EQ(f.rounds, 20);
  EXPECT_NE(f.outcome, Outcome::regression);
}

TEST(Paired, RoundRatioIsOfTheNewOverTheOld) {
  EXPECT_NEAR(round_log_ratio(10, 11, 11, 10), std::log(1.1), 1e-12);
  EXPECT_NEAR(round_log_ratio(10, 11, 12, 13), 0, 1e-12);  // an even drift cancels
  EXPECT_THROW(round_log_ratio(10, 0, 11, 10), Error);
}

TEST(Exact, AnyChangeIsReal) {
  EXPECT_EQ(judge_exact(40, 40, Direction::lower).outcome, Outcome::none);
  const Finding f = judge_exact(40, 41, Direction::lower);
  EXPECT_EQ(f.outcome, Outcome::regression);
  EXPECT_EQ(f.severity, Severity::minor);
  EXPECT_DOUBLE_EQ(f.change, 0.025);
  EXPECT_EQ(judge_exact(0, 3, Direction::lower).severity, Severity::severe);
  EXPECT_EQ(judge_exact(40, 39, Direction::lower).outcome, Outcome::gain);
  EXPECT_EQ(judge_exact(40, 39, Direction::higher).outcome, Outcome::regression);
}

TEST(Historical, WarnsAndIsConfirmedByTheRunBefore) {
  const auto run = [](double level, uint64_t seed) {
    std::vector<double> samples = rounds_at(level - 1, 50, 0.01, seed);
    for (double& x : samples) x = 10 * std::exp(x);
    return samples;
  };
  const HistoricalOptions options;
  EXPECT_EQ(judge_historical(run(1, 1), run(1.02, 2), {}, options).outcome, Outcome::none);
  const Finding alone = judge_historical(run(1, 1), run(1.2, 2), run(1, 3), options);
  EXPECT_EQ(alone.outcome, Outcome::regression);
  EXPECT_EQ(alone.severity, Severity::moderate);
  EXPECT_FALSE(alone.confirmed);
  EXPECT_TRUE(judge_historical(run(1, 1), run(1.2, 2), run(1.2, 3), options).confirmed);
  EXPECT_FALSE(judge_historical(run(1, 1), run(1.2, 2), run(0.8, 3), options).confirmed);
  EXPECT_EQ(judge_historical(run(1, 1), run(0.8, 2), {}, options).outcome, Outcome::gain);
}

TEST(Historical, RecordsOfOtherDevicesAreNotCompared) {
  const Record a = sample_record("m", 0);
  Record b = sample_record("m", 0);
  b.metrics[1].value = 41;
  auto found = compare_records(a, b, nullptr, {});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].finding.outcome, Outcome::none);
  EXPECT_EQ(found[1].finding.outcome, Outcome::regression) << "one more launch is real";
  b.device = R"({"kind":"gpu"})";
  for (const MetricFinding& m : compare_records(a, b, nullptr, {})) EXPECT_EQ(m.finding.outcome, Outcome::no_verdict);
}

// The example of Benjamini and Hochberg 1995, section 3.1: 15 p-values, four stand at q = 0.05, three under Bonferroni.
TEST(Discoveries, AnswersThePapersExample) {
  const std::vector<double> p{0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
                              0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
  const auto stands = discoveries(p, 0.05);
  EXPECT_EQ(std::count(stands.begin(), stands.end(), true), 4);
  EXPECT_TRUE(stands[3] && !stands[4]);
  const auto any = discoveries(p, 0.05, true);
  EXPECT_EQ(std::count(any.begin(), any.end(), true), 3);
  EXPECT_TRUE(discoveries({}, 0.05).empty());
}

TEST(Discoveries, RegressionThatDoesNotStandBecomesNoVerdict) {
  std::vector<Finding> findings(50);
  for (Finding& f : findings) f.outcome = Outcome::none;
  findings[3].outcome = findings[7].outcome = Outcome::regression;
  findings[3].severity = findings[7].severity = Severity::minor;
  findings[3].p = 1e-6, findings[7].p = 0.01;
  control_false_discoveries(findings);
  EXPECT_EQ(findings[3].outcome, Outcome::regression);
  EXPECT_EQ(findings[7].outcome, Outcome::no_verdict);
  EXPECT_EQ(findings[7].severity, Severity::none);
}

TEST(Calibrate, ToleranceCoversABiasBetweenTheSides) {
  const PairedOptions options;
  EXPECT_EQ(calibrate(rounds_at(0, 300), options).tolerance, kLeastTolerance);
  const Calibration biased = calibrate(rounds_at(0.04, 300), options);
  EXPECT_NEAR(biased.bias, 0.04, 0.002);
  EXPECT_GT(biased.tolerance, 0.035);
  EXPECT_LT(biased.tolerance, 0.06);
  EXPECT_THROW(calibrate(rounds_at(0, 39), options), Error);
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/tracking/record.h"

namespace kpt {

// Did it get slower? Answers with known error rates, from samples alone: pure functions, thread-safe, the same answer
// for the same samples.
//
// Paired (the gate). Baseline and new build alternate in one run, rounds of A B B A; a round gives one log ratio,
// round_log_ratio(). The median over rounds is judged by its order-statistics interval (base/stats.h), which holds for
// any distribution: times have one long tail, and the bootstrap promises too much at few rounds. The samples are looked
// at after min_rounds, then after twice as many each time, up to max_rounds. Looking K times is paid for by Bonferroni:
// each look spends false_alarms / K (Jennison and Turnbull, Group Sequential Methods, 2000, section 2.8, on why unpaid
// looks are false alarms; Bonferroni needs no model of how the looks depend on each other).
//
// Historical (a warning). Samples of two runs, days apart: what differs between runs does not show inside one. So the
// tolerance is wider, and a warning counts as confirmed only if the run before said the same.

enum class Severity : uint8_t { none, minor, moderate, severe };  // within the tolerance, < 10 %, < 25 %, above
enum class Outcome : uint8_t { none, regression, gain, no_verdict };
KPT_API std::string_view name(Severity severity);
KPT_API std::string_view name(Outcome outcome);

// log(new / baseline) of one round: first baseline, the new build twice, baseline again. All times > 0.
KPT_API double round_log_ratio(double baseline1, double fresh1, double fresh2, double baseline2);

struct PairedOptions {
  Direction direction = Direction::lower;
  double false_alarms = 0.01;  // the chance that a change within the tolerance is called a regression, over all looks
  double tolerance = 0.01;     // the noise floor as a share: from calibrate(), or 1 % as the least that anybody acts on
  int min_rounds = 20;         // the first look: the least at which 5 looks of 0.2 % have an interval at all is 9
  int max_rounds = 320;        // the cap: 5 looks; at 325 us a sample it is 0.4 s, at 10 ms 13 s
  bool gain_expected = false;  // else a gain is flagged: what nobody meant to speed up may compute less than it should
};

// What was found. `change` is signed and relative to the baseline in the metric's own direction: +0.03 for a latency is
// 3 % slower, for a throughput 3 % more. [low, high] is the interval that was judged, infinite with too few rounds for
// one.
struct Finding {
  Outcome outcome = Outcome::no_verdict;
  Severity severity = Severity::none;  // other than none only for a regression
  double change = 0, low = 0, high = 0;
  double p = 1;         // of "no worse than the tolerance", paid for all looks: valid wherever one stops
  int rounds = 0;       // looked at
  int more_rounds = 0;  // > 0: run so many more, then ask again
  bool unexplained_gain = false;
  bool confirmed = false;  // historical: the run before says the same
  std::string reason;      // one line, with the numbers
};

KPT_API int looks(const PairedOptions& options);  // how often the samples are looked at until the cap

// At most max_rounds ratios, else Error{bad_input}. Between two looks it judges by the last one that is full, so that
// stopping early or late spends no more than the looks paid for.
KPT_API Finding judge_paired(std::span<const double> log_ratios, const PairedOptions& options);

// The tolerance at which this very procedure raises `false_alarms` on two equal builds: runs of max_rounds are drawn
// from the A/A rounds in blocks (Künsch 1989, moving blocks: neighbours in time stay together, so slow drift stays in),
// and the tolerance is the quantile of how far the interval came off zero at any look. Never below least_tolerance.
struct Calibration {
  double tolerance = 0;
  double bias = 0;    // median of the A/A rounds: a lasting difference between the two sides of a round
  double spread = 0;  // half the distance between their quartiles
};
constexpr double kLeastTolerance = 0.01;
KPT_API Calibration calibrate(std::span<const double> aa_log_ratios, const PairedOptions& options,
                              double least_tolerance = kLeastTolerance);  // >= 40 rounds

// A counted metric (kernel launches, bytes): any change is real.
KPT_API Finding judge_exact(double baseline, double fresh, Direction direction, bool gain_expected = false);

struct HistoricalOptions {
  Direction direction = Direction::lower;
  double false_alarms = 0.01;
  double tolerance = 0.05;  // runs of one build on one machine differ by this much: the roadmap's threshold
  bool gain_expected = false;
};
// Samples > 0. With fewer than 3 samples on a side there is no interval: the medians are compared, and the reason says
// so. `previous`: the run before this one; empty where there is none, then nothing is confirmed.
KPT_API Finding judge_historical(std::span<const double> baseline, std::span<const double> fresh,
                                 std::span<const double> previous, const HistoricalOptions& options);

// Metric by metric, those that both records have. Exact metrics by judge_exact. Records of different devices give
// no_verdict. `previous` may be null.
struct MetricFinding {
  std::string metric, unit;
  double baseline = 0, fresh = 0;
  Finding finding;
};
KPT_API std::vector<MetricFinding> compare_records(const Record& baseline, const Record& fresh, const Record* previous,
                                                   const HistoricalOptions& options);

// Many benchmarks at once: which p-values stand so that at most the share `q` of them is false. Benjamini and Hochberg
// 1995 (independent or positively dependent tests, as benchmarks of one build are); with `any_dependence` Benjamini and
// Yekutieli 2001.
KPT_API std::vector<bool> discoveries(std::span<const double> p, double q, bool any_dependence = false);

// The same for findings: a regression that does not stand becomes no_verdict and says why.
KPT_API void control_false_discoveries(std::vector<Finding>& findings, double q = 0.05);

}  // namespace kpt

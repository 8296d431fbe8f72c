// SPDX-License-Identifier: Apache-2.0
#include "kpt/tracking/regress.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "kpt/base/stats.h"

namespace kpt {

namespace {

constexpr std::string_view kWhere = "tracking.regress";

// As the reader writes it: +3.1 %.
std::string percent(double share) {
  std::ostringstream os;
  os.setf(std::ios::fixed);
  os.precision(std::abs(share) < 0.001 ? 2 : 1);
  os << (share >= 0 ? "+" : "") << 100 * share << " %";
  return os.str();
}

std::string interval_text(const Finding& f) {
  if (std::isinf(f.low)) return cat(percent(f.change), " [too few rounds for an interval]");
  return cat(percent(f.change), " [", percent(f.low), ", ", percent(f.high), "]");
}

Severity severity_of(double worse) {
  if (worse < 0.10) return Severity::minor;
  return worse < 0.25 ? Severity::moderate : Severity::severe;
}

void check_options(const PairedOptions& o) {
  KPT_CHECK(o.false_alarms > 0 && o.false_alarms < 1, kWhere, "got false_alarms ", o.false_alarms,
            ", want one between 0 and 1");
  KPT_CHECK(o.tolerance >= 0 && o.tolerance < 1, kWhere, "got tolerance ", o.tolerance, ", want one in [0, 1)");
  KPT_CHECK(o.min_rounds >= 1 && o.max_rounds >= o.min_rounds, kWhere, "got rounds ", o.min_rounds, " to ",
            o.max_rounds, ", want at least 1 and a cap no lower");
}

void check_finite(std::span<const double> values, std::string_view what) {
  for (double v : values) KPT_CHECK(std::isfinite(v), kWhere, "got ", v, " among the ", what, ", want finite numbers");
}

// The round counts at which the samples are looked at: min_rounds doubled until the cap, and the cap.
std::vector<int> look_schedule(const PairedOptions& o) {
  std::vector<int> schedule;
  for (int64_t n = o.min_rounds; n < o.max_rounds; n *= 2) schedule.push_back(static_cast<int>(n));
  schedule.push_back(o.max_rounds);
  return schedule;
}

// From log ratios "up is worse" to what a reader wants: relative change of the metric itself.
void set_change(Finding& f, double log_change, Range log_range, Direction direction) {
  const double sign = direction == Direction::lower ? 1 : -1;
  const auto relative = [](double log_value) { return std::isinf(log_value) ? log_value : std::expm1(log_value); };
  f.change = relative(sign * log_change);
  f.low = relative(sign * (sign > 0 ? log_range.low : log_range.high));
  f.high = relative(sign * (sign > 0 ? log_range.high : log_range.low));
}

// `log_worse`: how much worse, in log; `range` its interval.
Outcome decide(Range range, double log_tolerance) {
  if (range.low > log_tolerance) return Outcome::regression;
  if (range.high < -log_tolerance) return Outcome::gain;
  return range.high <= log_tolerance ? Outcome::none : Outcome::no_verdict;
}

}  // namespace

std::string_view name(Severity severity) {
  switch (severity) {
    case Severity::none: return "none";
    case Severity::minor: return "minor";
    case Severity::moderate: return "moderate";
    case Severity::severe: return "severe";
  }
  return "?";
}

std::string_view name(Outcome outcome) {
  switch (outcome) {
    case Outcome::none: return "none";
    case Outcome::regression: return "regression";
    case Outcome::gain: return "gain";
    case Outcome::no_verdict: return "no_verdict";
  }
  return "?";
}

double round_log_ratio(double baseline1, double fresh1, double fresh2, double baseline2) {
  for (double t : {baseline1, fresh1, fresh2, baseline2})
    KPT_CHECK(std::isfinite(t) && t > 0, kWhere, "got a time of ", t, ", want a positive one");
  return std::log((fresh1 + fresh2) / (baseline1 + baseline2));
}

int looks(const PairedOptions& options) {
  check_options(options);
  return static_cast<int>(look_schedule(options).size());
}

Finding judge_paired(std::span<const double> log_ratios, const PairedOptions& o) {
  check_options(o);
  check_finite(log_ratios, "log ratios");
  const int have = static_cast<int>(log_ratios.size());
  KPT_CHECK(have <= o.max_rounds, kWhere, "got ", have, " rounds, want at most max_rounds ", o.max_rounds);
  const std::vector<int> schedule = look_schedule(o);
  Finding f;
  const auto next = std::upper_bound(schedule.begin(), schedule.end(), have);
  if (next != schedule.end()) f.more_rounds = *next - have;
  if (next == schedule.begin()) {
    f.reason = cat(have, " rounds, the first look is at ", *next);
    return f;
  }
  f.rounds = *std::prev(next);
  // Judged with "up is worse", whatever the metric's direction.
  std::vector<double> worse(log_ratios.begin(), log_ratios.begin() + f.rounds);
  if (o.direction == Direction::higher)
    for (double& x : worse) x = -x;
  const auto paid = static_cast<double>(schedule.size());
  const double middle = median(worse), log_tolerance = std::log1p(o.tolerance);
  const Range range = sign_interval(worse, o.false_alarms / paid);
  set_change(f, middle, range, o.direction);
  f.p = std::min(1.0, paid * sign_test(worse, log_tolerance));
  f.outcome = decide(range, log_tolerance);
  if (f.outcome == Outcome::regression) f.severity = severity_of(std::expm1(middle));
  f.unexplained_gain = f.outcome == Outcome::gain && !o.gain_expected;
  if (f.outcome != Outcome::no_verdict) f.more_rounds = 0;
  f.reason = cat(interval_text(f), " over ", f.rounds, " rounds, noise floor ", percent(o.tolerance));
  if (f.outcome == Outcome::no_verdict)
    f.reason += f.more_rounds ? cat(", ", f.more_rounds, " more rounds needed") : ", no verdict within the cap";
  if (f.unexplained_gain) f.reason += ", a gain that nobody announced";
  return f;
}

Finding judge_exact(double baseline, double fresh, Direction direction, bool gain_expected) {
  check_finite(std::vector<double>{baseline, fresh}, "counts");
  Finding f;
  f.rounds = 1;
  f.outcome = Outcome::none;
  f.reason = cat(baseline, " -> ", fresh, ", counted");
  if (baseline == fresh) return f;
  // From zero every growth is without bound: severe.
  f.change = baseline != 0 ? (fresh - baseline) / std::abs(baseline) : (fresh > 0 ? 1 : -1) * HUGE_VAL;
  f.low = f.high = f.change;
  f.p = 0;
  const bool worse = (fresh > baseline) == (direction == Direction::lower);
  f.outcome = worse ? Outcome::regression : Outcome::gain;
  if (worse) f.severity = severity_of(std::abs(f.change));
  f.confirmed = true;
  f.unexplained_gain = !worse && !gain_expected;
  if (f.unexplained_gain) f.reason += ", a gain that nobody announced";
  return f;
}

std::vector<bool> discoveries(std::span<const double> p, double q, bool any_dependence) {
  KPT_CHECK(q > 0 && q < 1, kWhere, "got q ", q, ", want one between 0 and 1");
  for (double v : p) KPT_CHECK(v >= 0 && v <= 1, kWhere, "got p ", v, ", want one in [0, 1]");
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  double share = q / static_cast<double>(std::max<size_t>(p.size(), 1));
  if (any_dependence) {
    double harmonic = 0;
    for (size_t i = 1; i <= p.size(); ++i) harmonic += 1 / static_cast<double>(i);
    share /= std::max(harmonic, 1.0);
  }
  size_t stand = 0;
  for (size_t i = 0; i < order.size(); ++i)
    if (p[order[i]] <= share * static_cast<double>(i + 1)) stand = i + 1;
  std::vector<bool> result(p.size(), false);
  for (size_t i = 0; i < stand; ++i) result[order[i]] = true;
  return result;
}

void control_false_discoveries(std::vector<Finding>& findings, double q) {
  std::vector<double> p;
  for (const Finding& f : findings) p.push_back(f.p);
  const std::vector<bool> stands = discoveries(p, q);
  for (size_t i = 0; i < findings.size(); ++i) {
    Finding& f = findings[i];
    if (f.outcome != Outcome::regression || stands[i]) continue;
    f.outcome = Outcome::no_verdict;
    f.severity = Severity::none;
    f.reason += cat(", does not stand among ", findings.size(), " benchmarks at a false discovery rate of ", q);
  }
}

Calibration calibrate(std::span<const double> rounds, const PairedOptions& options, double least_tolerance) {
  check_options(options);
  check_finite(rounds, "A/A log ratios");
  KPT_CHECK(rounds.size() >= 40, kWhere, "got ", rounds.size(), " A/A rounds, want at least 40");
  const std::vector<int> schedule = look_schedule(options);
  const double side = options.false_alarms / static_cast<double>(schedule.size());
  // Blocks of n^(1/3) balance bias against variance (Hall, Horowitz and Jing 1995), but never shorter than 8 rounds:
  // the patterns that a scheduler leaves repeat within a few.
  const size_t n = rounds.size();
  const size_t block = std::max<size_t>(8, static_cast<size_t>(std::cbrt(static_cast<double>(n))));
  // The 99 % point then rests on 20 runs.
  constexpr int kRuns = 2000;
  std::mt19937_64 random(1);
  std::uniform_int_distribution<size_t> pick(0, n - 1);
  std::vector<double> excess(kRuns), run(static_cast<size_t>(options.max_rounds));
  for (double& worst : excess) {
    for (size_t i = 0, at = 0; i < run.size(); ++i) {
      if (i % block == 0) at = pick(random);
      run[i] = rounds[(at + i % block) % n];  // the recording as a ring: every round equally often
    }
    worst = 0;
    for (int look : schedule) {
      const Range r = sign_interval(std::span(run).first(static_cast<size_t>(look)), side);
      worst = std::max({worst, r.low, -r.high});
    }
  }
  const auto cut = static_cast<std::ptrdiff_t>(std::floor(kRuns * (1 - options.false_alarms)));
  std::nth_element(excess.begin(), excess.begin() + cut, excess.end());
  std::vector<double> sorted(rounds.begin(), rounds.end());
  std::sort(sorted.begin(), sorted.end());
  Calibration c;
  c.tolerance = std::max(least_tolerance, std::expm1(excess[static_cast<size_t>(cut)]));
  c.bias = std::expm1(median(rounds));
  c.spread = (sorted[3 * n / 4] - sorted[n / 4]) / 2;
  return c;
}

Finding judge_historical(std::span<const double> baseline, std::span<const double> fresh,
                         std::span<const double> previous, const HistoricalOptions& o) {
  KPT_CHECK(!baseline.empty() && !fresh.empty(), kWhere, "got ", baseline.size(), " and ", fresh.size(),
            " samples, want at least 1 each");
  KPT_CHECK(o.false_alarms > 0 && o.false_alarms < 0.5, kWhere, "got false_alarms ", o.false_alarms,
            ", want one in (0, 0.5)");
  KPT_CHECK(o.tolerance >= 0 && o.tolerance < 1, kWhere, "got tolerance ", o.tolerance, ", want one in [0, 1)");
  const double sign = o.direction == Direction::lower ? 1 : -1;
  const auto logs = [&](std::span<const double> samples) {
    std::vector<double> result;
    for (double x : samples) {
      KPT_CHECK(std::isfinite(x) && x > 0, kWhere, "got a sample of ", x, ", want a positive one");
      result.push_back(sign * std::log(x));
    }
    return result;
  };
  const double log_tolerance = std::log1p(o.tolerance);
  const std::vector<double> before = logs(baseline);
  bool interval = true;
  const auto range_of = [&](const std::vector<double>& now) -> Range {
    if (std::min(before.size(), now.size()) >= 3)
      return bootstrap_median_difference(before, now, 1 - 2 * o.false_alarms);
    interval = false;
    const double d = median(now) - median(before);
    return {d, d};
  };
  const std::vector<double> now = logs(fresh);
  Finding f;
  f.rounds = static_cast<int>(now.size());
  const Range range = range_of(now);
  const double middle = median(now) - median(before);
  set_change(f, middle, range, o.direction);
  f.outcome = decide(range, log_tolerance);
  f.reason = interval ? cat(interval_text(f), " against the stored run, tolerance ", percent(o.tolerance))
                      : cat(percent(f.change), " against the stored run, too few samples for an interval");
  if (f.outcome == Outcome::regression) {
    f.severity = severity_of(std::expm1(middle));
    f.confirmed = !previous.empty() && decide(range_of(logs(previous)), log_tolerance) == Outcome::regression;
    f.reason += f.confirmed ? ", as in the run before" : ", not confirmed by the run before: measure again";
  }
  f.unexplained_gain = f.outcome == Outcome::gain && !o.gain_expected;
  return f;
}

std::vector<MetricFinding> compare_records(const Record& baseline, const Record& fresh, const Record* previous,
                                           const HistoricalOptions& options) {
  std::vector<MetricFinding> result;
  for (const Metric& now : fresh.metrics) {
    const Metric* before = baseline.metric(now.name);
    if (!before) continue;
    MetricFinding m{now.name, now.unit, before->value, now.value, {}};
    const MetricKind* kind = metric_kind(now.name);
    HistoricalOptions own = options;
    own.direction = now.direction;
    const auto samples = [](const Metric& x) { return x.samples.empty() ? std::vector<double>{x.value} : x.samples; };
    const Metric* last = previous ? previous->metric(now.name) : nullptr;
    if (baseline.device != fresh.device)
      m.finding.reason = "measured on another device";
    else if (before->unit != now.unit || before->direction != now.direction)
      m.finding.reason = cat("measured in ", before->unit, ", now in ", now.unit);
    else if (kind && kind->exact)
      m.finding = judge_exact(before->value, now.value, now.direction, options.gain_expected);
    else if (before->value <= 0 || now.value <= 0)
      m.finding.reason = cat(before->value, " -> ", now.value, ": no ratio of values that are not positive");
    else
      m.finding = judge_historical(samples(*before), samples(now),
                                   last && last->value > 0 ? samples(*last) : std::vector<double>{}, own);
    result.push_back(std::move(m));
  }
  return result;
}

}  // namespace kpt

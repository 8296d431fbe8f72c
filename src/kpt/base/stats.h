// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <span>

#include "kpt/base/error.h"

namespace kpt {

// The few statistics that every judgement of times rests on. All are pure and thread-safe, and give the same answer for
// the same samples. Samples must be finite; each function throws Error{bad_input} for fewer samples than it names.

struct Range {
  double low = 0, high = 0;
};

KPT_API double median(std::span<const double> samples);  // >= 1; the mean of the middle two for an even count

// Percentile bootstrap of the median (Efron and Tibshirani 1993, chapter 13): >= 3 samples, 2,000 resamples, so that
// either end of a 95 % interval rests on 50 of them.
KPT_API Range bootstrap_median(std::span<const double> samples, double level = 0.95, uint64_t seed = 1);

// The same for median(b) - median(a) of two independent sets, each resampled by itself. >= 3 samples each.
KPT_API Range bootstrap_median_difference(std::span<const double> a, std::span<const double> b, double level = 0.95,
                                          uint64_t seed = 1);

// Interval of the median from order statistics (Conover, Practical Nonparametric Statistics, 3.2): either side misses
// the median with probability at most `side`, whatever the distribution, for independent samples. Unlike the bootstrap
// it keeps its word at few samples and small `side`. Infinite where there are too few samples to say anything.
KPT_API Range sign_interval(std::span<const double> samples, double side);

// One-sided sign test: the probability of seeing as many samples above `threshold` if the median were at it or below.
// Samples equal to the threshold count against.
KPT_API double sign_test(std::span<const double> samples, double threshold);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/stats.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace kpt {

namespace {

constexpr size_t kResamples = 2000;

double median_in_place(std::vector<double>& v) {
  const auto mid = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), mid, v.end());
  if (v.size() % 2) return *mid;
  return (*mid + *std::max_element(v.begin(), mid)) / 2;
}

// Draws one resample after another from the same samples.
class Resampler {
 public:
  explicit Resampler(std::span<const double> samples)
      : samples_(samples), pick_(0, samples.size() - 1), drawn_(samples.size()) {}
  double median(std::mt19937_64& random) {
    for (double& x : drawn_) x = samples_[pick_(random)];
    return median_in_place(drawn_);
  }

 private:
  std::span<const double> samples_;
  std::uniform_int_distribution<size_t> pick_;
  std::vector<double> drawn_;
};

Range percentiles(std::vector<double>& values, double level) {
  std::sort(values.begin(), values.end());
  const auto cut = static_cast<size_t>(std::llround(static_cast<double>(values.size()) * (1 - level) / 2));
  return {values[cut], values[values.size() - cut - 1]};
}

void check(size_t count, size_t least, double level) {
  KPT_CHECK(count >= least, "base.stats", "got ", count, " samples, want at least ", least);
  KPT_CHECK(level > 0 && level < 1, "base.stats", "got level ", level, ", want one between 0 and 1");
}

// P(X = k) for X of Binomial(n, 1/2); by logarithms, since 2^-n leaves the range of double beyond 1,074 samples.
double binomial_half(size_t n, size_t k) {
  const auto a = static_cast<double>(n), b = static_cast<double>(k);
  return std::exp(std::lgamma(a + 1) - std::lgamma(b + 1) - std::lgamma(a - b + 1) - a * std::log(2.0));
}

}  // namespace

double median(std::span<const double> samples) {
  check(samples.size(), 1, 0.5);
  std::vector<double> copy(samples.begin(), samples.end());
  return median_in_place(copy);
}

Range bootstrap_median(std::span<const double> samples, double level, uint64_t seed) {
  check(samples.size(), 3, level);
  std::mt19937_64 random(seed);
  Resampler resampler(samples);
  std::vector<double> medians(kResamples);
  for (double& m : medians) m = resampler.median(random);
  return percentiles(medians, level);
}

Range bootstrap_median_difference(std::span<const double> a, std::span<const double> b, double level, uint64_t seed) {
  check(std::min(a.size(), b.size()), 3, level);
  std::mt19937_64 random(seed);
  Resampler first(a), second(b);
  std::vector<double> differences(kResamples);
  for (double& d : differences) {
    const double from = first.median(random);
    d = second.median(random) - from;
  }
  return percentiles(differences, level);
}

Range sign_interval(std::span<const double> samples, double side) {
  check(samples.size(), 1, side);
  std::vector<double> sorted(samples.begin(), samples.end());
  std::sort(sorted.begin(), sorted.end());
  // The k-th smallest lies above the median with probability P(Binomial <= k - 1): the largest k that keeps `side`.
  size_t k = 0;
  for (double tail = 0; k < sorted.size(); ++k) {
    tail += binomial_half(sorted.size(), k);
    if (tail > side) break;
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (k == 0) return {-kInfinity, kInfinity};
  return {sorted[k - 1], sorted[sorted.size() - k]};
}

double sign_test(std::span<const double> samples, double threshold) {
  check(samples.size(), 1, 0.5);
  const auto above =
      static_cast<size_t>(std::count_if(samples.begin(), samples.end(), [&](double x) { return x > threshold; }));
  double tail = 0;
  for (size_t k = above; k <= samples.size(); ++k) tail += binomial_half(samples.size(), k);
  return std::min(tail, 1.0);
}

}  // namespace kpt

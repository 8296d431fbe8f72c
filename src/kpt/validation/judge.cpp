// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kpt/base/stats.h"
#include "kpt/validation/validation.h"

namespace kpt {

namespace {

// The additive term of the conservative rule: DESIGN's 1e-6 is 2^3.07 units in the last place of f32 (eps 2^-23); other
// dtypes take the same multiple of their own eps, so the rule asks the same of each.
double slack(DType dtype) {
  constexpr double kUnits = 1e-6 / 1.1920928955078125e-07;
  switch (dtype) {
    case DType::f64: return kUnits * 2.220446049250313e-16;
    case DType::f32: return 1e-6;
    case DType::f16: return kUnits * 9.765625e-04;
    case DType::bf16: return kUnits * 7.8125e-03;
    default: return 0;  // integers and bool: exact
  }
}

Judgement against(double value, double bound, const std::string& how) {
  Judgement j;
  j.bound = bound;
  j.ok = value <= bound;  // false for NaN and for infinity
  j.reason = cat("error ", value, j.ok ? " <= " : " > ", "bound ", bound, " (", how, ")");
  return j;
}

}  // namespace

Judgement judge(const std::string& level, DType dtype, const Distance& fresh, const Distance& original,
                const Distance* original_in_bf16) {
  if (!is_float(dtype)) {
    // Integer outputs (argmax) may differ where the original itself differs from the reference.
    return against(fresh.rel_rmse, 2 * original.rel_rmse,
                   cat("share of unequal elements; 2 x the original's ", original.rel_rmse));
  }
  if (level == "aggressive") {
    Judgement j = against(fresh.rel_rmse, 0.05, "aggressive: 0.05 and cosine >= 0.999");
    if (j.ok && !(fresh.cosine >= 0.999)) {
      j.ok = false;
      j.reason = cat("cosine ", fresh.cosine, " < 0.999 (aggressive)");
    }
    return j;
  }
  if (level == "balanced" && original_in_bf16)
    return against(fresh.rel_rmse, 1.5 * original_in_bf16->rel_rmse,
                   cat("1.5 x ", original_in_bf16->rel_rmse, " of the original in bf16"));
  KPT_CHECK(level == "conservative" || level == "balanced", "validation.judge", "got level ", level,
            ", want conservative, balanced or aggressive");
  return against(fresh.rel_rmse, 2 * original.rel_rmse + slack(dtype),
                 cat("2 x ", original.rel_rmse, " + ", slack(dtype)));
}

Interval bootstrap(const std::vector<double>& log_ratios, uint64_t seed) {
  KPT_CHECK(log_ratios.size() >= 3, "validation.bootstrap", "got ", log_ratios.size(), " rounds, want at least 3");
  const Range r = bootstrap_median(log_ratios, 0.95, seed);
  return {std::exp(median(log_ratios)), std::exp(r.low), std::exp(r.high)};
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "kpt/validation/validation.h"

namespace kpt {

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Sums {
  double error2 = 0, reference2 = 0, x2 = 0, dot = 0, max_abs = 0;
  int64_t nonfinite = 0, unequal = 0;

  void add(double x, double ref) {
    const bool same = x == ref || (std::isnan(x) && std::isnan(ref));
    unequal += !same;
    if (!std::isfinite(x) || !std::isfinite(ref)) {
      nonfinite += !same;
      return;
    }
    const double d = x - ref;
    error2 += d * d;
    reference2 += ref * ref;
    x2 += x * x;
    dot += x * ref;
    max_abs = std::max(max_abs, std::abs(d));
  }
};

}  // namespace

Distance distance(const Tensor& x, const Tensor& reference) {
  KPT_CHECK(x.desc.sizes == reference.desc.sizes, "validation.distance", "got sizes ", x.desc.sizes,
            ", want those of the reference ", reference.desc.sizes);
  Distance out;
  out.elements = x.desc.numel();
  if (out.elements == 0) return out;
  Sums sums;
  const Tensor a = x.desc.is_contiguous() ? x : x.clone();
  const Tensor b = reference.desc.is_contiguous() ? reference : reference.clone();
  const auto* pa = static_cast<const char*>(a.data);
  const auto* pb = static_cast<const char*>(b.data);
  const size_t sa = size_of(a.desc.dtype), sb = size_of(b.desc.dtype);
  for (int64_t i = 0; i < out.elements; ++i)
    sums.add(load_as_double(a.desc.dtype, pa + static_cast<size_t>(i) * sa),
             load_as_double(b.desc.dtype, pb + static_cast<size_t>(i) * sb));
  out.nonfinite = sums.nonfinite;
  out.max_abs = sums.nonfinite ? kInf : sums.max_abs;
  if (!is_float(a.desc.dtype)) {
    out.rel_rmse = static_cast<double>(sums.unequal) / static_cast<double>(out.elements);
    out.cosine = sums.unequal ? 0 : 1;
    return out;
  }
  const bool lost = sums.nonfinite > 0;
  out.rel_rmse = lost ? kInf : sums.reference2 > 0 ? std::sqrt(sums.error2 / sums.reference2) : sums.x2 > 0 ? kInf : 0;
  const double norms = std::sqrt(sums.x2) * std::sqrt(sums.reference2);
  out.cosine = lost ? 0 : norms > 0 ? std::clamp(sums.dot / norms, -1.0, 1.0) : sums.x2 == sums.reference2 ? 1 : 0;
  return out;
}

}  // namespace kpt

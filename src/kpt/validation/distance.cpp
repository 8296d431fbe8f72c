// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "kpt/kernels/lib/cuda/distance.h"
#include "kpt/validation/validation.h"

namespace kpt {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

void check_sizes(const Tensor& x, const Tensor& reference) {
  KPT_CHECK(x.desc.sizes == reference.desc.sizes, "validation.distance", "got sizes ", x.desc.sizes,
            ", want those of the reference ", reference.desc.sizes);
}

Distance distance_of(const DistanceSums& sums, const TensorDesc& x) {
  Distance out;
  out.elements = x.numel();
  if (out.elements == 0) return out;
  out.nonfinite = sums.nonfinite;
  out.max_abs = sums.nonfinite ? kInf : sums.max_abs;
  if (!is_float(x.dtype)) {
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

}  // namespace

Distance distance(const Tensor& x, const Tensor& reference) {
  check_sizes(x, reference);
  DistanceSums sums;
  const Tensor a = x.desc.is_contiguous() ? x : x.clone();
  const Tensor b = reference.desc.is_contiguous() ? reference : reference.clone();
  const auto* pa = static_cast<const char*>(a.data);
  const auto* pb = static_cast<const char*>(b.data);
  const size_t sa = size_of(a.desc.dtype), sb = size_of(b.desc.dtype);
  for (int64_t i = 0; i < x.desc.numel(); ++i)
    sums.add(load_as_double(a.desc.dtype, pa + static_cast<size_t>(i) * sa),
             load_as_double(b.desc.dtype, pb + static_cast<size_t>(i) * sb));
  return distance_of(sums, a.desc);
}

Distance cuda_distance(const Tensor& x, const Tensor& reference, int device, void* stream) {
  check_sizes(x, reference);
  return distance_of(cuda_distance_sums(x, reference, device, stream), x.desc);
}

}  // namespace kpt

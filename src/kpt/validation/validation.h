// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "kpt/base/error.h"
#include "kpt/kernels/lib/cuda/checksum.h"
#include "kpt/tensor/tensor.h"

namespace kpt {

// Distance of x from the reference: RMSE(x, ref) / RMS(ref) and cosine, in f64 over all elements of any dtypes.
// Elements where both are NaN, or both the same infinity, agree; where only one is, rel_rmse is infinite and
// `nonfinite` counts them. RMS(ref) = 0: rel_rmse is 0 if x is all zero too, else infinite. Integer and bool tensors
// are compared exactly: `rel_rmse` is the share of unequal elements.
struct Distance {
  double rel_rmse = 0;
  double cosine = 1;
  double max_abs = 0;
  int64_t nonfinite = 0;
  int64_t elements = 0;
};
KPT_API Distance distance(const Tensor& x, const Tensor& reference);
// Of contiguous tensors on that GPU; waits for the stream.
KPT_API Distance cuda_distance(const Tensor& x, const Tensor& reference, int device, void* stream);

// Of a tensor's values in the order of its indices, whatever its strides; on a GPU cuda_checksum gives the same.
KPT_API Checksum checksum(const Tensor& x, int threads);

// The rule of the level (docs/decisions): conservative e(new) <= 2 e(original) + 1e-6 (the constant scaled to the
// dtype: 1e-6 for f32, 1e-2 * 2^-8 .. see judge.cpp); balanced e(new) <= 1.5 e(original in bf16); aggressive e(new) <=
// 0.05 and cosine >= 0.999.
struct Judgement {
  bool ok = false;
  double bound = 0;
  std::string reason;  // "error 3.1e-07 <= bound 7.0e-07 (2 x 3.0e-07 + 1e-06)"
};
KPT_API Judgement judge(const std::string& level, DType dtype, const Distance& fresh, const Distance& original,
                        const Distance* original_in_bf16);

// Bootstrap over rounds: median of exp(log ratio) and its 95 % percentile interval; 2,000 resamples, fixed seed.
// Ratio = time of the original / time of the new model: above 1 is a gain. Wants >= 3 rounds, else Error{bad_input}.
struct Interval {
  double median = 1, low = 1, high = 1;
};
KPT_API Interval bootstrap(const std::vector<double>& log_ratios, uint64_t seed = 1);

}  // namespace kpt

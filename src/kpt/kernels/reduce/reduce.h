// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.sum.dim_IntList, aten.mean.dim, aten.amax, aten.amin, aten.var.correction(correction=..), aten.any.dim,
// aten.all.dim, aten.argmax: over the dimensions `dim` (a number or a list; none or empty: all), any strides of x,
// dense output. f32, bf16 and f16 sums are taken in f32, in vectors: along a dense run of reduced elements, or for a
// dense run of kept ones side by side; everything else by plain loops in f64 or i64. amax, amin and argmax let NaN win,
// as PyTorch. The first of equal largest elements is argmax. Refused over no elements: amax, amin, argmax.

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.cumsum(%x, dim=.., dtype=..): running sums along one dimension. Any dtype in, any out; any strides. Sums in f64
// (floats) or i64 (integers, bool), rounded at the output. In place where dtypes and strides are equal.

}  // namespace kpt

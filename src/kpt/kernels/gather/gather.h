// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.gather(%x, %index, dim=..): y[.., i, ..] = x[.., index[.., i, ..], ..] along dim. Any dtype and strides; index
// i64 of x's rank, no larger than x outside dim. A number outside [0, size) is Error{bad_input} (on a GPU, which
// cannot throw, an element of ones: NaN or -1); memory is never read beyond x.

}  // namespace kpt

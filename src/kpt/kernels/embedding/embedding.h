// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.embedding(%weight, %indices) and aten.index_select(%x, %index, dim=..): slices of one dimension, picked by
// number. weight: [rows, ..], any dtype and strides; indices: i64 or i32, any sizes (index_select: 1-D), any strides;
// output dense. A number outside [0, rows) is Error{bad_input}, as PyTorch's IndexError (negative numbers count as
// outside): memory is never read beyond x. A GPU cannot throw: there the slice is filled with bytes of ones instead,
// NaN in every float type and -1 in integers.

}  // namespace kpt

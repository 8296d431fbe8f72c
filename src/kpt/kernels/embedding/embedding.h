// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.embedding(%weight, %indices) and aten.index_select(%x, %index, dim=..): slices of one dimension, picked by
// number. weight: [rows, ..], any dtype and strides; indices: i64 or i32, any sizes (index_select: 1-D), any strides;
// output dense. A number outside [0, rows) is Error{bad_input}, as PyTorch's IndexError (negative numbers count as
// outside): memory is never read beyond x.

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.softmax.int(%x, dim=.., dtype=..), aten.log_softmax.int(likewise), aten._softmax and aten._log_softmax(%x,
// dim=.., half_to_float=..): along one dimension of any strides. x: f32, bf16, f16; y: the same, or f32. Statistics in
// f32, the largest element subtracted first. A row with NaN or +inf, or of -inf alone, gives NaN, as in PyTorch. In
// place: y may be x's buffer where sizes, strides and dtype are equal.

}  // namespace kpt

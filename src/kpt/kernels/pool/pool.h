// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.max_pool2d(%x, kernel_size=, stride=, padding=, dilation=, ceil_mode=), aten.avg_pool2d(.., count_include_pad=,
// divisor_override=), aten.adaptive_avg_pool2d(%x, output_size=). x: [N, C, H, W] or [C, H, W], any strides; output
// dense, its sizes as PyTorch computes them; the same as kpt.max_pool2d and so on with layout="nhwc": [N, oh, ow, C].
// One dtype (f32, bf16, f16; the reference takes any float). Sums in f32. A NaN in a window is its maximum.

}  // namespace kpt

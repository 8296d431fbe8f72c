// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.batch_norm(%x, %w?, %b?, %mean, %var, training=false, momentum=.., eps=..), inference only:
// (x - mean) / sqrt(var + eps) * w + b for each channel. x: [N, C, ..] any strides, any float dtype; the others [C].
// A program of kpt.pointwise; where the inner dimensions are long, the scale is computed once for each row of them.

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.layer_norm(%x, %w?, %b?, normalized_shape=[..], eps=..), aten.rms_norm(%x, %w?, normalized_shape=[..],
// eps=..|none) and kpt.add_norm(%x, %residual, %w?, %b?, kind="layer"|"rms", eps=..): y = (v - mean) / sqrt(var + eps)
// * w + b over the trailing dimensions, v = x (+ residual); rms: no mean, var = mean of v^2. A second output of
// add_norm is v. x, residual, y, v: one dtype (f32, bf16, f16), the normalised dimensions dense, leading ones any
// strides. w, b: dense, that dtype or f32. Statistics in f32 from all of the row, two-pass (the one-pass form loses
// digits as mean/std grows). rms_norm without eps: 2^-23 (f64: 2^-52), as PyTorch. In place: y and v may be the buffers
// of x and residual.

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// kpt.rotary(%x, %cos, %sin): y = x * cos + rotate_half(x) * sin, rotate_half(x) = cat(-x[d/2:], x[:d/2]) over the last
// axis (Su et al., "RoFormer", 2021, in the half-split order of GPT-NeoX and Llama). x: [.., d], d even, f32, bf16 or
// f16, any strides. cos, sin: [.., d], broadcast to the leading axes of x, any strides, both of one dtype: that of x or
// f32. y: sizes and dtype of x. Arithmetic in f32, one rounding at the end. In place: y may be the buffer of x with the
// strides of x. The reference takes any float dtypes.

}  // namespace kpt

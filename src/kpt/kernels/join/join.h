// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// Tensors put together from copies (../lib/copy): aten.cat([..], dim=..), aten.constant_pad_nd(%x, pad=[..], value=..),
// aten.repeat(%x, repeats=[..]), aten.slice_scatter(%x, %src, dim=.., start=.., end=.., step=..),
// aten.select_scatter(%x, %src, dim=.., index=..). One dtype for all tensors, any of them; any strides. Not in place.
// Negative padding crops, as in PyTorch. cat takes and skips the 1-D empty tensors that PyTorch allows.

}  // namespace kpt

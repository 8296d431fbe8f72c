// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// Tensors made from nothing: aten.full(size=.., fill_value=..), aten.arange.start_step(start=.., end=.., step=..),
// kpt.constant(value=[..] or a number). The output's desc gives dtype, sizes and strides (dense). arange computes start
// + i * step in i64 for integers, else in f64, rounded once.

}  // namespace kpt

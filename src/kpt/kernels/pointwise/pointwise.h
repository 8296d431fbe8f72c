// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// kpt.pointwise([..], program="..") and every single pointwise ATen operator of docs/operators.md: out = f(inputs), the
// inputs broadcast to the output's sizes, any strides, any dtypes of dtype.h (f16 and bf16 computed in f32).
// Casts to the output's dtype where the program's differs. Refuses integer division by anything but a number.
// In place: an output may be the very buffer of an input of the same sizes, strides and dtype.
// Method: the program is compiled once to loops over chunks that stay in the L1 cache (lib/program: program.h, micro.h,
// loop.h), after the vectorised interpreters of column stores (Boncz et al., "MonetDB/X100", CIDR 2005).

}  // namespace kpt

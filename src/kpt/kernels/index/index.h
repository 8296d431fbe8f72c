// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.index.Tensor(%x, [%i | none, ..]): x[i, j, ..] with integer tensors (i64 or i32) that broadcast together; none
// keeps a dimension. The broadcast dimensions stand where the indexed ones stood if those are neighbours, else in front
// (as PyTorch and NumPy). Masks (bool, u8) are refused: their output's size depends on data. Any dtype and strides.
// Numbers in [-size, size), negative ones from the end; others are Error{bad_input}, on a GPU NaN or -1
// (../embedding/embedding.h).

}  // namespace kpt

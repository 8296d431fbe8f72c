// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// kpt.write_(%state, %index, %source, dim=d): y = state with y[.., index[j], ..] = source[.., j, ..], as index_copy.
// state, y: dense, any dtype; index: i64 or i32, [n], any stride; source: sizes of state but n along d, same dtype, any
// strides. In place: y may be the buffer of state, and is where the planner places them: then the slices alone are
// written, which is what the operator is for. Of a number that stands twice in index the last one counts on the CPU,
// any on a GPU. A number outside [0, size of d) is Error{bad_input}, and nothing is written; a GPU cannot throw: there
// the nearest place is filled with bytes of ones, NaN in every float type and -1 in integers.

}  // namespace kpt

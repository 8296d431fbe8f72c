// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// kpt.row([..], program="..): as kpt.pointwise, row by row, with row_sum, row_mean, row_max and row_min over the last
// axis of the broadcast inputs. Outputs have the rows of the broadcast inputs; their last size is that of a row, or 1
// for a value that is one element a row. Rows have one element or more. A row's values stay in registers of the whole
// row, so rows up to the L2 cache's size are fast. In place as kpt.pointwise.

}  // namespace kpt

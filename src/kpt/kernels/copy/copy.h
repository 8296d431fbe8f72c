// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// kpt.copy(%x): the same elements in the output's strides. Any dtype (the same on both sides), any strides of x (0:
// broadcast), any strides of the output that do not overlap. Not in place. aten.permute, aten.expand and aten.reshape
// of a planner that cannot express them as views come here. Runs of contiguous rows go by memcpy; where x is contiguous
// along another dimension than the output, both are walked in square tiles, so that every cache line read is used up
// while it is in the L1 cache.

}  // namespace kpt

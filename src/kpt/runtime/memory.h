// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "kpt/runtime/plan.h"

namespace kpt {

// Every arena block starts on a cache line.
constexpr int64_t kAlignment = 64;

// A recording copies its outputs out, which at 3 TB/s costs 10 us for this many bytes. A larger output is written where
// it belongs, and the recording holds for calls that get the same memory for it: PyTorch's allocator gives back the
// one or two blocks that a loop uses in turn.
constexpr int64_t kCopiedOutput = 8 << 20;

// Lets buffers whose lifetimes do not meet share a slot: largest first at the hints, each into the first slot that is
// free over its life (greedy by size for shared objects, Pisarchyk and Lee 2020, arXiv:2001.03288). Sets
// Early buffers and others share none. Sets BufferInfo::slot and returns the slots' sizes: the max of the members'
// formulas, so the plan holds for all sizes.
std::vector<Sym> assign_slots(std::vector<BufferInfo>& buffers, const SymEnv& hints);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "kpt/runtime/plan.h"

namespace kpt {

// Every arena block starts on a cache line; workspaces, and what a recording keeps, as an allocation of a GPU would.
constexpr int64_t kAlignment = 64, kWorkspaceAlignment = 256;

// The next multiple of `to`, a power of two.
constexpr int64_t round_up(int64_t bytes, int64_t to) { return (bytes + to - 1) & -to; }

// A recording copies its outputs out, which at 3 TB/s costs 10 us for this many bytes. A larger output is written where
// it belongs, and the recording holds for calls that get the same memory for it: PyTorch's allocator gives back the
// one or two blocks that a loop uses in turn.
constexpr int64_t kCopiedOutput = 8 << 20;

// Lets buffers whose lifetimes do not meet share a slot: largest first at the hints, each into the first slot that is
// free over its life (greedy by size for shared objects, Pisarchyk and Lee 2020, arXiv:2001.03288). Early buffers share
// none with others. Sets BufferInfo::slot and returns the slots' sizes: the max of the members' formulas, so the plan
// holds for all sizes.
std::vector<Sym> assign_slots(std::vector<BufferInfo>& buffers, const SymEnv& hints);

// Where slots lie at concrete sizes: those of early buffers in a scratch of `room` bytes, one behind the other while
// they fit, all others in the arena.
struct SlotPlaces {
  std::vector<int64_t> offset;  // of each slot, in the scratch or the arena
  std::vector<char> scratch;    // whether it is the scratch
  int64_t scratch_bytes = 0, arena_bytes = 0;
};
SlotPlaces place_slots(const std::vector<BufferInfo>& buffers, size_t slots, const SymEnv& sizes, int64_t room);

}  // namespace kpt

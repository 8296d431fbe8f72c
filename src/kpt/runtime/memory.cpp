// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/memory.h"

#include <algorithm>

namespace kpt {

std::vector<Sym> assign_slots(std::vector<BufferInfo>& buffers, const SymEnv& hints) {
  std::vector<std::pair<int64_t, size_t>> order;  // (bytes at the hints, buffer), largest first, then oldest
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].kind == BufferKind::arena) order.emplace_back(-buffers[i].bytes.eval(hints), i);
  std::sort(order.begin(), order.end());

  std::vector<std::vector<size_t>> members;
  std::vector<Sym> sizes;
  for (const auto& [bytes, i] : order) {
    BufferInfo& b = buffers[i];
    auto meets = [&](size_t other) {
      const BufferInfo& o = buffers[other];
      return o.early != b.early || (o.first <= b.last && b.first <= o.last);
    };
    size_t slot = 0;
    while (slot < members.size() && std::any_of(members[slot].begin(), members[slot].end(), meets)) ++slot;
    if (slot == members.size()) {
      members.emplace_back();
      sizes.push_back(b.bytes);
    }
    members[slot].push_back(i);
    sizes[slot] = max(sizes[slot], b.bytes);
    b.slot = static_cast<int>(slot);
  }
  return sizes;
}

SlotPlaces place_slots(const std::vector<BufferInfo>& buffers, size_t slots, const SymEnv& sizes, int64_t room) {
  std::vector<int64_t> bytes(slots, 0);
  SlotPlaces out;
  out.scratch.assign(slots, false);
  for (const BufferInfo& b : buffers) {
    if (b.kind != BufferKind::arena) continue;
    const auto slot = static_cast<size_t>(b.slot);
    bytes[slot] = std::max(bytes[slot], b.bytes.eval(sizes));
    out.scratch[slot] = b.early;  // of all its buffers or of none
  }
  for (size_t slot = 0; slot < slots; ++slot) {
    const int64_t rounded = round_up(bytes[slot], kAlignment);
    out.scratch[slot] = out.scratch[slot] && out.scratch_bytes + rounded <= room;
    int64_t& end = out.scratch[slot] ? out.scratch_bytes : out.arena_bytes;
    out.offset.push_back(end);
    end += rounded;
  }
  return out;
}

}  // namespace kpt

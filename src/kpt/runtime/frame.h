// SPDX-License-Identifier: Apache-2.0
#pragma once
// What an executor keeps from call to call; of the executor's own files alone.
#include <list>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "kpt/runtime/executor.h"

namespace kpt {

inline int64_t bytes_of(const TensorDesc& desc) { return static_cast<int64_t>(desc.bytes()); }

// The state of one run.
struct Executor::Frame {
  // One shape's calls kept by the device. It holds the arena's addresses and those of the weights.
  struct Recorded {
    std::shared_ptr<const Instance> instance;
    std::shared_ptr<const Weights> weights;
    std::vector<void*> bound;  // where it writes each output; null: to its places, and a copy goes to the caller
    Memory places;             // of inputs and outputs, and workspaces of single steps
    int64_t places_bytes = 0;
    std::unique_ptr<Recording> recording;
  };
  Stream stream = nullptr;
  Memory arena;
  int64_t arena_bytes = 0;
  std::list<Recorded> recordings;  // most recent first
  // Refused by the device: run step by step. Not kept alive: sizes that the cache has let go come as new instances.
  std::set<std::weak_ptr<const Instance>, std::owner_less<>> unrecorded;
  // Addresses of large outputs of late calls, most recent first: those that come again are worth a recording.
  std::list<std::pair<std::shared_ptr<const Instance>, std::vector<void*>>> seen;
  std::vector<char*> buffers;
  std::vector<int64_t> symbols;
  // Of the call in hand; their memory is kept for the next.
  std::vector<const void*> from;             // each input
  std::vector<void*> bound, to;              // each output's place in a recording or null; where the others are copied
  std::shared_ptr<const Instance> instance;  // of the last run
  std::vector<int64_t> instance_symbols;
};

// Weights as last seen: pointers, versions, and what the prologue made of them. Immutable once published.
struct Executor::Weights {
  std::vector<uint64_t> versions;
  std::vector<Tensor> tensors;              // graph order; contiguous
  std::vector<Memory> derived;              // by buffer index of persistent buffers
  std::map<int, size_t> derived_of_buffer;  // plan buffer -> index in derived
  std::set<int> in_place;                   // of those the ones that are the weights' own memory
};

}  // namespace kpt

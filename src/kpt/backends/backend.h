// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/ir/graph.h"
#include "kpt/kernels/kernel.h"

namespace kpt {

// A kernel considered for a node, in order of preference, with its answer at the sample's sizes.
struct Candidate {
  std::shared_ptr<const Kernel> kernel;
  Verdict verdict;
};

// What a backend needs to choose kernels for one node.
struct SelectOptions {
  std::set<std::string> providers;  // empty: all
  std::set<std::string> ban;        // "<kernel name>@<value>"
  bool allow_fallback = true;
};

// Bytes on a device; freed with the last owner.
using Memory = std::shared_ptr<void>;

// Work that a device keeps and repeats as a whole (a CUDA graph). Not thread-safe: one caller at a time, in the order
// of one stream.
class KPT_API Recording {
 public:
  virtual ~Recording() = default;
  // This call's inputs and outputs, in record()'s order: they are copied to and from the places the work was recorded
  // with, inside the recording.
  virtual void replay(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, void* stream) = 0;
};

// Where recorded work reads an input or leaves an output, and how many bytes.
struct RecordedPlace {
  void* place;
  int64_t bytes;
};

// Pieces 0 to own.size() - 1 in order. own[i]: temporary memory that no other piece touches (no bytes: none), which
// lets the device write a piece's first zeroes there before all pieces, and all at once.
struct RecordedWork {
  std::vector<RecordedPlace> own;
  std::function<void(size_t piece, void* stream)> run;
};

// What a device says of its memory now: other processes count.
struct DeviceMemory {
  int64_t free_bytes = 0, total_bytes = 0;
};

// One device in hand: its memory, its order of execution. Thread-safe. `stream`: a CUstream, null for the default
// stream and on the CPU. Everything is queued on the stream; only wait() waits.
class KPT_API Device {
 public:
  virtual ~Device() = default;
  virtual GpuTraits traits() const { return {}; }
  // While the result lives, the device is current in this thread (launches are made for it). May be null.
  virtual std::shared_ptr<void> enter() const { return nullptr; }
  // At least 64-byte aligned, uninitialised. Throws Error{resource} with what was asked for and what is free.
  virtual Memory allocate(int64_t bytes, void* stream) const = 0;
  virtual void copy(void* to, const void* from, int64_t bytes, void* stream) const = 0;
  virtual void wait(void* stream) const = 0;
  virtual std::optional<DeviceMemory> memory() const { return std::nullopt; }  // none: it does not say
  virtual std::string label() const { return "cpu"; }                          // for messages: "cuda:1"
  // Runs the work, piece by piece, on a stream of its own that keeps instead of executing. Null where the device cannot
  // (the CPU).
  virtual std::unique_ptr<Recording> record(const std::vector<RecordedPlace>& /*inputs*/,
                                            const std::vector<RecordedPlace>& /*outputs*/,
                                            const RecordedWork& /*work*/) const {
    return nullptr;
  }
  virtual bool records() const { return false; }
};

// One kind of device. A leaf folder backends/<name>/ defines `void register_<name>(BackendRegistry&)`. Stateless and
// thread-safe: all state of a run is in the runtime's Frame.
class KPT_API Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view device() const = 0;
  // Is the device there? The reason shows in the report under "not checked".
  virtual Verdict available() const = 0;
  // Kernels for the node, best first, each with its verdict for `sample` (the problem at the symbols' hints).
  virtual std::vector<Candidate> candidates(const Node& node, const Problem& sample,
                                            const SelectOptions& options) const = 0;
  // False: steps are planned and counted but not run, outputs stay undefined (null device: tests of planning anywhere).
  virtual bool executes() const { return true; }
  // The index-th device of this kind. Throws Error{device, no_driver, library, capability} where it is not usable.
  virtual std::shared_ptr<const Device> open(int index) const;
};

// The kernels of the registry for a device, best first, with their verdicts: what every backend that runs kernels does.
std::vector<Candidate> registry_candidates(std::string_view device, const Node& node, const Problem& sample,
                                           const SelectOptions& options);

class KPT_API BackendRegistry {
 public:
  void add(std::unique_ptr<Backend> backend);          // throws on a double device
  const Backend* find(std::string_view device) const;  // null if unknown
  std::vector<const Backend*> all() const;

 private:
  std::vector<std::unique_ptr<Backend>> backends_;
};

KPT_API const BackendRegistry& backend_registry();

}  // namespace kpt

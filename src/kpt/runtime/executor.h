// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kpt/runtime/instance.h"
#include "kpt/runtime/shortage.h"
#include "kpt/tensor/tensor.h"
#include "kpt/tensor/weight_source.h"

namespace kpt {

using OutputAllocator = std::function<Tensor(int index, const TensorDesc&)>;

// Exact counts since the executor was made. Relaxed atomics: they order nothing.
struct ExecutorCounters {
  std::atomic<int64_t> calls{0}, shapes_planned{0}, prologue_runs{0}, arena_allocations{0}, frames{0}, input_copies{0},
      recordings{0}, recordings_refused{0}, replays{0};
};

// A call's place in time: null is the default stream, and the CPU's only one.
using Stream = void*;

// Runs a plan. Thread-safe: each concurrent call takes a Frame (arena and pointers) of its own from a free list, so
// memory is bounded by the largest number of callers at one time. Sizes seen before are found in a cache of kShapeCache
// sets (least recently used out). On a GPU a frame belongs to one stream, so that nothing runs in its arena out of
// order; a shape seen before is recorded and replayed as a whole where every kernel of it can be.
// Short memory: what is idle in this process is freed and the call goes on; else Error{resource}, and later calls work.
// A fault of the device (Error{fault}) names the steps that were queued; with the setting `sync` the very step.
class Executor final : public Holder {
 public:
  // The plan must outlive nothing: it is held here. Runs the prologue once.
  Executor(Plan plan, std::shared_ptr<WeightSource> weights);
  ~Executor() override;

  std::vector<Tensor> run(const std::vector<Tensor>& inputs, const OutputAllocator& allocate,
                          StepObserver* observer = nullptr, Stream stream = nullptr);
  // As run; then clones of the named values.
  std::vector<Tensor> probe(const std::vector<Tensor>& inputs, const std::vector<std::string>& keep,
                            Stream stream = nullptr);

  // Drops the frames that no call uses now, with their arenas and recordings. The bytes they held.
  int64_t trim() override;

  const Plan& plan() const { return plan_; }
  const ExecutorCounters& counters() const { return counters_; }
  std::shared_ptr<const Instance> instance(const SymEnv& env);  // from the cache, or made as make_ready does
  std::shared_ptr<const Instance> instance_for(const std::vector<Tensor>& inputs);  // at the sizes of these inputs
  std::shared_ptr<const Instance> prologue() const { return prologue_; }            // null where there is none
  // Plans the sizes of these inputs with everything timed that may be: what calls at these and at near sizes then
  // use. Runs nothing; may take seconds. A size that is met first in a call is planned in about a millisecond, with
  // what was chosen for the nearest one.
  void make_ready(const std::vector<Tensor>& inputs);
  // What a call with these inputs takes beside the weights: arena, workspace and outputs. Runs nothing.
  int64_t call_bytes(const std::vector<Tensor>& inputs);
  int64_t derived_bytes() const;  // memory held by results of the prologue
  // Weights, by their place in the source, that a plan reads one behind the other along their first axis. Where they
  // lie so in memory, the prologue makes no copy.
  std::vector<std::vector<size_t>> joined_weights() const;
  void take_weights() { fresh_weights(); }  // looks at them now instead of at the next call

 private:
  struct Frame;
  struct Weights;
  struct Binding;
  std::unique_ptr<Frame> take_frame(Stream stream);
  void give_frame(std::unique_ptr<Frame> frame);
  void match_weights();
  std::shared_ptr<const Weights> fresh_weights();
  std::shared_ptr<const Weights> load_weights(const Weights* old);
  void run_prologue(Weights& weights);
  std::vector<size_t> joined(const PlanStep& step) const;  // of the plan's weights; empty where it does more
  void grow_arena(Frame& frame, int64_t bytes);
  void place_buffers(Frame& frame, const Weights& weights, const std::vector<const void*>& inputs,
                     const std::vector<void*>& outputs) const;
  Workspaces workspaces(const Frame& frame, const std::vector<void*>& outputs) const;
  bool replay(Frame& frame, const std::shared_ptr<const Weights>& weights, const std::vector<Tensor>& inputs,
              const std::vector<Tensor>& outputs);
  bool record(Frame& frame, const std::shared_ptr<const Weights>& weights, const std::vector<Tensor>& inputs,
              const std::vector<Tensor>& outputs, const std::vector<void*>& bound);
  bool repeats(Frame& frame, const std::vector<void*>& bound) const;
  [[noreturn]] void queued_fault(const Error& error, const char* where) const;
  Tensor allocate(const TensorDesc& desc, Stream stream) const;
  Tensor checked_weight(size_t value_index) const;
  void bind_symbols(const std::vector<Tensor>& inputs, std::vector<int64_t>& symbols) const;
  [[noreturn]] void bad_input(size_t index, const Tensor& got, const std::string& what) const;
  std::shared_ptr<const Instance> instance(const std::vector<int64_t>& symbols, Effort effort);
  using Finish = std::function<void(const Instance&, const std::vector<char*>&)>;
  std::vector<Tensor> execute(const std::vector<Tensor>& inputs, const OutputAllocator& allocate,
                              StepObserver* observer, const Finish& finish, Stream stream);
  std::vector<Tensor> attempt(const std::vector<Tensor>& inputs, const OutputAllocator& allocate,
                              StepObserver* observer, const Finish& finish, Stream stream);

  Plan plan_;
  std::shared_ptr<WeightSource> source_;
  std::vector<size_t> source_index_;  // graph weight -> index in the source
  std::vector<bool> feeds_prologue_;
  std::shared_ptr<const Instance> prologue_;
  std::vector<std::vector<int>> size_symbol_;  // [input][axis]: index of the symbol this size is, or -1

  mutable std::mutex weights_mutex_;
  std::shared_ptr<const Weights> weights_;
  std::optional<uint64_t> weights_generation_;  // of the source, when the versions were last compared

  std::mutex frames_mutex_;
  std::vector<std::unique_ptr<Frame>> free_frames_;

  std::mutex shapes_mutex_;
  std::list<std::pair<std::vector<int64_t>, std::shared_ptr<const Instance>>> shapes_;  // most recent first
  ExecutorCounters counters_;
};

}  // namespace kpt

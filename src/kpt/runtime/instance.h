// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "kpt/runtime/plan.h"

namespace kpt {

// Where a step finds an operand at run time: a buffer's pointer plus a byte offset.
struct BoundPlace {
  int buffer;
  int64_t offset;
};

struct BoundStep {
  const PlanStep* step = nullptr;
  std::shared_ptr<const Kernel> kernel;
  std::shared_ptr<const Launch> launch;  // steps that are the same problem share one
  std::vector<BoundPlace> inputs, outputs;
};

// The memory of an output that steps before the one that writes it use for themselves (Plan::scratch_output).
struct Scratch {
  std::vector<char> holds;  // for each buffer: its arena_offset is one in the scratch
  int64_t workspace = -1;   // where the workspace of these steps begins; -1: it is the arena's
  int64_t used = 0;         // bytes, slots and workspace
  int64_t room = 0;         // bytes of the output; 0 where it is too small to be written in place by a recording
};

// The workspaces of an instance's steps.
struct Workspaces {
  void* arena = nullptr;    // instance.workspace_bytes long
  void* scratch = nullptr;  // of steps before `until`, where not null
  size_t until = 0;
  void* of(size_t step) const { return scratch && step < until ? scratch : arena; }
};

// A plan at concrete sizes: kernels chosen and made ready, offsets known. Immutable; shared between frames. Making one
// is arithmetic and a few small allocations: no compile.
struct Instance {
  SymEnv env;
  Effort effort = Effort::known;  // how its kernels were chosen
  std::vector<BoundStep> steps;
  std::vector<int64_t> arena_offset;  // for each buffer, -1 where it is neither in the arena nor in the scratch
  int64_t arena_bytes = 0;            // slots only
  int64_t workspace_bytes = 0;        // the largest any step asks for; lies behind the slots
  Scratch scratch;
  bool recordable = true;            // every launch may be kept in a CUDA graph
  mutable std::atomic<int> runs{0};  // calls that could have been recorded
  std::vector<TensorDesc> outputs;   // of the model (not of the prologue)
};

// Asks the backend anew at these sizes and takes the first kernel that says yes; the device must be current. Kernels
// are made ready on several threads, one for each problem. Throws Error{unsupported} with every kernel's reason where
// none does.
std::shared_ptr<const Instance> make_instance(const Plan& plan, const std::vector<PlanStep>& steps, const SymEnv& env,
                                              Effort effort);

// Runs the steps in order. `buffers[i]` is the start of buffer i.
// The observer (may be null) is told of each step: values are probed and times taken so. A kernel's exception becomes
// an Error that names the node's text, the shapes, the kernel and the user's Python stack.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void before(const BoundStep&) {}
  virtual void after(const BoundStep& step, const std::vector<char*>& buffers) = 0;
};
// A fault of the device (Error{fault}) is seen by whoever asks next: without an observer that waits, the message names
// the steps that it may be of.
// With a device, a step that runs short of memory of its own (PyTorch's allocate as they go) is run once more after
// what is idle was freed.
void run_steps(const Instance& instance, const std::vector<char*>& buffers, const Workspaces& workspaces, void* stream,
               StepObserver* observer, const Device* device = nullptr);
// One of them, without an observer; `workspace` is as large as its launch asks for.
void run_step(const Instance& instance, size_t step, const std::vector<char*>& buffers, void* workspace, void* stream);
// Throws what run_steps throws for a step that failed.
[[noreturn]] void step_failed(const BoundStep& step, ErrorKind kind, const char* what);

}  // namespace kpt

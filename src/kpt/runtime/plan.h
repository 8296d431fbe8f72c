// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "kpt/backends/backend.h"
#include "kpt/ir/graph.h"
#include "kpt/runtime/layout.h"

namespace kpt {

enum class BufferKind { input, weight, persistent, arena, output };

// One piece of memory. Only arena buffers are laid out by the planner; the others come from the caller, the weight
// source, or stay for the life of the model (persistent: results of the prologue).
struct BufferInfo {
  BufferKind kind = BufferKind::arena;
  int index = 0;       // which input, weight, persistent tensor or output
  Sym bytes;           // formula of the sizes
  int first = 0;       // step that defines it
  int last = 0;        // last step that reads it
  int slot = -1;       // arena: index into Plan::slots
  bool early = false;  // arena: done with before Plan::scratch_until; shares no slot with buffers that are not
  std::string value;   // the value it was made for
};

struct ValuePlace {
  int buffer = -1;
  Layout layout;
};

struct PlanStep {
  const Node* node = nullptr;
  std::vector<ValuePlace> inputs, outputs;  // in the order of the node's
};

struct PlanOptions {
  SelectOptions select;
  int threads = 1;
  bool prologue = true;
  int device_index = 0;
  GpuTraits gpu;  // of the device; make_plan fills it in
};

// A flat list of steps with memory as formulas of the sizes. Immutable once built; shared between threads and frames.
// Which kernel runs a step may depend on the sizes, so it is chosen by the Instance of each set of sizes.
struct Plan {
  Graph graph;  // with the copies that layouts made necessary written into it (kpt.copy)
  const Backend* backend = nullptr;
  std::shared_ptr<const Device> device;
  PlanOptions options;
  std::vector<BufferInfo> buffers;
  std::vector<PlanStep> prologue;  // weights-only steps, run at load and again when a weight changed
  std::vector<PlanStep> steps;
  std::vector<Sym> slots;  // bytes of each arena slot: max over the buffers that share it
  // The large output of a device that records calls whose memory is free until this step writes it: early slots lie
  // there where they fit. -1 where there is none.
  int scratch_output = -1;
  int scratch_until = 0;
  std::map<const Value*, ValuePlace> places;
  std::vector<int> output_buffers;
  std::vector<std::string> unsupported;      // nodes without a kernel: "aten.foo at STACK: reason; reason"
  std::set<std::string> unsupported_values;  // what they compute

  SymEnv hints() const;
  Sym arena_bytes() const;     // sum of the slots, each rounded up to 64
  Sym no_reuse_bytes() const;  // what the same buffers would take side by side
  std::string text() const;    // steps, places and formulas, for people and golden tests
};

// Makes the plan: layouts of views, copies where needed, buffers, lifetimes, shared slots. Takes the graph.
// Throws Error{bad_input} for symbols that no input size binds. Nodes without a kernel are listed in `unsupported`; the
// caller decides (strict mode raises, naming all of them at once).
Plan make_plan(Graph graph, const Backend& backend, const PlanOptions& options);

// The problem a step poses at concrete sizes.
Problem make_problem(const Node& node, const std::vector<ValuePlace>& inputs, const std::vector<ValuePlace>& outputs,
                     const SymEnv& env, const PlanOptions& options);

}  // namespace kpt

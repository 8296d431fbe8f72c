// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/base/error.h"
#include "kpt/ir/graph.h"
#include "kpt/tensor/tensor.h"
#include "kpt/tensor/weight_source.h"

namespace kpt {

struct CompileOptions {
  std::string level = "conservative";  // conservative, balanced, aggressive
  std::string device = "cpu";          // "cpu", "cuda", "cuda:1", "null"
  bool allow_fallback =
      true;  // false: a node that only the aten provider takes is an Error{unsupported} naming op and source line
  int threads = 0;                  // 0: setting num_threads, else cpu_info().processors
  bool rewrite = true;              // false: no passes, no fusions: the graph as it was captured (judge, baselines)
  bool prologue = true;             // false: weights-only nodes run at every call (the fp64 judge keeps no second copy)
  std::set<std::string> providers;  // empty: all; else only these
  std::set<std::string> skip;       // keys of rewrites to put back
  std::set<std::string> disabled;   // passes and fusions switched off by name
  std::set<std::string> only;       // not empty: just these passes run ("canonicalise", "fusion", ...)
  std::set<std::string> ban;        // "<kernel name>@<value>": kernels not to choose for a node
  std::function<void(std::string_view stage, const std::string& text)> dump;
};

struct RunOptions {
  void* stream = nullptr;  // CUstream that the call is queued on (a GPU only); run() does not wait for it
  // Makes the memory of an output on the model's device; default: a fresh one.
  std::function<Tensor(int index, const TensorDesc&)> allocate;
};

// A compiled model. Immutable after compile; run() may be called from many threads at once (one Frame each).
class KPT_API Model {
 public:
  // Runs passes, fusions, backend selection and memory planning. Weights must cover every weight of the graph with the
  // declared dtype and sizes. Throws Error: bad_input (graph or weights), unsupported (no kernel for a node).
  static std::shared_ptr<Model> compile(Graph graph, std::shared_ptr<WeightSource> weights,
                                        const CompileOptions& options);
  virtual ~Model() = default;

  // Inputs in graph order, any strides (non-contiguous ones are copied). Sizes bind the symbols: a size that does not
  // fit the declaration is Error{bad_input} "input_ids has shape [2, 600], the plan was made for s in [1, 512]".
  virtual std::vector<Tensor> run(const std::vector<Tensor>& inputs, const RunOptions& options = {}) = 0;
  // Runs, and gives clones of the values named in `keep` (names of the optimised graph) in that order, not the outputs.
  virtual std::vector<Tensor> probe(const std::vector<Tensor>& inputs, const std::vector<std::string>& keep,
                                    const RunOptions& options = {}) = 0;

  virtual const Graph& graph() const = 0;     // after passes and fusions
  virtual std::string text() const = 0;       // its text form
  virtual std::string plan_text() const = 0;  // steps, kernels, buffers as formulas of the sizes
  // One value's story: source lines, rewrites that made it, kernel and why, candidates that declined with reasons.
  virtual std::string explain(std::string_view value) const = 0;
  // JSON: {"passes": [{name, seconds, nodes_before, nodes_after}], "rewrites": [{key, pass, what, where, why, applied,
  // values}],
  //  "steps": [{value, op, provider, kernel, config, where, stack}], "fallbacks": [{op, value, reason, where, stack}],
  //  "memory": {"peak_bytes", "no_reuse_bytes", "weights_bytes", "derived_bytes", "formula"}, "seconds": {...}}
  virtual std::string report() const = 0;
  // Runs `rounds` calls with a clock around every step; JSON as profile.h says.
  virtual std::string profile(const std::vector<Tensor>& inputs, int rounds) = 0;
  // Plans the sizes of these inputs with every choice timed (Executor::make_ready). Runs nothing.
  virtual void make_ready(const std::vector<Tensor>& inputs) = 0;
  // What a call with these inputs takes beside the weights: arena, workspace, outputs. Known before it runs.
  virtual int64_t call_bytes(const std::vector<Tensor>& inputs) = 0;
  // Frees the arenas and recordings that no call uses now; the next calls take theirs again. The bytes they held.
  virtual int64_t trim() = 0;
  // Weights by their place in the source, one group for each merged one: where a group lies in one piece of memory, in
  // this order, the plan reads it there and keeps no copy. take_weights: looks at them now, not at the next run.
  virtual std::vector<std::vector<size_t>> joined_weights() const = 0;
  virtual void take_weights() = 0;
  // Exact counts since compile: shapes planned, prologue runs, arena allocations, calls.
  virtual std::map<std::string, int64_t> counters() const = 0;
};

// trim() of every model of this process; the bytes that were given back.
KPT_API int64_t trim_idle_models();

// Every float type made f64 (weights keep theirs and are cast just before each use, after a gather where the use is an
// embedding, so that no second copy of the weights is ever held). The judge's reference graph.
KPT_API Graph widen_to_f64(const Graph& graph);

}  // namespace kpt

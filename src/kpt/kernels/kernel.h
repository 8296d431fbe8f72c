// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/base/attr.h"
#include "kpt/base/error.h"
#include "kpt/tensor/tensor.h"

namespace kpt {

// What a kernel's configuration may depend on besides the problem. A value, so that configurations can be tested for
// any GPU on a machine without one.
struct GpuTraits {
  int arch = 0;  // 90: compute capability 9.0
  int multiprocessors = 0;
  int64_t l2_bytes = 0;
  int64_t shared_bytes = 0;  // most dynamic shared memory of one block

  friend bool operator==(const GpuTraits&, const GpuTraits&) = default;
};

// One operator call at concrete sizes: everything a choice may depend on. Kernels do not know graphs.
// Attributes refer to tensors by In{index into inputs}; every Sym in them is constant. A fixed problem, so that
// `supports` and `make` are pure functions of it, printable and testable.
struct KPT_API Problem {
  std::string op;
  std::vector<TensorDesc> inputs;
  std::vector<TensorDesc> outputs;  // strides are given by the planner: row-major unless an op's contract says more
  AttrList args;
  Kwargs kwargs;
  int threads = 1;  // upper bound on parallel_for's `limit`
  GpuTraits gpu;    // of the device the kernel will run on; zeros on the CPU
  // Bit i: input i is a weight that no step writes: it may be read before earlier kernels of the stream have ended.
  uint64_t lasting = 0;

  // The tensor at positional argument i; null where absent, none, a number or a list.
  const TensorDesc* operand(int i) const;
  int operand_index(int i) const;              // index into inputs, -1 likewise
  std::vector<int> operand_list(int i) const;  // a list argument's indices (-1 for none)
  std::string str() const;
  // Equal to the bit in everything that `supports` and `make` may look at.
  bool same(const Problem& other) const;
};

// May what is made ready be timed, to choose among ways of doing it? `timed`: auto_optimize asks. `known`: a call with
// sizes that were not made ready asks: nothing is timed and no kernel is loaded that need not be; what was chosen for
// the nearest size holds.
enum class Effort : uint8_t { timed, known };

// Pointers for one run, in the order of Problem::inputs / outputs. No two outputs overlap; an output overlaps an input
// only where the kernel's contract allows in-place. Workspace: workspace_bytes() long, 64-byte aligned, contents
// undefined.
struct RunArgs {
  const void* const* inputs;
  void* const* outputs;
  void* workspace;
  void* stream = nullptr;  // CUstream on a GPU: work is put on it and nothing waits
};

// A kernel made ready for one problem. Immutable: run() may be called from many threads at once, each with its own
// args.
class KPT_API Launch {
 public:
  virtual ~Launch() = default;
  virtual size_t workspace_bytes() const { return 0; }
  // Compiles, loads and chooses what run() needs. Called once, before workspace_bytes() is asked and before the first
  // run; for different launches possibly at the same time from several threads.
  virtual void prepare(Effort) {}
  virtual void run(const RunArgs& args) const = 0;
  // May run() be kept in a CUDA graph: it neither allocates nor waits, and its temporaries are all in the workspace.
  virtual bool recordable() const { return true; }
  // The configuration chosen, for reports: "avx512 tile 8x48 threads 2".
  virtual std::string config() const { return ""; }
};

struct CudaWork;  // kernels/lib/cuda/work.h

// (op, provider, device): who computes it, and where. Providers in order of preference: kpt, codegen, vendor, aten, and
// reference (plain double loops; tests, judges and last resort).
struct Kernel {
  std::string op;        // "aten.linear"; "*" for any (aten provider only)
  std::string provider;  // "kpt", "codegen", "vendor", "aten", "reference"
  std::string device;    // "cpu", "cuda"
  std::string name;      // "linear_cpu": the leaf folder's file; unique with provider and device
  int priority = 0;      // among kernels of one provider: higher first, then by name
  std::function<Verdict(const Problem&)> supports;
  std::function<std::unique_ptr<Launch>(const Problem&)> make;
  std::function<CudaWork(const Problem&)> work = {};  // CUDA kernels of ours: what make() launches, without a GPU
};

// The kernels of this process. Filled once by the engine from the generated manifest; tests and bridges add their own.
// Reads are thread-safe after filling; add/remove are guarded by a mutex and do not affect launches already made.
class KPT_API KernelRegistry {
 public:
  void add(Kernel kernel);  // throws Error{bad_input} on a double (op, provider, device, name)
  void remove(std::string_view op, std::string_view name);
  // Kernels for the op (and "*"), best first: provider order, then priority, then name.
  std::vector<std::shared_ptr<const Kernel>> find(std::string_view op, std::string_view device) const;
  std::vector<std::shared_ptr<const Kernel>> all() const;

 private:
  std::vector<std::shared_ptr<const Kernel>> kernels_;
};

// The process-wide registry, filled on first use with every leaf folder of kernels/ (generated manifest).
KPT_API KernelRegistry& kernel_registry();

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
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
};

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

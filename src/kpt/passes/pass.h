// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/ir/graph.h"

namespace kpt {

// One change that a pass or fusion made, or declined. `key` names it stably across compiles of the same graph, so that
// a bisect can put back just that one: "<pass>@<name of the value it replaces>", e.g. "linear_act@gelu_3".
struct Rewrite {
  std::string key;
  std::string pass;
  std::string what;   // "merge_linears(q, k, v)": short, for the report's first column
  std::string where;  // module path of the replaced value
  std::string why;    // the gain in words, or the reason for declining
  bool applied = true;
  std::vector<std::string> values;  // names of values that this rewrite now computes
};

class PassContext {
 public:
  std::set<std::string> skip;      // keys of rewrites not to make (bisect, user)
  std::set<std::string> disabled;  // passes switched off by name
  std::string level = "conservative";
  std::string device = "cpu";
  std::vector<Rewrite> rewrites;  // filled by passes, in order

  // Asked before every change. Records nothing; a skipped key is recorded as declined ("put back").
  bool allowed(const std::string& key) const { return !skip.count(key); }
  void applied(Rewrite r) { rewrites.push_back(std::move(r)); }
  void declined(Rewrite r) {
    r.applied = false;
    rewrites.push_back(std::move(r));
  }
};

// A leaf folder passes/<name>/ defines `void register_<name>(PassRegistry&)`.
struct Pass {
  std::string name;  // = folder name
  int order = 0;     // lower runs first; ties by name
  std::string summary;
  std::function<void(Graph&, PassContext&)> run;
};

class KPT_API PassRegistry {
 public:
  void add(Pass pass);                                          // throws Error{bad_input} on a double name
  const std::vector<Pass>& ordered() const { return passes_; }  // by (order, name)
  const Pass* find(std::string_view name) const;

 private:
  std::vector<Pass> passes_;
};

struct PassTiming {
  std::string pass;
  double seconds = 0;
  size_t nodes_before = 0, nodes_after = 0;
};

// The one choke point: enabled? -> timer -> run -> verify -> dump. `dump` (optional) gets (pass name, text) after each
// pass that changed the text. Throws Error{internal} naming the pass where verify says no.
KPT_API std::vector<PassTiming> run_passes(Graph& graph, PassContext& context, const std::vector<Pass>& passes,
                                           const std::function<void(std::string_view, const std::string&)>& dump = {});

// Every leaf folder of passes/ (generated manifest), filled on first use.
KPT_API const PassRegistry& pass_registry();

}  // namespace kpt

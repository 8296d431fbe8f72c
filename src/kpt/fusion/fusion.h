// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/ir/graph.h"
#include "kpt/passes/pass.h"

namespace kpt {

// What a match bound: %names of the pattern to values of the graph, ?names to attributes.
struct Match {
  std::map<std::string, Value*, std::less<>> values;
  std::map<std::string, Attr, std::less<>> attrs;
  std::vector<Node*> nodes;  // the matched nodes, last first (the root is nodes.front())

  Value* value(std::string_view name) const;      // throws Error{internal} if the pattern has no such name
  const Attr& attr(std::string_view name) const;  // likewise
};

// A fusion: text before, text after, and a condition. The language:
//
//   %h = aten.linear(%x, %w, %b)
//   %y = aten.gelu(%h, approximate=?mode)
//   =>
//   %y = kpt.linear(%x, %w, %b, none, act=$act)
//
// * %name binds a value (the same name = the same value); a leading `_` as in %_b? is not special; `%b?` also matches `none`.
// * ?name binds an attribute; a literal must be equal. Named arguments not written are not looked at.
// * aten.add.Tensor, aten.mul.Tensor, maximum, minimum and logical_and/or match with their operands in either order.
// * `[%a, %b]` matches a list; types may be written after ':' to ask for a dtype.
// * Inner values (defined by the pattern, not its last line) must have no other users, unless the text after `=>`
//   defines them too.
// * $name on the right is filled in by `when` through Match::attrs.
// Several alternatives may stand in one file, separated by a line `---`; they share `when` and the name.
struct Fusion {
  std::string name;     // = folder name
  int order = 0;        // lower first; larger patterns before the smaller ones they contain
  std::string pattern;  // the text of pattern.kpt
  std::string summary;  // for reports: "epilogue, one pass over the output less"
  // May add attributes for the right side. A `no` shows in the report.
  std::function<Verdict(const Graph&, Match&)> when;
};

class KPT_API FusionRegistry {
 public:
  // Parses the pattern at once: Error{bad_input} "[fusion.NAME] line 2: ..." where it is malformed; doubles throw.
  void add(Fusion fusion);
  void remove(std::string_view name);
  const std::vector<Fusion>& ordered() const { return fusions_; }

 private:
  std::vector<Fusion> fusions_;
};

// Every leaf folder of fusion/patterns/ (generated manifest), filled on first use. Tests may add faulty ones and remove
// them again; guarded by a mutex.
KPT_API FusionRegistry& fusion_registry();

// Applies every fusion to a fixed point, in order, bottom up; each application is a Rewrite with key "<name>@<value>".
// New nodes take scope and stack of the pattern's root; values named on both sides keep their names.
KPT_API void run_fusions(Graph& graph, PassContext& context, const FusionRegistry& registry);

// Groups leftover pointwise nodes and row reductions into kpt.pointwise / kpt.row nodes (codegen/).
KPT_API void group_pointwise(Graph& graph, PassContext& context);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/ir/graph.h"
#include "kpt/passes/pass.h"

namespace kpt {

struct Pattern;  // a parsed pattern, pattern.h

// What a match bound: %names of the pattern to values of the graph, ?names to attributes.
struct KPT_API Match {
  std::map<std::string, Value*, std::less<>> values;     // null where `%b?` matched none
  std::map<std::string, Attr, std::less<>> attrs;        // ?names; `when` adds the $names
  std::map<std::string, TensorType, std::less<>> types;  // `when` adds the types that the right side cannot derive
  std::vector<Node*> nodes;                              // the matched nodes, last first (the root is nodes.front())
  std::string device;                                    // PassContext::device

  Value* value(std::string_view name) const;              // throws Error{internal} if the pattern has no such name
  const Attr& attr(std::string_view name) const;          // likewise
  Value* value_or_null(std::string_view name) const;      // null too where a `? line` was absent
  const Attr* attr_or_null(std::string_view name) const;  // null where a `? line` was absent
  Value* root() const { return nodes.front()->out(); }
};

// A fusion: text before, text after, and a condition. The language:
//
//   %h = aten.linear(%x, %w, %b)
//   %y = aten.gelu(%h, approximate=?mode)
//   =>
//   %y = kpt.linear(%x, %w, %b, none, act=$act)
//
// * %name binds a value (the same name = the same value); a leading `_` as in %_b? is not special; `%b?` also matches
// `none`.
// * ?name binds an attribute; a literal must be equal. Named arguments not written are not looked at.
// * aten.add.Tensor, aten.mul.Tensor, maximum, minimum and logical_and/or match with their operands in either order.
// * `[%a, %b]` matches a list; types may be written after ':' to ask for a dtype.
// * Inner values (defined by the pattern, not its last line) must have no other users, unless the text after `=>`
//   defines them too.
//   `?name` also matches a scalar `kpt.constant`, as its number. An absent named argument binds `none`.
// * A line that starts with `? ` may be missing in the graph; then its value is its first operand.
// * $name on the right is filled in by `when` through Match::attrs. `%b?` on the right is `none` where nothing is
// bound.
// * Types on the right: a value named on both sides keeps its type; aten.reshape and aten.permute follow from their
//   arguments; any other takes Match::types. A reshape or permute on the right that changes nothing is left out, and
//   one that stands on another reshape or permute is joined with it.
// Several alternatives may stand in one file, separated by a line `---`; they share `when` and the name. The first that
// holds is applied. `//` starts a comment.
struct Fusion {
  std::string name;     // = folder name
  int order = 0;        // lower first; larger patterns before the smaller ones they contain
  std::string pattern;  // the text of pattern.kpt
  std::string summary;  // for reports: "epilogue, one pass over the output less"
  // Asked once the text matches. May add attributes and types for the right side. A `no` shows in the report.
  std::function<Verdict(const Graph&, Match&)> when;
  std::shared_ptr<const Pattern> parsed;  // filled by FusionRegistry::add
};

// Thread-safe: a mutex guards the list, and readers get a snapshot.
class KPT_API FusionRegistry {
 public:
  // Parses the pattern at once: Error{bad_input} "[fusion.NAME] line 2: ..." where it is malformed; doubles throw.
  void add(Fusion fusion);
  void remove(std::string_view name);   // no effect where there is none
  std::vector<Fusion> ordered() const;  // by (order, name)

 private:
  mutable std::mutex mutex_;
  std::vector<Fusion> fusions_;
};

// Every leaf folder of fusion/patterns/ (generated manifest), filled on first use. Tests may add faulty ones and remove
// them again.
KPT_API FusionRegistry& fusion_registry();

// Applies every fusion to a fixed point, in order, from the last node to the first; each application is a Rewrite with
// key "<name>@<value>". New nodes take scope and stack of the pattern's root; values named on both sides keep their
// names. Where the text matched but `when`, another user or a skipped key stood against it, a declined Rewrite says
// why. Throws Error{internal} naming the fusion where the fixed point is not reached (a fusion that undoes another).
KPT_API void run_fusions(Graph& graph, PassContext& context, const FusionRegistry& registry);

// Groups leftover pointwise nodes and row reductions into kpt.pointwise / kpt.row nodes (codegen/).
KPT_API void group_pointwise(Graph& graph, PassContext& context);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string_view>

#include "kpt/passes/rewriter.h"

namespace kpt::canonical {

// One node on its way to docs/operators.md. The operands are canonical already: nodes are visited in order.
struct Site {
  Graph& graph;
  Node& node;
  Rewriter rw;

  Site(Graph& g, Node& n) : graph(g), node(n), rw(g, &n) {}
  Operand at(int i) const { return operand_at(node, i); }
  Value* x() const { return at(0).value; }
  const TensorType& out() const { return node.out()->type; }
  // A named argument as written; None where absent.
  Attr kw(std::string_view name) const {
    const Attr* a = find(node.kwargs, name);
    return a ? *a : Attr(None{});
  }
  int64_t dim(std::string_view name, int64_t otherwise, int rank) const {
    return wrap_dim(get_int(node.kwargs, name, otherwise), rank);
  }
  // Replaces the node by `by` and says so.
  bool become(Value* by) {
    rw.replace_node(by);
    return true;
  }
  // Replaces the node by one of another name or arguments; false where that is what it is already.
  bool become(std::string op, std::vector<Operand> operands, Kwargs kwargs);
};

// Rewrites the node and returns true, or leaves it as it is and returns false. After true the node is gone.
using Rule = bool (*)(Site&);
using Rules = std::map<std::string_view, Rule>;

void add_view_rules(Rules& rules);
void add_pointwise_rules(Rules& rules);
void add_factory_rules(Rules& rules);
void add_reduction_rules(Rules& rules);
void add_linear_rules(Rules& rules);
void add_convolution_rules(Rules& rules);
void add_attention_rules(Rules& rules);

}  // namespace kpt::canonical

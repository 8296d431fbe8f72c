// SPDX-License-Identifier: Apache-2.0
// Sibling linears on one input (query, key, value; gate, up) become one: their weights are stacked once, in the
// prologue.
#include <algorithm>
#include <map>

#include "kpt/passes/rewriter.h"

namespace kpt {
namespace {

// "encoder.layer.0.attention.self.query" -> "encoder.layer.0.attention.self". Keeps the cross-attention of one decoder
// layer apart from the next, whose result would otherwise live through the whole decoder.
std::string parent(const std::string& scope) {
  const size_t dot = scope.rfind('.');
  return dot == std::string::npos ? "" : scope.substr(0, dot);
}

bool mergeable(const Node& node) {
  if (node.op != "aten.linear" && node.op != "kpt.linear") return false;
  const Value *w = operand_at(node, 1).value, *b = operand_at(node, 2).value;
  if (operand_at(node, 3).value || !w || w->type.rank() != 2 || !weights_only(w)) return false;
  // The stack of a stack: already merged.
  if (w->producer && w->producer->op == "aten.cat") return false;
  return !b || (weights_only(b) && b->type.rank() == 1);
}

std::string group_of(const Node& node) {
  return cat(node.op, " %", node.inputs[0]->name, " ", node.inputs[1]->type.dtype, " ",
             get_string(node.kwargs, "act", "none"), " ", parent(node.loc.scope));
}

// All biases in one, zeros where a linear has none (x + 0 is exact); null where nobody has one.
Value* merged_bias(Graph& graph, Rewriter& rw, const std::vector<Node*>& group) {
  const bool any = std::any_of(group.begin(), group.end(), [](Node* n) { return operand_at(*n, 2).value; });
  if (!any) return nullptr;
  std::vector<Value*> parts;
  Sym total = 0;
  for (Node* node : group) {
    Value* b = operand_at(*node, 2).value;
    const Sym width = node->inputs[1]->type.sizes[0];
    if (b)
      hoist(graph, b, group[0]);
    else
      b = rw.full({node->inputs[1]->type.dtype, {width}}, 0.0);
    parts.push_back(b);
    total = total + width;
  }
  return rw.make_list("aten.cat", parts, {{"dim", 0}}, {parts[0]->type.dtype, {total}});
}

void merge(Graph& graph, const std::vector<Node*>& group) {
  Node* first = group[0];
  Rewriter rw(graph, first);
  std::vector<Value*> weights;
  Sym total = 0;
  for (Node* node : group) {
    Value* w = operand_at(*node, 1).value;
    hoist(graph, w, first);
    weights.push_back(w);
    total = total + w->type.sizes[0];
  }
  const Sym inner = weights[0]->type.sizes[1];
  Value* w = rw.make_list("aten.cat", weights, {{"dim", 0}}, {weights[0]->type.dtype, {total, inner}});
  Value* b = merged_bias(graph, rw, group);
  TensorType type = first->out()->type;
  type.sizes.back() = total;
  std::vector<Operand> operands{{first->inputs[0], {}}, {w, {}}, {b, {}}};
  if (first->args.size() > 3) operands.push_back({});
  Value* y = rw.make(first->op, operands, first->kwargs, type);
  Sym start = 0;
  std::vector<Value*> slices;
  for (Node* node : group) {
    const Sym width = node->out()->type.sizes.back();
    slices.push_back(rw.slice(y, type.rank() - 1, start, width));
    start = start + width;
  }
  for (size_t i = 0; i < group.size(); ++i) rw.replace(group[i]->out(), slices[i]);
  for (Node* node : group) graph.erase(node);
}

void merge_linears(Graph& graph, PassContext& context) {
  std::map<std::string, std::vector<Node*>> groups;
  std::vector<std::string> in_order;
  for (Node* node : graph.nodes()) {
    if (!mergeable(*node)) continue;
    std::vector<Node*>& group = groups[group_of(*node)];
    if (group.empty()) in_order.push_back(group_of(*node));
    group.push_back(node);
  }
  for (const std::string& name : in_order) {
    const std::vector<Node*>& group = groups[name];
    if (group.size() < 2) continue;
    Rewrite r{
        "merge_linears@" + group[0]->out()->name, "merge_linears", "merge_linears(", group[0]->loc.scope, "", true, {}};
    for (Node* node : group) {
      r.what += (r.values.empty() ? "" : ", ") + node->out()->name;
      r.values.push_back(node->out()->name);
    }
    r.what += ")";
    r.why = "one product reads the input once";
    if (!context.allowed(r.key)) {
      r.why = "put back";
      context.declined(r);
      continue;
    }
    merge(graph, group);
    context.applied(r);
  }
}

}  // namespace

void register_merge_linears(PassRegistry& registry) {
  registry.add({"merge_linears", 60, "One matrix product for sibling linears (QKV, gate and up).", merge_linears});
}

}  // namespace kpt

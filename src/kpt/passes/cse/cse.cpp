// SPDX-License-Identifier: Apache-2.0
#include <unordered_map>

#include "kpt/ir/text.h"
#include "kpt/passes/rewriter.h"

namespace kpt {
namespace {

// All that decides what a node computes: operator, operands, named arguments, types of the outputs.
std::string identity_of(const Node& node) {
  std::string text = node.op;
  for (const Attr& a : node.args) text += ", " + print(a, node.inputs);
  for (const auto& [name, value] : node.kwargs) text += ", " + name + "=" + print(value, node.inputs);
  for (const Value* v : node.outputs) text += cat(" : ", v->type);
  return text;
}

void cse(Graph& graph, PassContext& context) {
  std::unordered_map<std::string, Node*> first;
  std::vector<std::string> dropped;
  for (Node* node : graph.nodes()) {
    if (has_effects(*node)) continue;
    const auto [same, is_new] = first.emplace(identity_of(*node), node);
    if (is_new) continue;
    for (size_t i = 0; i < node->outputs.size(); ++i) graph.replace_uses(node->outputs[i], same->second->outputs[i]);
    dropped.push_back(node->out()->name);
    graph.erase(node);
  }
  if (dropped.empty()) return;
  context.applied(
      {"cse@graph", "cse", cat("cse: ", dropped.size(), " nodes"), "", "computed once instead of twice", true, {}});
}

}  // namespace

void register_cse(PassRegistry& registry) {
  registry.add({"cse", 30, "Computes equal expressions once; never random numbers or effects.", cse});
}

}  // namespace kpt

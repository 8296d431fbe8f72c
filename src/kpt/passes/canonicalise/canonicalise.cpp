// SPDX-License-Identifier: Apache-2.0
#include "kpt/passes/canonicalise/canonicalise.h"

namespace kpt {
namespace canonical {

bool Site::become(std::string op, std::vector<Operand> operands, Kwargs kwargs) {
  bool same = op == node.op && same_kwargs(kwargs, node.kwargs) && operands.size() == node.args.size();
  for (size_t i = 0; same && i < operands.size(); ++i) {
    const Operand now = at(static_cast<int>(i));
    same = now.value == operands[i].value && now.number == operands[i].number;
  }
  if (same) return false;
  return become(rw.make(std::move(op), operands, std::move(kwargs), out()));
}

namespace {

const Rules& rules() {
  static const Rules all = [] {
    Rules r;
    add_view_rules(r);
    add_pointwise_rules(r);
    add_factory_rules(r);
    add_reduction_rules(r);
    add_linear_rules(r);
    add_convolution_rules(r);
    add_attention_rules(r);
    return r;
  }();
  return all;
}

// An argument that a rule cannot read (a symbolic stride, an overflow) leaves the node to aten, with the reason.
bool apply(Rule rule, Site& site, std::map<std::string, std::string>& unread) {
  try {
    return rule(site);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::bad_input) throw;
    unread[site.node.outputs.empty() ? site.node.op : site.node.out()->name] = e.what();
    return false;
  }
}

int sweep(Graph& graph, const PassContext& context, std::map<std::string, std::string>& unread) {
  int rewritten = 0;
  for (Node* node : graph.nodes()) {
    const auto rule = rules().find(node->op);
    if (rule == rules().end() || context.disabled.count(node->op)) continue;  // a rule is switched off by its operator
    Site site(graph, *node);
    rewritten += apply(rule->second, site, unread);
  }
  return rewritten;
}

void canonicalise(Graph& graph, PassContext& context) {
  // One sweep does nearly all, as operands come first. A rule may still open the way for another (a linear that moves
  // behind a reshape); eight sweeps bound the work, the conformance test over generated graphs needs at most three.
  constexpr int kMaxSweeps = 8;
  const size_t before = graph.size();
  int rewritten = 0;
  std::map<std::string, std::string> unread;
  for (int i = 0; i < kMaxSweeps; ++i) {
    const int now = sweep(graph, context, unread);
    rewritten += now;
    if (!now) break;
  }
  for (const auto& [name, why] : unread)
    context.declined({"canonicalise@" + name, "canonicalise", "%" + name + " stays as it is", "", why, true, {}});
  const int dead = sweep_dead(graph);
  if (!rewritten && !dead) return;
  context.applied({"canonicalise@graph",
                   "canonicalise",
                   cat("canonicalise: ", rewritten, " rewrites"),
                   "",
                   cat(before, " nodes became ", graph.size(), ", all of the canonical set or unknown"),
                   true,
                   {}});
}

}  // namespace
}  // namespace canonical

void register_canonicalise(PassRegistry& registry) {
  registry.add({"canonicalise", 10, "Turns every operator into the canonical set of docs/operators.md.",
                canonical::canonicalise});
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
// Neutral elements, constant conditions, literals, and comparisons that hold for every position and every size.
// x + 0 is taken as x: it differs only in that -0 + 0 is +0.
#include "kpt/passes/fold_constants/fold_constants.h"

#include <array>

#include "kpt/passes/element.h"

namespace kpt {
namespace folding {
namespace {

// x in the place of the node's result: broadcast to its sizes; null where the dtype differs.
Value* stand_in(Rewriter& rw, Value* x, const TensorType& type) {
  if (!x || x->type.dtype != type.dtype) return nullptr;
  return rw.expand(x, type.sizes);
}

// x + 0, x - 0, x * 1, x / 1, x ** 1; x ** 2 is x * x.
Value* arithmetic(const Node& node, Rewriter& rw) {
  const TensorType& type = node.out()->type;
  if (node.op == "aten.pow.Tensor_Scalar") {
    const Attr* exponent = find(node.kwargs, "exponent");
    const auto e = exponent ? uniform({nullptr, *exponent}) : uniform(operand_at(node, 1));
    Value* x = operand_at(node, 0).value;
    if (!x || x->type != type) return nullptr;
    if (e == 2.0) return rw.make("aten.mul.Tensor", {{x, {}}, {x, {}}}, {}, type);
    return e == 1.0 ? x : nullptr;
  }
  const bool sum = node.op == "aten.add.Tensor", difference = node.op == "aten.sub.Tensor";
  const bool product = node.op == "aten.mul.Tensor", quotient = node.op == "aten.div.Tensor";
  if (!(sum || difference || product || quotient) || !node.kwargs.empty()) return nullptr;
  const double neutral = sum || difference ? 0 : 1;
  const Operand a = operand_at(node, 0), b = operand_at(node, 1);
  if (uniform(b) == neutral)
    if (Value* v = stand_in(rw, a.value, type)) return v;
  if ((sum || product) && uniform(a) == neutral) return stand_in(rw, b.value, type);
  return nullptr;
}

// and, or of conditions with one known side; where and masked_fill with a known condition.
Value* logic(const Node& node, Rewriter& rw) {
  const TensorType& type = node.out()->type;
  const bool all = node.op == "aten.bitwise_and.Tensor" || node.op == "aten.logical_and";
  const bool any = node.op == "aten.bitwise_or.Tensor" || node.op == "aten.logical_or";
  if ((all || any) && type.dtype == DType::boolean) {
    for (int i = 0; i < 2; ++i) {
      const auto known = uniform(operand_at(node, i));
      if (!known) continue;
      if ((*known != 0) == all) {
        if (Value* v = stand_in(rw, operand_at(node, 1 - i).value, type)) return v;
      } else {
        return rw.full(type, any);
      }
    }
    return nullptr;
  }
  const bool fill = node.op == "aten.masked_fill.Scalar";
  if (node.op != "aten.where.self" && !fill) return nullptr;
  const auto known = uniform(operand_at(node, fill ? 1 : 0));
  if (!known) return nullptr;
  const bool fills = fill && *known != 0;
  const Attr* value = find(node.kwargs, "value");
  const Operand taken = fills && value ? Operand{nullptr, *value} : operand_at(node, fill ? 0 : *known != 0 ? 1 : 2);
  if (taken.value) return stand_in(rw, taken.value, type);
  // A fractional number in an integer tensor, or a symbol in a float one, is PyTorch's to convert.
  const bool plain = is_float(type.dtype) ? uniform(taken).has_value() : !taken.number.is<double>();
  return plain ? rw.full(type, taken.number) : nullptr;
}

bool is_condition(const Node& node) {
  static constexpr std::array<std::string_view, 12> kOps{
      "aten.eq.Tensor",   "aten.ne.Tensor",   "aten.lt.Tensor",          "aten.le.Tensor",
      "aten.gt.Tensor",   "aten.ge.Tensor",   "aten.bitwise_and.Tensor", "aten.bitwise_or.Tensor",
      "aten.bitwise_not", "aten.logical_and", "aten.logical_or",         "aten.logical_not"};
  for (std::string_view op : kOps)
    if (op == node.op) return node.outputs.size() == 1 && node.out()->type.dtype == DType::boolean;
  return false;
}

// A condition that holds everywhere or nowhere, by the ranges of positions and sizes (arange >= 0).
Value* provable(Graph& graph, const Node& node, Rewriter& rw) {
  if (!is_condition(node)) return nullptr;
  ElementEvaluator evaluator(graph);
  const Element e = evaluator.at(node.out(), evaluator.positions(node.out()->type.sizes));
  const Condition* c = std::get_if<Condition>(&e);
  if (!c || !(c->always() || c->never())) return nullptr;
  return rw.full(node.out()->type, c->always());
}

bool sweep(Graph& graph, PassContext& context, bool first) {
  bool changed = false;
  for (Node* node : graph.nodes()) {
    if (node->outputs.size() != 1 || node->op == "kpt.constant" || node->op == "aten.full") continue;
    Rewriter rw(graph, node);
    Rewrite r{"fold_constants@" + node->out()->name,
              "fold_constants",
              "fold %" + node->out()->name,
              node->loc.scope,
              "",
              true,
              {node->out()->name}};
    if (!context.allowed(r.key)) {
      r.why = "put back";
      if (first) context.declined(r);
      continue;
    }
    r.why = cat(node->op, " on literals");
    Value* by = fold_literals(*node, rw);
    if (!by) {
      r.why = cat(node->op, " with a neutral operand");
      by = arithmetic(*node, rw);
    }
    if (!by) {
      r.why = cat(node->op, " with a known condition");
      by = logic(*node, rw);
    }
    if (!by) {
      r.why = cat(node->op, " holds for every position and size, or for none");
      by = provable(graph, *node, rw);
    }
    if (!by) continue;
    rw.replace_node(by);
    context.applied(r);
    changed = true;
  }
  if (changed) sweep_dead(graph);
  return changed;
}

// A sweep follows the order of the graph, so one does nearly all; x ** 2 of a literal takes two.
void fold_constants(Graph& graph, PassContext& context) {
  constexpr int kMaxSweeps = 8;
  for (int i = 0; i < kMaxSweeps; ++i)
    if (!sweep(graph, context, i == 0)) return;
}

}  // namespace
}  // namespace folding

void register_fold_constants(PassRegistry& registry) {
  registry.add({"fold_constants", 20, "Computes what is known before the run; drops neutral operations.",
                folding::fold_constants});
}

}  // namespace kpt

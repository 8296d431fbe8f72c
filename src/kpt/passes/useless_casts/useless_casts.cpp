// SPDX-License-Identifier: Apache-2.0
// Casts that change nothing: a lossless cast before another cast, and a lossless cast that is undone after data was
// only moved (views, cat). Arithmetic between the two casts keeps them: it was asked for in the wider type.
#include <algorithm>

#include "kpt/ir/ops.h"
#include "kpt/passes/rewriter.h"

namespace kpt {
namespace {

bool is_cast(const Value* v) { return v->producer && v->producer->op == "aten._to_copy"; }

bool is_move(const Value* v) { return v->producer && is_view(v->producer->op) && v->producer->inputs.size() == 1; }

// True where `v` is a value of type `dtype`, losslessly widened and then moved. At most `budget` nodes are looked at: a
// cat of cats has exponentially many paths, and narrowed() copies each.
bool was(const Value* v, DType dtype, int& budget) {
  for (; is_move(v); v = v->producer->inputs[0])
    if (--budget < 0) return false;
  if (--budget < 0) return false;
  if (v->producer && v->producer->op == "aten.cat") {
    const std::vector<Value*> list = operand_list(*v->producer, 0);
    return std::all_of(list.begin(), list.end(), [&](const Value* part) { return was(part, dtype, budget); });
  }
  return is_cast(v) && v->producer->inputs[0]->type.dtype == dtype && widens_exactly(dtype, v->type.dtype);
}

// The same moves, of the narrow value.
Value* narrowed(Rewriter& rw, Value* v) {
  if (is_cast(v)) return v->producer->inputs[0];
  const Node& node = *v->producer;
  if (node.op == "aten.cat") {
    std::vector<Value*> list = operand_list(node, 0);
    for (Value*& part : list) part = narrowed(rw, part);
    return rw.make_list("aten.cat", list, node.kwargs, {list[0]->type.dtype, v->type.sizes});
  }
  Value* x = narrowed(rw, node.inputs[0]);
  return rw.make(node.op, {{x, {}}}, node.kwargs, {x->type.dtype, v->type.sizes});
}

bool visit(Graph& graph, PassContext& context, Node& node) {
  Value *x = node.inputs[0], *y = node.out();
  Rewrite r{"useless_casts@" + y->name, "useless_casts", "", node.loc.scope, "no value changes", true, {y->name}};
  Rewriter rw(graph, &node);
  int budget = 64;
  if (x->type == y->type) {
    r.what = cat("cast to the same type ", y->type.dtype);
  } else if (is_cast(x) && widens_exactly(x->producer->inputs[0]->type.dtype, x->type.dtype)) {
    r.what = cat(x->producer->inputs[0]->type.dtype, " -> ", x->type.dtype, " -> ", y->type.dtype);
  } else if (was(x, y->type.dtype, budget)) {
    r.what = cat(y->type.dtype, " -> ", x->type.dtype, " -> ", y->type.dtype, " around moved data");
  } else {
    return false;
  }
  if (!context.allowed(r.key)) {
    r.why = "put back";
    context.declined(r);
    return false;
  }
  if (x->type == y->type)
    rw.replace_node(x);
  else if (is_cast(x))
    rw.replace_node(rw.cast(x->producer->inputs[0], y->type.dtype));
  else
    rw.replace_node(narrowed(rw, x));
  context.applied(r);
  return true;
}

void useless_casts(Graph& graph, PassContext& context) {
  bool changed = false;
  for (Node* node : graph.nodes())
    if (node->op == "aten._to_copy" && node->outputs.size() == 1 && node->inputs.size() == 1)
      changed |= visit(graph, context, *node);
  if (changed) sweep_dead(graph);
}

}  // namespace

void register_useless_casts(PassRegistry& registry) {
  registry.add({"useless_casts", 40, "Drops casts that change no value.", useless_casts});
}

}  // namespace kpt

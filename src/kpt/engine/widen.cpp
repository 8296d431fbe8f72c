// SPDX-License-Identifier: Apache-2.0
#include "kpt/engine/engine.h"

#include <algorithm>

namespace kpt {

namespace {

void widen(Attr& attr) {
  if (attr.is<DType>() && is_float(attr.as<DType>())) attr = Attr(DType::f64);
  if (attr.is<AttrList>())
    for (Attr& a : std::get<AttrList>(attr)) widen(a);
}

Value* cast(Graph& graph, Value* of, Node* before, const SourceLoc& loc) {
  NodeSpec spec;
  spec.op = "aten._to_copy";
  spec.tensor(of).kw("dtype", DType::f64).type(DType::f64, of->type.sizes);
  spec.names = {"f64." + of->name};
  spec.loc = loc;
  return graph.add_node(std::move(spec), before)->out();
}

bool is_gather(const Node& node) { return node.op == "aten.embedding"; }

bool is_boolean(const Value* v) { return v->type.dtype == DType::boolean; }

bool is_where(const Node& node) { return node.op.rfind("aten.where.", 0) == 0; }

// Integers divided, multiplied by 0.5 or under a root become PyTorch's default float, f32, whatever the result's type
// says here: only a cast before makes them f64. Where where() takes booleans alone there is nothing to cast before: 0.5
// among them is a number.
bool makes_default_float(const Node& node) {
  if (node.inputs.empty() || node.outputs.size() != 1 || !is_float(node.out()->type.dtype)) return false;
  const bool told = std::any_of(node.kwargs.begin(), node.kwargs.end(),
                                [](const auto& kw) { return kw.first == "dtype" && kw.second.template is<DType>(); });
  return !told &&
         std::none_of(node.inputs.begin(), node.inputs.end(), [](const Value* in) { return is_float(in->type.dtype); });
}

// The node keeps its dtype and its users get a cast of it.
void cast_after(Graph& wide, Node* node) {
  const std::vector<Node*> users = node->out()->users;
  const bool is_output = wide.is_output(node->out());
  const std::vector<Node*> all = wide.nodes();
  Node* next = nullptr;
  for (size_t i = 0; i + 1 < all.size(); ++i)
    if (all[i] == node) next = all[i + 1];
  Value* widened = cast(wide, node->out(), next, node->loc);
  for (Node* user : users) wide.replace_uses_in(user, node->out(), widened);
  if (is_output) {
    std::vector<Value*> outputs = wide.outputs();
    for (Value*& o : outputs)
      if (o == node->out()) o = widened;
    wide.set_outputs(std::move(outputs));
  }
  wide.take_name(widened, node->out());
}

// aten.eye and the like: made of numbers alone, in PyTorch's default float where no dtype is told.
void widen_factory(Node& node) {
  if (!node.inputs.empty() || node.outputs.size() != 1 || !is_float(node.out()->type.dtype)) return;
  for (auto& kw : node.kwargs)
    if (kw.first == "dtype" && !kw.second.is<DType>()) kw.second = Attr(DType::f64);
}

}  // namespace

Graph widen_to_f64(const Graph& graph) {
  Graph wide = graph.clone();
  for (Value* in : wide.inputs()) {
    if (!is_float(in->type.dtype) || in->type.dtype == DType::f64) continue;
    // Inputs keep their dtype, so the same tensors serve both graphs.
    const std::vector<Node*> nodes = wide.nodes();
    if (nodes.empty()) continue;
    const std::vector<Node*> users = in->users;
    Value* widened = cast(wide, in, nodes.front(), {});
    for (Node* user : users) wide.replace_uses_in(user, in, widened);
  }
  for (Node* node : wide.nodes()) {
    if (node->op == "aten._to_copy" && node->outputs.size() == 1 && node->out()->type.dtype == DType::f64) continue;
    widen_factory(*node);
    for (auto& kw : node->kwargs) widen(kw.second);
    for (Attr& a : node->args) widen(a);
    const std::vector<Value*> inputs = node->inputs;
    for (Value* in : inputs) {
      if (in->kind != Value::Kind::weight || !is_float(in->type.dtype) || in->type.dtype == DType::f64) continue;
      if (is_gather(*node) && node->operand(0) == in) continue;
      wide.replace_uses_in(node, in, cast(wide, in, node, node->loc));
    }
    if (is_gather(*node) && node->operand(0)->kind == Value::Kind::weight && is_float(node->out()->type.dtype)) {
      cast_after(wide, node);  // of the few rows that were taken
      continue;
    }
    if (makes_default_float(*node)) {
      const std::vector<Value*> whole = node->inputs;
      if (is_where(*node) && std::all_of(whole.begin(), whole.end(), is_boolean)) {
        cast_after(wide, node);
        continue;
      }
      for (Value* in : whole)
        if (!is_boolean(in) || !is_where(*node)) wide.replace_uses_in(node, in, cast(wide, in, node, node->loc));
    }
    for (Value* out : node->outputs)
      if (is_float(out->type.dtype)) out->type.dtype = DType::f64;
  }
  return wide;
}

}  // namespace kpt

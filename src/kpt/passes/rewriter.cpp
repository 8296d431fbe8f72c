// SPDX-License-Identifier: Apache-2.0
#include "kpt/passes/rewriter.h"

#include <algorithm>
#include <array>
#include <set>

namespace kpt {

Operand operand_at(const Node& node, int i) {
  if (i >= static_cast<int>(node.args.size())) return {};
  const Attr& attr = node.args[static_cast<size_t>(i)];
  if (attr.is<In>()) return {node.inputs[static_cast<size_t>(attr.as<In>().index)], {}};
  if (attr.is<AttrList>()) return {};
  return {nullptr, attr};
}

std::vector<Value*> operand_list(const Node& node, int i) {
  std::vector<Value*> list;
  if (i >= static_cast<int>(node.args.size()) || !node.args[static_cast<size_t>(i)].is<AttrList>()) return list;
  for (const Attr& a : node.args[static_cast<size_t>(i)].as<AttrList>())
    list.push_back(a.is<In>() ? node.inputs[static_cast<size_t>(a.as<In>().index)] : nullptr);
  return list;
}

int64_t wrap_dim(int64_t dim, int rank) { return dim < 0 ? dim + std::max(rank, 1) : dim; }

std::optional<std::vector<Sym>> broadcast(const std::vector<Sym>& a, const std::vector<Sym>& b) {
  const std::vector<Sym>& longer = a.size() >= b.size() ? a : b;
  const std::vector<Sym>& shorter = a.size() >= b.size() ? b : a;
  std::vector<Sym> sizes = longer;
  const size_t shift = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i) {
    Sym& size = sizes[i + shift];
    if (size == shorter[i] || shorter[i] == Sym(1)) continue;
    if (size != Sym(1)) return std::nullopt;
    size = shorter[i];
  }
  return sizes;
}

bool weights_only(const Value* value) {
  std::vector<const Value*> todo{value};
  std::set<const Node*> seen;  // a chain of diamonds has exponentially many paths
  while (!todo.empty()) {
    const Value* v = todo.back();
    todo.pop_back();
    if (v->kind == Value::Kind::input) return false;
    if (v->kind == Value::Kind::weight || !seen.insert(v->producer).second) continue;
    if (has_effects(*v->producer)) return false;
    todo.insert(todo.end(), v->producer->inputs.begin(), v->producer->inputs.end());
  }
  return true;
}

bool has_effects(const Node& node) {
  static constexpr std::array<std::string_view, 16> kRandom = {
      "aten.rand",      "aten.bernoulli", "aten.multinomial", "aten.normal",
      "aten.uniform",   "aten.poisson",   "aten.exponential", "aten.native_dropout",
      "aten.rrelu",     "aten.empty",     "aten.new_empty",   "aten.binomial",
      "aten.geometric", "aten.cauchy",    "aten.log_normal",  "aten._fused_dropout"};
  if (node.outputs.empty()) return true;
  for (std::string_view prefix : kRandom)
    if (std::string_view(node.op).substr(0, prefix.size()) == prefix) return true;
  const Attr* train = find(node.kwargs, "train");
  if (train && train->is<bool>() && train->as<bool>()) return true;
  const Attr* dropout = find(node.kwargs, "dropout_p");
  if (dropout && !dropout->is_none() && get_float(node.kwargs, "dropout_p", 0) != 0) return true;
  // aten.add_.Tensor writes its operand; aten.__and__.Tensor does not.
  const std::string_view name = std::string_view(node.op).substr(0, node.op.find('.', node.op.find('.') + 1));
  return name.size() > 2 && name.back() == '_' && name[name.size() - 2] != '_';
}

bool same_kwargs(const Kwargs& a, const Kwargs& b) { return a == b; }

bool widens_exactly(DType from, DType to) {
  if (from == to || from == DType::boolean) return true;
  if (to == DType::boolean) return false;
  const auto digits = [](DType t) {  // bits of an integer that always survive; floats by their significand
    switch (t) {
      case DType::f64: return 53;
      case DType::f32: return 24;
      case DType::f16: return 11;
      case DType::bf16: return 8;
      case DType::i64: return 63;
      case DType::i32: return 31;
      case DType::i16: return 15;
      case DType::i8: return 7;
      case DType::u8: return 8;
      default: return 1;
    }
  };
  if (is_float(from)) {
    if (!is_float(to)) return false;
    return to == DType::f64 || (to == DType::f32 && from != DType::f64);
  }
  if (!is_float(to) && to == DType::u8) return false;
  return digits(from) <= digits(to);
}

int sweep_dead(Graph& graph) {
  int erased = 0;
  std::vector<Node*> nodes = graph.nodes();
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    Node* node = *it;
    if (has_effects(*node)) continue;
    const bool used = std::any_of(node->outputs.begin(), node->outputs.end(),
                                  [&](const Value* v) { return graph.use_count(v) != 0; });
    if (used) continue;
    graph.erase(node);
    ++erased;
  }
  return erased;
}

Value* Rewriter::add(NodeSpec spec) {
  spec.loc = at_->loc;
  Value* v = graph_.add_node(std::move(spec), at_)->out();
  made_.push_back(v);
  return v;
}

Value* Rewriter::make(std::string op, const std::vector<Operand>& operands, Kwargs kwargs, TensorType type) {
  NodeSpec spec;
  spec.op = std::move(op);
  for (const Operand& o : operands) {
    if (o.value)
      spec.tensor(o.value);
    else
      spec.arg(o.number);
  }
  spec.kwargs = std::move(kwargs);
  spec.types.push_back(std::move(type));
  return add(std::move(spec));
}

Value* Rewriter::make_list(std::string op, const std::vector<Value*>& list, Kwargs kwargs, TensorType type) {
  NodeSpec spec;
  spec.op = std::move(op);
  AttrList refs;
  for (Value* v : list) {
    refs.push_back(In{static_cast<int>(spec.inputs.size())});
    spec.inputs.push_back(v);
  }
  spec.args.push_back(std::move(refs));
  spec.kwargs = std::move(kwargs);
  spec.types.push_back(std::move(type));
  return add(std::move(spec));
}

namespace {

AttrList sym_list(const std::vector<Sym>& sizes) { return AttrList(sizes.begin(), sizes.end()); }

bool made_by(const Value* v, std::string_view op) { return v->producer && v->producer->op == op; }

}  // namespace

Value* Rewriter::reshape(Value* x, const std::vector<Sym>& sizes) {
  while (made_by(x, "aten.reshape")) x = x->producer->inputs[0];
  if (x->type.sizes == sizes) return x;
  return make("aten.reshape", {{x, {}}}, {{"shape", sym_list(sizes)}}, {x->type.dtype, sizes});
}

Value* Rewriter::permute(Value* x, const std::vector<int64_t>& dims) {
  std::vector<int64_t> order = dims;
  while (made_by(x, "aten.permute")) {
    const std::vector<int64_t> inner = get_ints(x->producer->kwargs, "dims");
    if (inner.size() != order.size()) break;
    const int rank = static_cast<int>(inner.size());
    for (int64_t& d : order) d = wrap_dim(inner[static_cast<size_t>(d)], rank);
    x = x->producer->inputs[0];
  }
  if (std::is_sorted(order.begin(), order.end())) return x;
  std::vector<Sym> sizes;
  AttrList list;
  for (int64_t d : order) {
    sizes.push_back(x->type.sizes[static_cast<size_t>(d)]);
    list.push_back(Sym(d));
  }
  return make("aten.permute", {{x, {}}}, {{"dims", list}}, {x->type.dtype, sizes});
}

Value* Rewriter::expand(Value* x, const std::vector<Sym>& sizes) {
  while (made_by(x, "aten.expand")) x = x->producer->inputs[0];
  if (x->type.sizes == sizes) return x;
  return make("aten.expand", {{x, {}}}, {{"size", sym_list(sizes)}, {"implicit", false}}, {x->type.dtype, sizes});
}

Value* Rewriter::slice(Value* x, int64_t dim, const Sym& start, const Sym& length, int64_t step) {
  if (step == 1 && x->type.sizes[static_cast<size_t>(dim)] == length) return x;
  Sym first = start;
  while (made_by(x, "aten.slice.Tensor") && get_int(x->producer->kwargs, "dim", 0) == dim &&
         get_int(x->producer->kwargs, "step", 1) == 1 && find(x->producer->kwargs, "start") &&
         find(x->producer->kwargs, "start")->is<Sym>()) {
    const Sym outer = get_sym(x->producer->kwargs, "start", 0);
    if (outer.range(graph_.symbols).lo < 0) break;  // not canonical: left alone
    first = first + outer;
    x = x->producer->inputs[0];
  }
  std::vector<Sym> sizes = x->type.sizes;
  const Sym whole = sizes[static_cast<size_t>(dim)];
  sizes[static_cast<size_t>(dim)] = length;
  // Past the last element taken, but never past the dimension: step > 1 may stop short of start + step * length.
  const Sym end = step == 1 || length == Sym(0) ? first + length : first + (length - Sym(1)) * Sym(step) + Sym(1);
  return make("aten.slice.Tensor", {{x, {}}}, {{"dim", dim}, {"start", first}, {"end", end}, {"step", step}},
              {x->type.dtype, sizes});
}

Value* Rewriter::select(Value* x, int64_t dim, const Sym& index) {
  std::vector<Sym> sizes = x->type.sizes;
  sizes.erase(sizes.begin() + dim);
  return make("aten.select.int", {{x, {}}}, {{"dim", dim}, {"index", index}}, {x->type.dtype, sizes});
}

Value* Rewriter::cast(Value* x, DType dtype) {
  if (x->type.dtype == dtype) return x;
  return make("aten._to_copy", {{x, {}}}, {{"dtype", dtype}}, {dtype, x->type.sizes});
}

Value* Rewriter::full(const TensorType& type, Attr fill) {
  if (type.dtype == DType::boolean && fill.is<Sym>() && fill.as<Sym>().is_const()) fill = fill.as<Sym>().value() != 0;
  if (is_float(type.dtype) && fill.is<Sym>() && fill.as<Sym>().is_const())
    fill = static_cast<double>(fill.as<Sym>().value());
  if (type.dtype != DType::boolean && fill.is<bool>())
    fill = is_float(type.dtype) ? Attr(fill.as<bool>() ? 1.0 : 0.0) : Attr(int64_t{fill.as<bool>()});
  return make("aten.full", {}, {{"size", sym_list(type.sizes)}, {"fill_value", fill}, {"dtype", type.dtype}}, type);
}

void Rewriter::replace(Value* old, Value* by) {
  graph_.replace_uses(old, by);
  const bool numbered = by->name.find_first_not_of("0123456789") == std::string::npos;
  if (numbered || std::find(made_.begin(), made_.end(), by) != made_.end()) graph_.take_name(by, old);
}

void Rewriter::replace_node(Value* by) {
  replace(at_->out(), by);
  graph_.erase(at_);
}

void hoist(Graph& graph, Value* value, Node* before) {
  std::vector<Node*> todo{value->producer};
  std::set<Node*> late;
  while (!todo.empty()) {
    Node* node = todo.back();
    todo.pop_back();
    if (!node || graph.precedes(node, before) || !late.insert(node).second) continue;
    for (Value* input : node->inputs) todo.push_back(input->producer);
  }
  if (late.empty()) return;
  for (Node* node : graph.nodes())
    if (late.count(node)) graph.move_before(node, before);
}

}  // namespace kpt

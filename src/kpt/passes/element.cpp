// SPDX-License-Identifier: Apache-2.0
#include "kpt/passes/element.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kpt {

Condition negation(const Condition& c) {
  Condition n = c;
  n.inverted = !c.inverted;
  if (n.all.size() != 1 || !n.inverted) return n;
  Atom& atom = n.all[0];  // a single atom is turned round itself, so that it joins others
  n.inverted = false;
  if (atom.value)
    atom.negated = !atom.negated;
  else
    atom.difference = Sym(-1) - atom.difference;
  return n;
}

std::optional<Condition> both(const Condition& a, const Condition& b) {
  if (a.never() || b.always() || a == b) return a;
  if (b.never() || a.always()) return b;
  if (a.inverted || b.inverted) return std::nullopt;
  Condition c = a;
  for (const Atom& atom : b.all)
    if (std::find(c.all.begin(), c.all.end(), atom) == c.all.end()) c.all.push_back(atom);
  return c;
}

namespace {

std::optional<Condition> either(const Condition& a, const Condition& b) {
  const std::optional<Condition> neither = both(negation(a), negation(b));
  return neither ? std::optional<Condition>(negation(*neither)) : std::nullopt;
}

Choice constant(double v) { return {{}, v, v}; }
bool is_constant(const Choice& c) { return c.when.all.empty(); }
double value_of(const Choice& c) { return c.when.inverted ? c.no : c.yes; }

// A number known in one or two values; integers over positions and unknowns are none.
std::optional<Choice> as_choice(const Element& e) {
  if (const Choice* c = std::get_if<Choice>(&e)) return *c;
  if (const Condition* c = std::get_if<Condition>(&e)) return Choice{*c, 1, 0};
  if (const Sym* s = std::get_if<Sym>(&e); s && s->is_const()) return constant(static_cast<double>(s->value()));
  return std::nullopt;
}

std::optional<Condition> as_condition(const Element& e) {
  if (const Condition* c = std::get_if<Condition>(&e)) return *c;
  const std::optional<Choice> c = as_choice(e);
  if (!c) return std::nullopt;
  const bool yes = c->yes != 0, no = c->no != 0;
  if (is_constant(*c)) return Condition{{}, value_of(*c) == 0};
  if (yes == no) return Condition{{}, !yes};
  return yes ? c->when : negation(c->when);
}

// `a` where the condition holds, else `b`; both known numbers.
Element choose(const Condition& when, const Choice& a, const Choice& b) {
  if (when.always()) return a;
  if (when.never()) return b;
  if (is_constant(a) && is_constant(b)) return Choice{when, value_of(a), value_of(b)};
  if (is_constant(b)) {  // when ? (p ? y : n) : n  =  (when and p) ? y : n, and so for the other three
    const double rest = value_of(b);
    if (a.no == rest)
      if (auto c = both(when, a.when)) return Choice{*c, a.yes, rest};
    if (a.yes == rest)
      if (auto c = both(when, negation(a.when))) return Choice{*c, a.no, rest};
    return {};
  }
  if (is_constant(a)) return choose(negation(when), b, a);
  return {};
}

template <class F>
Element combine(const Choice& a, const Choice& b, F f) {
  if (is_constant(a) && is_constant(b)) return constant(f(value_of(a), value_of(b)));
  if (is_constant(b)) return Choice{a.when, f(a.yes, value_of(b)), f(a.no, value_of(b))};
  if (is_constant(a)) return Choice{b.when, f(value_of(a), b.yes), f(value_of(a), b.no)};
  // Two masks: where one absorbs (0 of a product, -inf of a sum), the pair is one mask again.
  const double rest = f(a.no, b.no);
  const auto same = [&](double v) { return v == rest; };
  if (same(f(a.no, b.yes)) && same(f(a.yes, b.no)))
    if (auto c = both(a.when, b.when)) return Choice{*c, f(a.yes, b.yes), rest};
  const double top = f(a.yes, b.yes);
  if (top == f(a.no, b.yes) && top == f(a.yes, b.no))
    if (auto c = either(a.when, b.when)) return Choice{*c, top, rest};
  return {};
}

// The number means in the dtype what it means in double: small integers and fractions, infinities, and bounds like
// finfo.min, which only need to be huge. Other numbers would be rounded, and a comparison could turn out otherwise.
bool held_exactly(double v, DType dtype) {
  if (std::isnan(v)) return false;
  if (dtype == DType::f64 || (dtype == DType::f32 && static_cast<double>(static_cast<float>(v)) == v)) return true;
  const bool small = v == std::trunc(v) && std::abs(v) <= 127;  // exact in every dtype but bool and u8
  if (!is_float(dtype)) return small && (dtype != DType::u8 || v >= 0);
  return small || std::abs(v) >= 1e4;
}

std::string_view stem(const Node& node) {
  const std::string_view name =
      std::string_view(node.op).substr(std::min<size_t>(node.op.find('.') + 1, node.op.size()));
  return name.substr(0, name.find('.'));
}

Element literal(const Attr& a) {
  if (a.is<bool>()) return Condition{{}, !a.as<bool>()};
  if (a.is<Sym>()) return a.as<Sym>();
  if (a.is<double>()) return constant(a.as<double>());
  return {};
}

Attr named(const Node& node, std::string_view name) {
  const Attr* a = find(node.kwargs, name);
  return a ? *a : Attr(None{});
}

}  // namespace

ElementEvaluator::ElementEvaluator(const Graph& graph) : graph_(graph), decls_(graph.symbols) {}

Sym ElementEvaluator::position(const std::string& hint, const Sym& size) {
  if (size == Sym(1)) return 0;
  std::string name = hint;
  const auto taken = [&](const SymbolDecl& d) { return d.name == name; };
  while (std::any_of(decls_.begin(), decls_.end(), taken)) name += "_";
  const int64_t hi = size.range(graph_.symbols).hi;
  decls_.push_back({name, 0, hi == INT64_MAX ? hi : std::max<int64_t>(hi - 1, 0), 0});
  last_.emplace(name, size - Sym(1));
  return Sym::symbol(name);
}

std::vector<Sym> ElementEvaluator::positions(const std::vector<Sym>& sizes) {
  std::vector<Sym> where;
  for (size_t d = 0; d < sizes.size(); ++d) where.push_back(position(cat("d", d), sizes[d]));
  return where;
}

bool ElementEvaluator::never_negative(const Sym& e) const {
  if (e.range(decls_).lo >= 0) return true;
  for (const std::string& name : e.symbols()) {
    const auto last = last_.find(name);
    if (last == last_.end()) continue;
    // Linear in this position: the least value is at one of the two ends.
    const Sym next = e.substitute({{name, Sym::symbol(name) + Sym(1)}}) - e;
    const std::vector<std::string> in = next.symbols();
    if (std::find(in.begin(), in.end(), name) != in.end()) return false;
    return never_negative(e.substitute({{name, Sym(0)}})) && never_negative(e.substitute({{name, last->second}}));
  }
  return false;
}

Condition ElementEvaluator::order(const Sym& difference) const {
  if (never_negative(difference)) return {};
  if (never_negative(Sym(-1) - difference)) return {{}, true};
  Atom atom;
  atom.difference = difference;
  return {{atom}, false};
}

Element ElementEvaluator::operand(const Operand& o, const std::vector<Sym>& where) {
  if (!o.value) return literal(o.number);
  const std::vector<Sym>& sizes = o.value->type.sizes;
  if (sizes.size() > where.size()) return {};
  std::vector<Sym> in(where.end() - static_cast<std::ptrdiff_t>(sizes.size()), where.end());
  for (size_t d = 0; d < sizes.size(); ++d)
    if (sizes[d] == Sym(1)) in[d] = 0;
  return at(o.value, in);
}

Element ElementEvaluator::at(Value* value, const std::vector<Sym>& where) {
  Element e;
  ++depth_;
  if (++steps_ <= kMaxSteps && depth_ <= kMaxDepth && value->producer && value->producer->outputs.size() == 1) {
    try {
      e = node_at(value, where);
    } catch (const Error& error) {  // a Sym that overflows, or an argument that is no constant
      if (error.kind() != ErrorKind::bad_input) throw;
      e = {};
    }
  }
  --depth_;
  const DType dtype = value->type.dtype;
  if (const Sym* s = std::get_if<Sym>(&e); s && dtype != DType::i64) {
    // An integer kept in another dtype: a constant stays a number, else wrapping and rounding are not modelled.
    const SymRange range = s->range(decls_);
    if (dtype != DType::i32 || range.lo < INT32_MIN || range.hi > INT32_MAX)
      e = s->is_const() ? Element(constant(static_cast<double>(s->value()))) : Element();
  }
  if (const Choice* c = std::get_if<Choice>(&e); c && !(held_exactly(c->yes, dtype) && held_exactly(c->no, dtype)))
    e = {};
  if (dtype != DType::boolean) return e;
  if (auto c = as_condition(e)) return *c;
  Atom atom;
  atom.value = value;
  atom.at = where;
  return Condition{{atom}, false};
}

Element ElementEvaluator::node_at(Value* value, const std::vector<Sym>& where) {
  const Node& node = *value->producer;
  const std::string_view op = stem(node);
  if (op == "expand" || op == "reshape" || op == "permute" || op == "slice" || op == "select")
    return view_at(node, where);
  if (op == "add" || op == "sub" || op == "mul" || op == "neg") return binary_at(node, where);
  if (op == "bitwise_and" || op == "logical_and" || op == "bitwise_or" || op == "logical_or" || op == "bitwise_not" ||
      op == "logical_not")
    return logic_at(node, where);
  if (op == "eq" || op == "ne" || op == "lt" || op == "le" || op == "gt" || op == "ge") return compare_at(node, where);
  if (node.op == "aten.where.self" || node.op == "aten.masked_fill.Scalar") return where_at(node, where);
  if (node.op == "aten.index.Tensor") return index_at(node, where);
  if (op == "cumsum") return cumsum_at(node, where);
  if (op == "diff") return diff_at(node, where);
  if (op == "tril" || op == "triu") return triangle_at(node, where);
  if (node.op == "aten.full") return literal(named(node, "fill_value"));
  if (node.op == "aten.arange.start_step") {
    const Attr *start = find(node.kwargs, "start"), *step = find(node.kwargs, "step");
    if (!start || !step || !start->is<Sym>() || !step->is<Sym>()) return {};
    return start->as<Sym>() + step->as<Sym>() * where[0];
  }
  if (node.op == "kpt.constant") {
    const Attr value = named(node, "value");
    if (!value.is<AttrList>()) return {};
    const AttrList& list = value.as<AttrList>();
    const bool uniform =
        !list.empty() && std::all_of(list.begin(), list.end(), [&](const Attr& a) { return a == list[0]; });
    return uniform ? literal(list[0]) : Element();
  }
  if (node.op == "aten._to_copy") {
    const Element e = operand(operand_at(node, 0), where);
    if (value->type.dtype == DType::boolean || std::holds_alternative<Sym>(e)) return e;
    auto c = as_choice(e);
    if (!c) return {};
    const double top = value->type.dtype == DType::f16 ? 65504 : std::numeric_limits<double>::infinity();
    for (double* v : {&c->yes, &c->no})
      if (std::abs(*v) > top) *v = std::copysign(std::numeric_limits<double>::infinity(), *v);
    return *c;
  }
  return {};
}

Element ElementEvaluator::view_at(const Node& node, const std::vector<Sym>& where) {
  Value* x = node.inputs[0];
  const std::vector<Sym>& sizes = x->type.sizes;
  if (node.op == "aten.expand") return operand({x, {}}, where);
  std::vector<Sym> in(sizes.size(), Sym(0));
  if (node.op == "aten.permute") {
    const std::vector<int64_t> dims = get_ints(node.kwargs, "dims");
    const int rank = static_cast<int>(dims.size());
    for (size_t d = 0; d < dims.size(); ++d) in[static_cast<size_t>(wrap_dim(dims[d], rank))] = where[d];
    return at(x, in);
  }
  if (node.op == "aten.reshape") {  // sizes of 1 come and go; anything else mixes positions
    const std::vector<Sym>& out = node.out()->type.sizes;
    size_t from = 0;
    for (size_t d = 0; d < sizes.size(); ++d) {
      if (sizes[d] == Sym(1)) continue;
      while (from < out.size() && out[from] == Sym(1)) ++from;
      if (from == out.size() || out[from] != sizes[d]) return {};
      in[d] = where[from++];
    }
    return at(x, in);
  }
  const size_t dim = static_cast<size_t>(wrap_dim(get_int(node.kwargs, "dim", 0), static_cast<int>(sizes.size())));
  if (node.op == "aten.select.int") {
    if (get_sym(node.kwargs, "index", 0).range(graph_.symbols).lo < 0) return {};
    in.assign(where.begin(), where.end());
    in.insert(in.begin() + static_cast<std::ptrdiff_t>(dim), get_sym(node.kwargs, "index", 0));
    return at(x, in);
  }
  in = where;
  const Attr* start = find(node.kwargs, "start");
  if (!start || !start->is<Sym>() || start->as<Sym>().range(graph_.symbols).lo < 0) return {};
  in[dim] = start->as<Sym>() + Sym(get_int(node.kwargs, "step", 1)) * where[dim];
  return at(x, in);
}

Element ElementEvaluator::binary_at(const Node& node, const std::vector<Sym>& where) {
  const std::string_view op = stem(node);
  const Element a = op == "neg" ? Element(Sym(0)) : operand(operand_at(node, 0), where);
  const Element b = operand(operand_at(node, op == "neg" ? 0 : 1), where);
  if (!node.kwargs.empty()) return {};
  const Sym *x = std::get_if<Sym>(&a), *y = std::get_if<Sym>(&b);
  if (x && y) return op == "add" ? *x + *y : op == "mul" ? *x * *y : *x - *y;
  const auto c = as_choice(a), d = as_choice(b);
  if (!c || !d) return {};
  if (op == "add") return combine(*c, *d, [](double p, double q) { return p + q; });
  if (op == "mul") return combine(*c, *d, [](double p, double q) { return p * q; });
  return combine(*c, *d, [](double p, double q) { return p - q; });
}

Element ElementEvaluator::logic_at(const Node& node, const std::vector<Sym>& where) {
  if (node.out()->type.dtype != DType::boolean) return {};
  const std::string_view op = stem(node);
  const auto a = as_condition(operand(operand_at(node, 0), where));
  if (!a) return {};
  if (op == "bitwise_not" || op == "logical_not") return negation(*a);
  const auto b = as_condition(operand(operand_at(node, 1), where));
  if (!b) return {};
  const auto c = op == "bitwise_and" || op == "logical_and" ? both(*a, *b) : either(*a, *b);
  return c ? Element(*c) : Element();
}

Element ElementEvaluator::compare_at(const Node& node, const std::vector<Sym>& where) {
  const std::string_view op = stem(node);
  const Element a = operand(operand_at(node, 0), where), b = operand(operand_at(node, 1), where);
  const Sym *x = std::get_if<Sym>(&a), *y = std::get_if<Sym>(&b);
  if (x && y) {
    if (op == "ge") return order(*x - *y);
    if (op == "le") return order(*y - *x);
    if (op == "gt") return order(*x - *y - Sym(1));
    if (op == "lt") return order(*y - *x - Sym(1));
    const Sym d = *x - *y;
    if (d == Sym(0)) return Condition{{}, op == "ne"};
    if (never_negative(d - Sym(1)) || never_negative(Sym(-1) - d)) return Condition{{}, op == "eq"};
    return {};
  }
  const auto c = as_choice(a), d = as_choice(b);
  if (!c || !d) return {};
  return combine(*c, *d, [&](double p, double q) -> double {
    return op == "ge"   ? p >= q
           : op == "le" ? p <= q
           : op == "gt" ? p > q
           : op == "lt" ? p < q
           : op == "eq" ? p == q
                        : p != q;
  });
}

Element ElementEvaluator::where_at(const Node& node, const std::vector<Sym>& where) {
  const bool fill = node.op == "aten.masked_fill.Scalar";
  const auto when = as_condition(operand(operand_at(node, fill ? 1 : 0), where));
  if (!when) return {};
  const Element a = fill ? literal(named(node, "value")) : operand(operand_at(node, 1), where);
  const Element b = operand(operand_at(node, fill ? 0 : 2), where);
  if (when->always()) return a;
  if (when->never()) return b;
  const auto c = as_choice(a), d = as_choice(b);
  return c && d ? choose(*when, *c, *d) : Element();
}

// x[i0, i1, ..] with index tensors for the leading dimensions.
Element ElementEvaluator::index_at(const Node& node, const std::vector<Sym>& where) {
  const std::vector<Value*> index = operand_list(node, 1);
  Value* x = node.inputs[0];
  size_t rank = 0;
  for (Value* i : index) {
    if (!i || i->type.dtype == DType::boolean) return {};
    rank = std::max(rank, i->type.sizes.size());
  }
  if (index.empty() || rank > where.size()) return {};
  const std::vector<Sym> outer(where.begin(), where.begin() + static_cast<std::ptrdiff_t>(rank));
  std::vector<Sym> in;
  for (Value* i : index) {
    const Element e = operand({i, {}}, outer);
    const Sym* s = std::get_if<Sym>(&e);
    if (!s || !never_negative(*s)) return {};  // a negative index counts from the end
    in.push_back(*s);
  }
  in.insert(in.end(), where.begin() + static_cast<std::ptrdiff_t>(rank), where.end());
  return in.size() == x->type.sizes.size() ? at(x, in) : Element();
}

Element ElementEvaluator::cumsum_at(const Node& node, const std::vector<Sym>& where) {
  if (where.empty()) return {};
  const size_t dim = static_cast<size_t>(wrap_dim(get_int(node.kwargs, "dim", 0), static_cast<int>(where.size())));
  std::vector<Sym> in = where;
  in[dim] = position("sum", node.out()->type.sizes[dim]);
  const auto c = as_choice(operand({node.inputs[0], {}}, in));
  if (!c || !is_constant(*c) || value_of(*c) != std::trunc(value_of(*c)) || std::abs(value_of(*c)) > 1e6) return {};
  return Sym(static_cast<int64_t>(value_of(*c))) * (where[dim] + Sym(1));
}

// x[t] - x[t-1], and x[0] - prepend in front.
Element ElementEvaluator::diff_at(const Node& node, const std::vector<Sym>& where) {
  Value *x = node.inputs[0], *prepend = operand_at(node, 1).value;
  if (!prepend || operand_at(node, 2).value || get_int(node.kwargs, "n", 1) != 1 || where.empty()) return {};
  const size_t dim = static_cast<size_t>(wrap_dim(get_int(node.kwargs, "dim", -1), static_cast<int>(where.size())));
  if (prepend->type.sizes[dim] != Sym(1)) return {};
  const auto integer = [&](Value* v, const Sym& t) -> std::optional<Sym> {
    std::vector<Sym> in = where;
    in[dim] = t;
    const Element e = at(v, in);
    return std::holds_alternative<Sym>(e) ? std::optional<Sym>(std::get<Sym>(e)) : std::nullopt;
  };
  const auto now = integer(x, where[dim]), before = integer(x, where[dim] - Sym(1));
  const auto first = integer(x, 0), front = integer(prepend, 0);
  if (!now || !before || !first || !front) return {};
  const Sym inside = *now - *before;
  return inside == *first - *front ? Element(inside) : Element();
}

Element ElementEvaluator::triangle_at(const Node& node, const std::vector<Sym>& where) {
  if (where.size() < 2) return {};
  const Sym row = where[where.size() - 2], column = where.back(), k = get_sym(node.kwargs, "diagonal", 0);
  const Condition kept = stem(node) == "tril" ? order(row + k - column) : order(column - row - k);
  const Element e = operand({node.inputs[0], {}}, where);
  if (kept.always()) return e;
  if (node.out()->type.dtype == DType::boolean) {
    const auto c = as_condition(e);
    const auto all = c ? both(*c, kept) : std::nullopt;
    return all ? Element(*all) : Element();
  }
  const auto c = as_choice(e);
  return c ? choose(kept, *c, constant(0)) : Element();
}

}  // namespace kpt

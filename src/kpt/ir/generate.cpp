// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/generate.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "kpt/ir/generator.h"

namespace kpt {

namespace {

constexpr int kMaxGeneratedRank = 5;
constexpr double kMaxElements = 65536;
constexpr double kMaxMagnitude = 1e4;

std::string op(const char* name) { return cat("aten.", name); }

}  // namespace

double Generator::Known::magnitude() const { return std::max(std::fabs(lo), std::fabs(hi)); }

uint64_t Generator::next() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

double Generator::count(const std::vector<Sym>& sizes) const {
  double n = 1;
  for (const Sym& s : sizes) n *= static_cast<double>(s.range(graph_.symbols).hi);
  return n;
}

bool Generator::small(const std::vector<Sym>& sizes) const {
  return sizes.size() <= static_cast<size_t>(kMaxGeneratedRank) && count(sizes) <= kMaxElements;
}

bool Generator::emit(NodeSpec spec, DType dtype, std::vector<Sym> sizes, double lo, double hi, bool exact) {
  if (!small(sizes) || std::max(std::fabs(lo), std::fabs(hi)) > kMaxMagnitude) return false;
  spec.type(dtype, std::move(sizes));
  spec.loc.scope = cat("block.", below(3));
  if (chance(30)) spec.loc.stack = cat("model.py:", 10 + below(90), " forward");
  if (chance(30)) spec.names = {spec.op.substr(spec.op.find('.') + 1)};
  Value* v = graph_.add_node(std::move(spec))->out();
  auto& pool = dtype == DType::boolean ? masks_ : floats_;
  pool.push_back({v, lo, hi, exact});
  return true;
}

Generator::Known Generator::pick() {
  // Mostly a young value, so that chains grow long.
  const int n = static_cast<int>(floats_.size());
  const int i = chance(60) ? n - 1 - below(std::min(n, 4)) : below(n);
  return floats_[static_cast<size_t>(i)];
}

Generator::Known Generator::tame() {
  const Known x = pick();
  if (x.magnitude() <= 8) return x;
  emit(NodeSpec{.op = op("tanh")}.tensor(x.value), DType::f32, x.sizes(), -1, 1);
  return floats_.back();
}

Generator::Known Generator::weight(std::vector<Sym> sizes) {
  const std::string name = cat("w", graph_.weights().size());
  return {graph_.add_weight(name, cat("layer.", name), {DType::f32, std::move(sizes)}), -1, 1, true};
}

std::optional<std::vector<Sym>> Generator::broadcast(const std::vector<Sym>& a, const std::vector<Sym>& b) const {
  std::vector<Sym> out = a.size() >= b.size() ? a : b;
  const std::vector<Sym>& other = a.size() >= b.size() ? b : a;
  for (size_t back = 1; back <= other.size(); ++back) {
    Sym& size = out[out.size() - back];
    const Sym& with = other[other.size() - back];
    if (size == with || with == Sym(1)) continue;
    if (size != Sym(1)) return std::nullopt;
    size = with;
  }
  return out;
}

void Generator::make_inputs() {
  if (options_.symbolic) {
    graph_.symbols = {{"b", 1, 4, 1 + below(4)}, {"s", 1, 12, 1 + below(12)}};
    batch_ = Sym::symbol("b");
    length_ = Sym::symbol("s");
  }
  width_ = 4 * (1 + below(3));
  const std::vector<std::vector<Sym>> shapes = {
      {batch_, length_, width_}, {batch_, 1, width_}, {length_, width_}, {batch_, 2, length_, 4}, {width_}, {}};
  const auto input = [&](const char* name, DType dtype, const std::vector<Sym>& sizes) {
    return graph_.add_input(name, {dtype, sizes});
  };
  floats_.push_back({input("x", DType::f32, shapes[0]), -1, 1, true});
  for (size_t i = 1; i < shapes.size(); ++i)
    if (chance(40)) floats_.push_back({input(cat("x", i).c_str(), DType::f32, shapes[i]), -1, 1, true});
  masks_.push_back({input("mask", DType::boolean, {batch_, length_, 1}), 0, 1, true});
  ids_.push_back(input("ids", DType::i64, {batch_, length_}));
  floats_.push_back(weight({width_}));
  floats_.push_back(weight({length_.is_const() ? length_ : Sym(1), width_}));
}

void Generator::unary() {
  const Known x = tame();
  struct Choice {
    const char* name;
    double lo, hi, needs_lo, needs_hi;  // result range; operand range it asks for
  };
  const double a = x.lo, b = x.hi, m = x.magnitude();
  const Choice choices[] = {
      {"tanh", -1, 1, -8, 8},
      {"sigmoid", 0, 1, -8, 8},
      {"relu", std::max(a, 0.0), std::max(b, 0.0), -8, 8},
      {"neg", -b, -a, -8, 8},
      {"abs", a > 0 ? a : 0, m, -8, 8},
      {"silu", -0.3, m, -8, 8},
      {"erf", -1, 1, -8, 8},
      {"sin", -1, 1, -8, 8},
      {"cos", -1, 1, -8, 8},
      {"exp", 0, std::exp(std::min(b, 3.0)), -8, 3},
      {"gelu", -0.2, m, -8, 8},
      {"leaky_relu", -m, m, -8, 8},
      {"clamp", std::clamp(a, -0.5, 2.0), std::clamp(b, -0.5, 2.0), -8, 8},
      {"sqrt", 0, 3, 0.25, 8},
      {"rsqrt", 0, 2, 0.25, 8},
      {"reciprocal", 0.1, 4, 0.25, 8},
      {"log", -1.5, 3, 0.25, 8},
      {"pow.Tensor_Scalar", 0, m * m, -8, 8},
  };
  const Choice& c = choices[below(static_cast<int>(std::size(choices)))];
  NodeSpec spec{.op = op(c.name)};
  Known from = x;
  if (c.needs_lo > 0 && x.lo < c.needs_lo) {  // |x| + 0.5 is positive
    emit(NodeSpec{.op = op("abs")}.tensor(x.value), DType::f32, x.sizes(), 0, m);
    emit(NodeSpec{.op = op("add.Tensor")}.tensor(floats_.back().value).arg(0.5), DType::f32, x.sizes(), 0.5, m + 0.5);
    from = floats_.back();
  } else if (x.hi > c.needs_hi) {
    return;
  }
  spec.tensor(from.value);
  const std::string name = c.name;
  if (name == "gelu") spec.kw("approximate", chance(50) ? "none" : "tanh");
  if (name == "leaky_relu") spec.kw("negative_slope", 0.01);
  if (name == "clamp") spec.kw("min", -0.5).kw("max", 2.0);
  if (name == "pow.Tensor_Scalar") spec.kw("exponent", 2);
  emit(std::move(spec), DType::f32, x.sizes(), c.lo, c.hi);
}

void Generator::binary() {
  const Known x = tame();
  Known y = tame();
  auto sizes = broadcast(x.sizes(), y.sizes());
  for (int tries = 0; !sizes && tries < 8; ++tries) {
    y = tame();
    sizes = broadcast(x.sizes(), y.sizes());
  }
  if (!sizes) {  // a fresh weight always fits
    y = weight({x.rank() && x.sizes().back().is_const() ? x.sizes().back() : Sym(1)});
    sizes = broadcast(x.sizes(), y.sizes());
  }
  const double m = x.magnitude(), n = y.magnitude();
  const auto add = [&](const char* name, double lo, double hi) {
    emit(NodeSpec{.op = op(name)}.tensor(x.value).tensor(y.value), DType::f32, *sizes, lo, hi);
  };
  switch (below(6)) {
    case 0: return add("add.Tensor", x.lo + y.lo, x.hi + y.hi);
    case 1: return add("sub.Tensor", x.lo - y.hi, x.hi - y.lo);
    case 2: return add("mul.Tensor", x.lo >= 0 && y.lo >= 0 ? 0 : -m * n, m * n);
    case 3: return add("maximum", std::max(x.lo, y.lo), std::max(x.hi, y.hi));
    case 4: return add("minimum", std::min(x.lo, y.lo), std::min(x.hi, y.hi));
    default:
      if (y.lo < 0.25) return add("mul.Tensor", -m * n, m * n);
      return add("div.Tensor", -m / y.lo, m / y.lo);
  }
}

void Generator::with_number() {
  const Known x = tame();
  const double numbers[] = {0.5, 2.0, 0.125, -1.5, 3.0};
  const double k = numbers[below(5)];
  const double m = x.magnitude();
  switch (below(5)) {
    case 0:
      emit(NodeSpec{.op = op("add.Tensor")}.tensor(x.value).arg(k), DType::f32, x.sizes(), x.lo + k, x.hi + k);
      return;
    case 1: emit(NodeSpec{.op = op("mul.Tensor")}.tensor(x.value).arg(k), DType::f32, x.sizes(), -4 * m, 4 * m); return;
    case 2:  // an integer written as one, and the number first: 1 - x
      emit(NodeSpec{.op = op("sub.Tensor")}.arg(1).tensor(x.value), DType::f32, x.sizes(), 1 - x.hi, 1 - x.lo);
      return;
    case 3:
      emit(NodeSpec{.op = op("div.Tensor")}.tensor(x.value).arg(4.0), DType::f32, x.sizes(), x.lo / 4, x.hi / 4);
      return;
    default: emit(NodeSpec{.op = op("mul.Tensor")}.tensor(x.value).arg(2), DType::f32, x.sizes(), x.lo * 2, x.hi * 2);
  }
}

void Generator::masked() {
  const Known m = masks_[static_cast<size_t>(below(static_cast<int>(masks_.size())))];
  const Known x = tame();
  const auto sizes = broadcast(m.sizes(), x.sizes());
  if (chance(20)) {
    emit(NodeSpec{.op = op("_to_copy")}.tensor(m.value).kw("dtype", DType::f32), DType::f32, m.sizes(), 0, 1, true);
  } else if (sizes && *sizes == x.sizes() && chance(50)) {
    NodeSpec spec{.op = op("masked_fill.Scalar")};
    spec.tensor(x.value).tensor(m.value).kw("value", -2.0);
    emit(std::move(spec), DType::f32, *sizes, std::min(x.lo, -2.0), std::max(x.hi, -2.0));
  } else if (sizes) {
    NodeSpec spec{.op = op("where.self")};
    spec.tensor(m.value).tensor(x.value).arg(0.25);
    emit(std::move(spec), DType::f32, *sizes, std::min(x.lo, 0.25), std::max(x.hi, 0.25));
  }
}

void Generator::compare() {
  // Only exact values: rounding must not decide which way a comparison falls.
  const Known x = pick();
  const char* names[] = {"gt.Tensor", "le.Tensor", "lt.Tensor", "ge.Tensor"};
  if (x.exact) {
    emit(NodeSpec{.op = op(names[below(4)])}.tensor(x.value).arg(0.25), DType::boolean, x.sizes(), 0, 1, true);
    return;
  }
  const Known a = masks_[static_cast<size_t>(below(static_cast<int>(masks_.size())))];
  emit(NodeSpec{.op = op("logical_not")}.tensor(a.value), DType::boolean, a.sizes(), 0, 1, true);
}

void Generator::constant() {
  AttrList numbers;
  for (int i = 0; i < width_; ++i) numbers.emplace_back(0.25 * (below(9) - 4));
  NodeSpec spec{.op = "kpt.constant"};
  spec.kw("value", std::move(numbers)).kw("dtype", DType::f32);
  emit(std::move(spec), DType::f32, {width_}, -1, 1, true);
}

void Generator::step() {
  using Method = void (Generator::*)();
  std::vector<Method> methods = {&Generator::unary,   &Generator::unary,       &Generator::binary,
                                 &Generator::binary,  &Generator::with_number, &Generator::masked,
                                 &Generator::compare, &Generator::constant};
  const auto add = [&](bool on, std::initializer_list<Method> more) {
    if (on) methods.insert(methods.end(), more);
  };
  add(options_.views, {&Generator::reshape, &Generator::permute, &Generator::expand, &Generator::slice,
                       &Generator::select, &Generator::cat_values});
  add(options_.reductions, {&Generator::reduce, &Generator::reduce, &Generator::softmax});
  add(options_.norms, {&Generator::norm});
  add(options_.matmuls,
      {&Generator::linear, &Generator::linear, &Generator::matmul, &Generator::addmm, &Generator::embedding});
  (this->*methods[static_cast<size_t>(below(static_cast<int>(methods.size())))])();
}

void Generator::choose_outputs() {
  std::vector<Value*> outputs;
  const int wanted = 1 + below(3);
  for (size_t i = floats_.size(); i-- > 0 && static_cast<int>(outputs.size()) < wanted;) {
    Value* v = floats_[i].value;
    if (v->kind == Value::Kind::node && v->users.empty()) outputs.push_back(v);
  }
  if (outputs.empty()) outputs.push_back(floats_.back().value);
  // Rare but legal: an input handed back, the same value twice, a value that is used inside as well.
  if (chance(5)) outputs.push_back(graph_.inputs().front());
  if (chance(5)) outputs.push_back(outputs.front());
  if (chance(10)) outputs.push_back(pick().value);
  graph_.set_outputs(std::move(outputs));
}

Graph Generator::run() {
  make_inputs();
  for (int tries = 0; tries < 20 * options_.nodes && static_cast<int>(graph_.size()) < options_.nodes; ++tries) step();
  choose_outputs();
  return std::move(graph_);
}

Graph generate_graph(uint64_t seed, const GenerateOptions& options) { return Generator(seed, options).run(); }

}  // namespace kpt

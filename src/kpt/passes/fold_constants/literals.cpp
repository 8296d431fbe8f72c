// SPDX-License-Identifier: Apache-2.0
// Arithmetic on small literals, in double, rounded to the type of each result.
#include <algorithm>
#include <cmath>

#include "kpt/passes/fold_constants/fold_constants.h"

namespace kpt::folding {
namespace {

constexpr int64_t kMaxElements = 4096;         // as kpt.constant
constexpr double kExact = 9007199254740992.0;  // 2^53: every integer up to here is a double

struct Literal {
  std::vector<int64_t> sizes;
  std::vector<double> values;
};

std::optional<double> number(const Attr& a) {
  if (a.is<bool>()) return a.as<bool>() ? 1.0 : 0.0;
  if (a.is<double>()) return a.as<double>();
  if (a.is<Sym>() && a.as<Sym>().is_const() && std::abs(static_cast<double>(a.as<Sym>().value())) <= kExact)
    return static_cast<double>(a.as<Sym>().value());
  return std::nullopt;
}

std::optional<std::vector<int64_t>> static_sizes(const std::vector<Sym>& sizes) {
  std::vector<int64_t> out;
  int64_t count = 1;
  for (const Sym& s : sizes) {
    if (!s.is_const() || s.value() < 0 || s.value() > kMaxElements || (count *= s.value()) > kMaxElements)
      return std::nullopt;
    out.push_back(s.value());
  }
  return out;
}

bool computable(DType dtype) { return dtype != DType::f16 && dtype != DType::bf16; }

// v as the dtype holds it; none where it does not fit an integer type.
std::optional<double> rounded(double v, DType dtype) {
  switch (dtype) {
    case DType::boolean: return v != 0 ? 1.0 : 0.0;
    case DType::f64: return v;
    case DType::f32: return static_cast<double>(static_cast<float>(v));
    default: break;
  }
  if (is_float(dtype) || !std::isfinite(v)) return std::nullopt;
  const double t = std::trunc(v);
  const int bits = static_cast<int>(8 * size_of(dtype));
  const double lo = dtype == DType::u8 ? 0 : -std::ldexp(1, bits - 1);
  const double hi = dtype == DType::u8 ? 255 : std::ldexp(1, bits - 1) - 1;
  if (t < std::max(lo, -kExact) || t > std::min(hi, kExact)) return std::nullopt;
  return t;
}

std::optional<Literal> literal(const Operand& o) {
  if (!o.value) {
    const auto v = number(o.number);
    return v ? std::optional<Literal>(Literal{{}, {*v}}) : std::nullopt;
  }
  const Node* p = o.value->producer;
  if (!p || !computable(o.value->type.dtype)) return std::nullopt;
  const auto sizes = static_sizes(o.value->type.sizes);
  if (!sizes) return std::nullopt;
  if (p->op == "kpt.constant") {
    Literal out{*sizes, {}};
    const Attr* list = find(p->kwargs, "value");
    if (!list || !list->is<AttrList>()) return std::nullopt;
    for (const Attr& a : list->as<AttrList>()) {
      const auto v = number(a);
      if (!v) return std::nullopt;
      out.values.push_back(*v);
    }
    int64_t count = 1;
    for (int64_t s : *sizes) count *= s;
    return static_cast<int64_t>(out.values.size()) == count ? std::optional<Literal>(out) : std::nullopt;
  }
  if (p->op != "aten.full" || !find(p->kwargs, "fill_value")) return std::nullopt;
  const auto v = number(*find(p->kwargs, "fill_value"));
  if (!v) return std::nullopt;
  int64_t count = 1;
  for (int64_t s : *sizes) count *= s;
  return Literal{*sizes, std::vector<double>(static_cast<size_t>(count), *v)};
}

using Function = double (*)(double, double, double);

Function function_of(std::string_view op) {
  static const std::vector<std::pair<std::string_view, Function>> table{
      {"aten.add.Tensor", [](double a, double b, double) { return a + b; }},
      {"aten.sub.Tensor", [](double a, double b, double) { return a - b; }},
      {"aten.mul.Tensor", [](double a, double b, double) { return a * b; }},
      {"aten.div.Tensor", [](double a, double b, double) { return a / b; }},
      {"aten.neg", [](double a, double, double) { return -a; }},
      {"aten.abs", [](double a, double, double) { return std::abs(a); }},
      {"aten.sqrt", [](double a, double, double) { return std::sqrt(a); }},
      {"aten.eq.Tensor", [](double a, double b, double) { return double(a == b); }},
      {"aten.ne.Tensor", [](double a, double b, double) { return double(a != b); }},
      {"aten.lt.Tensor", [](double a, double b, double) { return double(a < b); }},
      {"aten.le.Tensor", [](double a, double b, double) { return double(a <= b); }},
      {"aten.gt.Tensor", [](double a, double b, double) { return double(a > b); }},
      {"aten.ge.Tensor", [](double a, double b, double) { return double(a >= b); }},
      {"aten.logical_and", [](double a, double b, double) { return double(a != 0 && b != 0); }},
      {"aten.logical_or", [](double a, double b, double) { return double(a != 0 || b != 0); }},
      {"aten.logical_not", [](double a, double, double) { return double(a == 0); }},
      {"aten.where.self", [](double c, double a, double b) { return c != 0 ? a : b; }},
      {"aten._to_copy", [](double a, double, double) { return a; }},
  };
  for (const auto& [name, f] : table)
    if (name == op) return f;
  return nullptr;
}

// The place in `in` (broadcast to `out`) of the element at linear index i of `out`.
size_t source_index(const std::vector<int64_t>& in, const std::vector<int64_t>& out, int64_t i) {
  int64_t index = 0, stride = 1;
  for (size_t d = out.size(), k = in.size(); k-- > 0;) {
    --d;
    const int64_t at = i % out[d];
    i /= out[d];
    if (in[k] != 1) index += at * stride;
    stride *= in[k];
  }
  return static_cast<size_t>(index);
}

Attr as_attr(double v, DType dtype) {
  if (dtype == DType::boolean) return v != 0;
  if (is_float(dtype)) return v;
  return static_cast<int64_t>(v);
}

}  // namespace

std::optional<double> uniform(const Operand& o) {
  if (!o.value) return number(o.number);
  const Value* v = o.value;
  while (v->producer && v->producer->inputs.size() == 1 &&
         (v->producer->op == "aten.reshape" || v->producer->op == "aten.expand" || v->producer->op == "aten.permute" ||
          v->producer->op == "aten.slice.Tensor" || v->producer->op == "aten.select.int"))
    v = v->producer->inputs[0];
  if (!v->producer) return std::nullopt;
  if (v->producer->op == "aten.full") {
    const Attr* fill = find(v->producer->kwargs, "fill_value");
    return fill ? number(*fill) : std::nullopt;
  }
  const Attr* list = v->producer->op == "kpt.constant" ? find(v->producer->kwargs, "value") : nullptr;
  if (!list || !list->is<AttrList>() || list->as<AttrList>().empty()) return std::nullopt;
  const AttrList& values = list->as<AttrList>();
  const bool same = std::all_of(values.begin(), values.end(), [&](const Attr& a) { return a == values[0]; });
  return same ? number(values[0]) : std::nullopt;
}

Value* fold_literals(const Node& node, Rewriter& rw) {
  const Function f = function_of(node.op);
  const TensorType& type = node.out()->type;
  const auto sizes = static_sizes(type.sizes);
  if (!f || !sizes || !computable(type.dtype) || node.args.empty() || node.args.size() > 3) return nullptr;
  if (!node.kwargs.empty() && node.op != "aten._to_copy") return nullptr;
  std::vector<Literal> in(3, Literal{{}, {0}});
  for (size_t i = 0; i < node.args.size(); ++i) {
    const auto l = literal(operand_at(node, static_cast<int>(i)));
    if (!l || l->sizes.size() > sizes->size()) return nullptr;
    in[i] = *l;
  }
  int64_t count = 1;
  for (int64_t s : *sizes) count *= s;
  AttrList values;
  for (int64_t i = 0; i < count; ++i) {
    double a[3];
    for (size_t k = 0; k < 3; ++k) a[k] = in[k].values[source_index(in[k].sizes, *sizes, i)];
    const auto v = rounded(f(a[0], a[1], a[2]), type.dtype);
    if (!v) return nullptr;
    values.push_back(as_attr(*v, type.dtype));
  }
  const bool same =
      !values.empty() && std::all_of(values.begin(), values.end(), [&](const Attr& a) { return a == values[0]; });
  if (same) return rw.full(type, values[0]);
  return rw.make("kpt.constant", {}, {{"value", values}, {"dtype", type.dtype}}, type);
}

}  // namespace kpt::folding

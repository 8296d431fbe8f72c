// SPDX-License-Identifier: Apache-2.0
// Pointwise operators: the forms with a number become the tensor forms, alpha goes away, other names become ours.
#include "kpt/passes/canonicalise/canonicalise.h"

namespace kpt::canonical {
namespace {

const std::map<std::string_view, std::string_view> kAlias{
    {"aten.multiply.Tensor", "aten.mul.Tensor"},
    {"aten.multiply.Scalar", "aten.mul.Scalar"},
    {"aten.subtract.Tensor", "aten.sub.Tensor"},
    {"aten.subtract.Scalar", "aten.sub.Scalar"},
    {"aten.divide.Tensor", "aten.div.Tensor"},
    {"aten.divide.Scalar", "aten.div.Scalar"},
    {"aten.true_divide.Tensor", "aten.div.Tensor"},
    {"aten.true_divide.Scalar", "aten.div.Scalar"},
    {"aten.divide.Tensor_mode", "aten.div.Tensor_mode"},
    {"aten.greater.Tensor", "aten.gt.Tensor"},
    {"aten.greater.Scalar", "aten.gt.Scalar"},
    {"aten.greater_equal.Tensor", "aten.ge.Tensor"},
    {"aten.greater_equal.Scalar", "aten.ge.Scalar"},
    {"aten.less.Tensor", "aten.lt.Tensor"},
    {"aten.less.Scalar", "aten.lt.Scalar"},
    {"aten.less_equal.Tensor", "aten.le.Tensor"},
    {"aten.less_equal.Scalar", "aten.le.Scalar"},
    {"aten.not_equal.Tensor", "aten.ne.Tensor"},
    {"aten.not_equal.Scalar", "aten.ne.Scalar"},
    {"aten.negative", "aten.neg"},
    {"aten.absolute", "aten.abs"},
    {"aten.arctan2", "aten.atan2"},
    {"aten.clip", "aten.clamp"},
    {"aten.special_expit", "aten.sigmoid"},
    {"aten.special_erf", "aten.erf"},
    {"aten.special_exp2", "aten.exp2"},
    {"aten.special_expm1", "aten.expm1"},
    {"aten.special_log1p", "aten.log1p"},
    {"aten.max.other", "aten.maximum"},
    {"aten.min.other", "aten.minimum"},
    {"aten.clamp_min.Tensor", "aten.maximum"},
    {"aten.clamp_max.Tensor", "aten.minimum"},
    {"aten.__and__.Tensor", "aten.bitwise_and.Tensor"},
    {"aten.__or__.Tensor", "aten.bitwise_or.Tensor"},
    {"aten.__xor__.Tensor", "aten.bitwise_xor.Tensor"},
};

bool rename(Site& s) {
  std::vector<Operand> operands;
  for (size_t i = 0; i < s.node.args.size(); ++i) operands.push_back(s.at(static_cast<int>(i)));
  return s.become(std::string(kAlias.at(s.node.op)), operands, s.node.kwargs);
}

// `%x, other=2` -> `%x, 2` under the name of the tensor form.
bool scalar_form(Site& s) {
  static const std::map<std::string_view, std::string_view> stems{
      {"aten.__and__", "aten.bitwise_and"}, {"aten.__or__", "aten.bitwise_or"}, {"aten.__xor__", "aten.bitwise_xor"}};
  std::string_view stem = std::string_view(s.node.op).substr(0, s.node.op.rfind('.'));
  const auto other = stems.find(stem);
  if (other != stems.end()) stem = other->second;
  const Attr number = s.kw("other");
  if (number.is_none()) return false;
  Kwargs rest;
  for (const auto& [name, value] : s.node.kwargs)
    if (name != "other") rest.emplace_back(name, value);
  return s.become(cat(stem, ".Tensor"), {s.at(0), {nullptr, number}}, rest);
}

std::optional<double> as_number(const Attr& a) {
  if (a.is<double>()) return a.as<double>();
  if (a.is<Sym>() && a.as<Sym>().is_const()) return static_cast<double>(a.as<Sym>().value());
  if (a.is<bool>()) return a.as<bool>() ? 1.0 : 0.0;
  return std::nullopt;
}

// y * alpha, where alpha may be 1; none where alpha is no plain number.
std::optional<Operand> scaled(Site& s, const Operand& y) {
  const Attr alpha = s.kw("alpha");
  if (alpha.is_none() || as_number(alpha) == 1.0) return y;
  if (y.value) return Operand{s.rw.make("aten.mul.Tensor", {y, {nullptr, alpha}}, {}, y.value->type), {}};
  if (y.number.is<Sym>() && alpha.is<Sym>()) return Operand{nullptr, y.number.as<Sym>() * alpha.as<Sym>()};
  const std::optional<double> a = as_number(alpha), b = as_number(y.number);
  if (!a || !b) return std::nullopt;
  return Operand{nullptr, *a * *b};
}

bool add_or_sub(Site& s) {
  const std::string op = s.node.op.substr(0, 8) == "aten.add" ? "aten.add.Tensor" : "aten.sub.Tensor";
  const Operand other = s.node.args.size() > 1 ? s.at(1) : Operand{nullptr, s.kw("other")};
  if (other.absent()) return false;
  if (s.node.op == op && s.node.kwargs.empty()) return false;
  const std::optional<Operand> y = scaled(s, other);
  return y && s.become(op, {s.at(0), *y}, {});
}

// rsub(x, y) = y - alpha * x
bool rsub(Site& s) {
  const Operand other = s.node.args.size() > 1 ? s.at(1) : Operand{nullptr, s.kw("other")};
  const std::optional<Operand> x = scaled(s, s.at(0));
  return x && !other.absent() && s.become("aten.sub.Tensor", {other, *x}, {});
}

bool div_mode(Site& s) {
  const Operand other = s.node.args.size() > 1 ? s.at(1) : Operand{nullptr, s.kw("other")};
  const bool floors = s.node.op.substr(0, 17) == "aten.floor_divide";
  const Attr mode = floors ? Attr("floor") : s.kw("rounding_mode");
  if (mode.is_none()) return s.become("aten.div.Tensor", {s.at(0), other}, {});
  return s.become("aten.div.Tensor_mode", {s.at(0), other}, {{"rounding_mode", mode}});
}

bool where(Site& s) {
  const auto side = [&](int place, std::string_view name) {
    const Attr number = s.kw(name);
    return number.is_none() ? s.at(place) : Operand{nullptr, number};
  };
  const bool self_named = !s.kw("self").is_none();
  return s.become("aten.where.self", {s.at(0), side(1, "self"), side(self_named ? 1 : 2, "other")}, {});
}

bool masked_fill(Site& s) {
  const Operand value = s.at(2);
  if (!value.value || value.value->type.dtype != s.out().dtype) return false;
  return s.become("aten.where.self", {s.at(1), value, s.at(0)}, {});
}

bool square(Site& s) { return s.become("aten.mul.Tensor", {s.at(0), s.at(0)}, {}); }

// x + value * (a op b)
bool addc(Site& s) {
  const Operand a = s.at(1), b = s.at(2);
  if (!a.value || !b.value || a.value->type.dtype != s.out().dtype || b.value->type.dtype != s.out().dtype)
    return false;
  const auto sizes = broadcast(a.value->type.sizes, b.value->type.sizes);
  if (!sizes) return false;
  const TensorType type{s.out().dtype, *sizes};
  Value* v = s.rw.make(s.node.op == "aten.addcmul" ? "aten.mul.Tensor" : "aten.div.Tensor", {a, b}, {}, type);
  const Attr factor = s.kw("value");
  if (!factor.is_none() && as_number(factor) != 1.0)
    v = s.rw.make("aten.mul.Tensor", {{v, {}}, {nullptr, factor}}, {}, type);
  return s.become("aten.add.Tensor", {s.at(0), {v, {}}}, {});
}

bool clamp(Site& s) {
  const std::string& op = s.node.op;
  const Attr low = op == "aten.clamp_max" ? Attr(None{}) : s.kw("min");
  const Attr high = op == "aten.clamp_min" ? Attr(None{}) : s.kw("max");
  return s.become("aten.clamp", {s.at(0)}, {{"min", low}, {"max", high}});
}

bool clamp_tensor(Site& s) {
  Value* x = s.x();
  const Operand low = s.at(1), high = s.at(2);
  if (x->type != s.out()) return false;  // promotion or broadcasting of x: left to aten
  if (low.value) x = s.rw.make("aten.maximum", {{x, {}}, low}, {}, s.out());
  if (high.value) x = s.rw.make("aten.minimum", {{x, {}}, high}, {}, s.out());
  return s.become(x);
}

bool drop_default_rounding(Site& s) {
  const Attr decimals = s.kw("decimals");
  if (!decimals.is<Sym>() || decimals.as<Sym>() != Sym(0)) return false;
  return s.become("aten.round", {s.at(0)}, {});
}

}  // namespace

void add_pointwise_rules(Rules& rules) {
  for (const auto& [from, to] : kAlias) rules[from] = rename;
  for (std::string_view op : {"aten.mul.Scalar", "aten.div.Scalar", "aten.remainder.Scalar", "aten.eq.Scalar",
                              "aten.ne.Scalar", "aten.lt.Scalar", "aten.le.Scalar", "aten.gt.Scalar", "aten.ge.Scalar",
                              "aten.bitwise_and.Scalar", "aten.bitwise_or.Scalar", "aten.bitwise_xor.Scalar",
                              "aten.__and__.Scalar", "aten.__or__.Scalar", "aten.__xor__.Scalar"})
    rules[op] = scalar_form;
  for (std::string_view op : {"aten.add.Tensor", "aten.add.Scalar", "aten.sub.Tensor", "aten.sub.Scalar"})
    rules[op] = add_or_sub;
  for (std::string_view op : {"aten.rsub.Tensor", "aten.rsub.Scalar"}) rules[op] = rsub;
  for (std::string_view op :
       {"aten.floor_divide", "aten.floor_divide.Scalar", "aten.div.Tensor_mode", "aten.div.Scalar_mode"})
    rules[op] = div_mode;
  for (std::string_view op : {"aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar"})
    rules[op] = where;
  for (std::string_view op : {"aten.addcmul", "aten.addcdiv"}) rules[op] = addc;
  for (std::string_view op : {"aten.clamp", "aten.clamp_min", "aten.clamp_max"}) rules[op] = clamp;
  rules["aten.masked_fill.Tensor"] = masked_fill;
  rules["aten.square"] = square;
  rules["aten.clamp.Tensor"] = clamp_tensor;
  rules["aten.round.decimals"] = drop_default_rounding;
}

}  // namespace kpt::canonical

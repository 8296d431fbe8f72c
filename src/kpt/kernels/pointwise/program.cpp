// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/pointwise/program.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

namespace kpt {
namespace {

constexpr FnInfo kFns[] = {
    {"add", Fn::add, 2, 0, Rule::promote},
    {"sub", Fn::sub, 2, 0, Rule::promote},
    {"mul", Fn::mul, 2, 0, Rule::promote},
    {"div", Fn::div, 2, 0, Rule::floating},
    {"div_floor", Fn::div_floor, 2, 0, Rule::promote},
    {"div_trunc", Fn::div_trunc, 2, 0, Rule::promote},
    {"pow", Fn::pow, 2, 0, Rule::promote},
    {"maximum", Fn::max, 2, 0, Rule::promote},
    {"minimum", Fn::min, 2, 0, Rule::promote},
    {"remainder", Fn::rem, 2, 0, Rule::promote},
    {"atan2", Fn::atan2, 2, 0, Rule::floating},
    {"neg", Fn::neg, 1, 0, Rule::same},
    {"abs", Fn::abs, 1, 0, Rule::same},
    {"sign", Fn::sign, 1, 0, Rule::same},
    {"exp", Fn::exp, 1, 0, Rule::floating},
    {"exp2", Fn::exp2, 1, 0, Rule::floating},
    {"expm1", Fn::expm1, 1, 0, Rule::floating},
    {"log", Fn::log, 1, 0, Rule::floating},
    {"log2", Fn::log2, 1, 0, Rule::floating},
    {"log1p", Fn::log1p, 1, 0, Rule::floating},
    {"sqrt", Fn::sqrt, 1, 0, Rule::floating},
    {"rsqrt", Fn::rsqrt, 1, 0, Rule::floating},
    {"reciprocal", Fn::recip, 1, 0, Rule::floating},
    {"sin", Fn::sin, 1, 0, Rule::floating},
    {"cos", Fn::cos, 1, 0, Rule::floating},
    {"tan", Fn::tan, 1, 0, Rule::floating},
    {"tanh", Fn::tanh, 1, 0, Rule::floating},
    {"sigmoid", Fn::sigmoid, 1, 0, Rule::floating},
    {"erf", Fn::erf, 1, 0, Rule::floating},
    {"floor", Fn::floor, 1, 0, Rule::same},
    {"ceil", Fn::ceil, 1, 0, Rule::same},
    {"round", Fn::round, 1, 0, Rule::same},
    {"trunc", Fn::trunc, 1, 0, Rule::same},
    {"relu", Fn::relu, 1, 0, Rule::same},
    {"relu6", Fn::relu6, 1, 0, Rule::same},
    {"gelu_erf", Fn::gelu_erf, 1, 0, Rule::floating},
    {"gelu_tanh", Fn::gelu_tanh, 1, 0, Rule::floating},
    {"silu", Fn::silu, 1, 0, Rule::floating},
    {"mish", Fn::mish, 1, 0, Rule::floating},
    {"elu", Fn::elu, 1, 3, Rule::floating, {1, 1, 1}},
    {"leaky_relu", Fn::leaky_relu, 1, 1, Rule::floating, {0.01}},
    {"hardtanh", Fn::hardtanh, 1, 2, Rule::same, {-1, 1}},
    {"hardswish", Fn::hardswish, 1, 0, Rule::floating},
    {"hardsigmoid", Fn::hardsigmoid, 1, 0, Rule::floating},
    {"softplus", Fn::softplus, 1, 2, Rule::floating, {1, 20}},
    {"log_sigmoid", Fn::log_sigmoid, 1, 0, Rule::floating},
    {"clamp", Fn::clamp, 3, 0, Rule::promote},
    {"eq", Fn::eq, 2, 0, Rule::compare},
    {"ne", Fn::ne, 2, 0, Rule::compare},
    {"lt", Fn::lt, 2, 0, Rule::compare},
    {"le", Fn::le, 2, 0, Rule::compare},
    {"gt", Fn::gt, 2, 0, Rule::compare},
    {"ge", Fn::ge, 2, 0, Rule::compare},
    {"logical_and", Fn::logical_and, 2, 0, Rule::logical},
    {"logical_or", Fn::logical_or, 2, 0, Rule::logical},
    {"logical_xor", Fn::logical_xor, 2, 0, Rule::logical},
    {"logical_not", Fn::logical_not, 1, 0, Rule::logical},
    {"bitwise_and", Fn::bit_and, 2, 0, Rule::promote},
    {"bitwise_or", Fn::bit_or, 2, 0, Rule::promote},
    {"bitwise_xor", Fn::bit_xor, 2, 0, Rule::promote},
    {"bitwise_not", Fn::bit_not, 1, 0, Rule::same},
    {"isnan", Fn::isnan, 1, 0, Rule::test},
    {"isinf", Fn::isinf, 1, 0, Rule::test},
    {"where", Fn::where, 3, 0, Rule::select},
    {"masked_fill", Fn::masked_fill, 3, 0, Rule::fill},
    {"swiglu", Fn::swiglu, 2, 0, Rule::floating},
    {"cast", Fn::cast, 1, 0, Rule::cast},
    {"row_sum", Fn::row_sum, 1, 0, Rule::row_sum},
    {"row_mean", Fn::row_mean, 1, 0, Rule::floating},
    {"row_max", Fn::row_max, 1, 0, Rule::same},
    {"row_min", Fn::row_min, 1, 0, Rule::same},
};

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\n')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\n')) s.remove_suffix(1);
  return s;
}

// Takes the text up to `stop` off the front of s; all of it where there is no `stop`.
std::string_view take_until(std::string_view& s, char stop) {
  const size_t at = s.find(stop);
  const std::string_view head = trim(s.substr(0, at));
  s = at == std::string_view::npos ? std::string_view() : s.substr(at + 1);
  return head;
}

bool parse_number(std::string_view s, Arg& arg) {
  if (s == "true" || s == "false") {
    arg.kind = Arg::Kind::boolean;
    arg.number = s == "true";
    return true;
  }
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), arg.number);
  if (error == std::errc::invalid_argument || end != s.data() + s.size()) return false;
  if (error == std::errc::result_out_of_range) return false;
  arg.kind = s.find_first_of(".eEin") == std::string_view::npos ? Arg::Kind::integer : Arg::Kind::real;
  return true;
}

class Parser {
 public:
  Parser(int inputs, Program& program) : inputs_(inputs), program_(program) {}

  Verdict parse(std::string_view text) {
    while (!text.empty()) {
      const std::string_view statement = take_until(text, ';');
      if (statement.substr(0, 4) == "out ") {
        if (!trim(text).empty()) return no("program goes on after `", statement, "`");
        return outputs(statement.substr(4));
      }
      if (Verdict v = step(statement); !v) return v;
    }
    return no("program ends without `out`");
  }

 private:
  Verdict argument(std::string_view s, Arg& arg) const {
    if (s.empty()) return no("program has an empty argument");
    if (const auto it = names_.find(s); it != names_.end()) {
      arg.kind = Arg::Kind::step;
      arg.index = it->second;
      return yes();
    }
    if (s == "none") return yes();
    if (parse_number(s, arg)) return yes();
    if (s.size() > 1 && s[0] == 'i') {
      const auto [end, error] = std::from_chars(s.data() + 1, s.data() + s.size(), arg.index);
      if (error == std::errc() && end == s.data() + s.size() && arg.index >= 0 && arg.index < inputs_) {
        arg.kind = Arg::Kind::input;
        return yes();
      }
    }
    return no("program argument `", s, "` is none of ", inputs_, " inputs, an earlier name or a number");
  }

  Verdict outputs(std::string_view list) {
    while (!list.empty()) {
      Arg arg;
      const std::string_view item = take_until(list, ',');
      if (Verdict v = argument(item, arg); !v) return v;
      if (arg.kind == Arg::Kind::none) return no("program puts out none");
      program_.outputs.push_back(arg);
    }
    return program_.outputs.empty() ? no("program has no outputs") : yes();
  }

  Verdict step(std::string_view statement) {
    const std::string whole(statement);
    if (program_.steps.size() == kMaxSteps) return no("program has more than ", kMaxSteps, " statements");
    const std::string_view name = take_until(statement, '=');
    const std::string_view op = take_until(statement, '(');
    if (name.empty() || op.empty() || statement.empty() || statement.back() != ')')
      return no("program statement `", whole, "` is not name=op(args)");
    statement.remove_suffix(1);
    Step step;
    const FnInfo* info = fn_info(op);
    if (!info && op.substr(0, 3) == "to_") {
      const std::optional<DType> to = parse_dtype(op.substr(3));
      if (!to) return no("program casts to unknown dtype `", op, "`");
      step.to = *to;
      info = &fn_info(Fn::cast);
    } else if (!info || info->fn == Fn::cast) {
      return no("program instruction `", op, "` is unknown");
    }
    if (Verdict v = arguments(statement, *info, step); !v) return no(v.reason, " in `", whole, "`");
    names_[name] = static_cast<int>(program_.steps.size());
    program_.steps.push_back(step);
    return yes();
  }

  Verdict arguments(std::string_view list, const FnInfo& info, Step& step) const {
    step.fn = info.fn;
    step.operands = info.operands;
    step.params = info.defaults;
    int count = 0;
    while (!list.empty()) {
      Arg arg;
      if (Verdict v = argument(take_until(list, ','), arg); !v) return v;
      if (arg.kind == Arg::Kind::none && !(info.fn == Fn::clamp && count > 0)) return no("got none as an operand");
      if (count >= info.operands + info.params) return no("got too many arguments");
      if (count < info.operands) {
        step.arg[static_cast<size_t>(count)] = arg;
      } else if (arg.is_number()) {
        step.params[static_cast<size_t>(count - info.operands)] = arg.number;
      } else {
        return no("got a parameter that is no number");
      }
      ++count;
    }
    return count < info.operands ? no("got too few arguments") : yes();
  }

  int inputs_;
  Program& program_;
  std::map<std::string_view, int> names_;
};

// ATen operator -> instruction. `params`: the named arguments that become operands (pow, clamp, masked_fill) or
// parameters, in the instruction's order.
struct AtenOp {
  std::string_view op;
  std::string_view fn;
  std::array<std::string_view, 3> params{};
};
constexpr AtenOp kAten[] = {
    {"aten.add.Tensor", "add"},
    {"aten.sub.Tensor", "sub"},
    {"aten.mul.Tensor", "mul"},
    {"aten.div.Tensor", "div"},
    {"aten.div.Tensor_mode", "div"},
    {"aten.pow.Tensor_Scalar", "pow", {"exponent"}},
    {"aten.pow.Tensor_Tensor", "pow"},
    {"aten.maximum", "maximum"},
    {"aten.minimum", "minimum"},
    {"aten.remainder.Tensor", "remainder"},
    {"aten.atan2", "atan2"},
    {"aten.neg", "neg"},
    {"aten.abs", "abs"},
    {"aten.sign", "sign"},
    {"aten.exp", "exp"},
    {"aten.exp2", "exp2"},
    {"aten.expm1", "expm1"},
    {"aten.log", "log"},
    {"aten.log2", "log2"},
    {"aten.log1p", "log1p"},
    {"aten.sqrt", "sqrt"},
    {"aten.rsqrt", "rsqrt"},
    {"aten.reciprocal", "reciprocal"},
    {"aten.sin", "sin"},
    {"aten.cos", "cos"},
    {"aten.tan", "tan"},
    {"aten.tanh", "tanh"},
    {"aten.sigmoid", "sigmoid"},
    {"aten.erf", "erf"},
    {"aten.floor", "floor"},
    {"aten.ceil", "ceil"},
    {"aten.round", "round"},
    {"aten.trunc", "trunc"},
    {"aten.relu", "relu"},
    {"aten.relu6", "relu6"},
    {"aten.gelu", "gelu_erf"},
    {"aten.silu", "silu"},
    {"aten.mish", "mish"},
    {"aten.elu", "elu", {"alpha", "scale", "input_scale"}},
    {"aten.leaky_relu", "leaky_relu", {"negative_slope"}},
    {"aten.hardtanh", "hardtanh", {"min_val", "max_val"}},
    {"aten.hardswish", "hardswish"},
    {"aten.hardsigmoid", "hardsigmoid"},
    {"aten.softplus", "softplus", {"beta", "threshold"}},
    {"aten.log_sigmoid", "log_sigmoid"},
    {"aten.clamp", "clamp", {"min", "max"}},
    {"aten.eq.Tensor", "eq"},
    {"aten.ne.Tensor", "ne"},
    {"aten.lt.Tensor", "lt"},
    {"aten.le.Tensor", "le"},
    {"aten.gt.Tensor", "gt"},
    {"aten.ge.Tensor", "ge"},
    {"aten.logical_and", "logical_and"},
    {"aten.logical_or", "logical_or"},
    {"aten.logical_xor", "logical_xor"},
    {"aten.logical_not", "logical_not"},
    {"aten.bitwise_and.Tensor", "bitwise_and"},
    {"aten.bitwise_or.Tensor", "bitwise_or"},
    {"aten.bitwise_xor.Tensor", "bitwise_xor"},
    {"aten.bitwise_not", "bitwise_not"},
    {"aten.isnan", "isnan"},
    {"aten.isinf", "isinf"},
    {"aten.where.self", "where"},
    {"aten.masked_fill.Scalar", "masked_fill", {"value"}},
    {"aten._to_copy", "cast"},
};

Verdict number_of(const Attr& attr, Arg& arg) {
  if (attr.is<bool>()) {
    arg.kind = Arg::Kind::boolean;
    arg.number = attr.as<bool>();
  } else if (attr.is<double>()) {
    arg.kind = Arg::Kind::real;
    arg.number = attr.as<double>();
  } else if (attr.is<Sym>() && attr.as<Sym>().is_const()) {
    arg.kind = Arg::Kind::integer;
    arg.number = static_cast<double>(attr.as<Sym>().value());
  } else if (!attr.is_none()) {
    return no("got an argument that is neither tensor nor number");
  }
  return yes();
}

// The variant of an instruction that a named argument picks, "" where the value is unknown.
std::string_view instruction_of(const AtenOp& entry, const Kwargs& kwargs) {
  if (entry.op == "aten.gelu") {
    const std::string mode = get_string(kwargs, "approximate", "none");
    return mode == "none" ? "gelu_erf" : mode == "tanh" ? "gelu_tanh" : "";
  }
  if (entry.op == "aten.div.Tensor_mode") {
    const std::string mode = get_string(kwargs, "rounding_mode", "");
    return mode == "floor" ? "div_floor" : mode == "trunc" ? "div_trunc" : mode.empty() ? "div" : "";
  }
  return entry.fn;
}

Verdict aten_step(const Problem& p, const AtenOp& entry, Program& program) {
  const std::string_view name = instruction_of(entry, p.kwargs);
  const FnInfo* info = fn_info(name);
  if (!info) return no(p.op, " with an unknown mode");
  Step step;
  step.fn = info->fn;
  step.operands = info->operands;
  step.params = info->defaults;
  if (get_float(p.kwargs, "alpha", 1) != 1 && step.fn != Fn::elu) return no("alpha other than 1 is not folded");
  std::vector<Arg> args;
  for (size_t i = 0; i < p.args.size(); ++i) {
    Arg arg;
    if (p.args[i].is<In>()) {
      arg.kind = Arg::Kind::input;
      arg.index = p.operand_index(static_cast<int>(i));
    } else if (Verdict v = number_of(p.args[i], arg); !v) {
      return v;
    }
    args.push_back(arg);
  }
  size_t param = 0;
  for (std::string_view kwarg : entry.params) {
    if (kwarg.empty()) break;
    const Attr* attr = find(p.kwargs, kwarg);
    Arg arg;
    if (attr)
      if (Verdict v = number_of(*attr, arg); !v) return v;
    if (info->params) {
      if (arg.is_number()) step.params[param] = arg.number;
      ++param;
    } else {
      args.push_back(arg);
    }
  }
  if (static_cast<int>(args.size()) != info->operands) return no("got ", args.size(), " operands, want ", info->operands);
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i].kind == Arg::Kind::none && !(step.fn == Fn::clamp && i > 0)) return no("got no operand ", i);
    step.arg[i] = args[i];
  }
  if (step.fn == Fn::cast) {
    const Attr* to = find(p.kwargs, "dtype");
    step.to = to && to->is<DType>() ? to->as<DType>() : p.outputs[0].dtype;
  }
  program.steps.push_back(step);
  program.outputs.push_back({Arg::Kind::step, 0, 0});
  for (size_t i = 0; i < p.inputs.size(); ++i) program.inputs.push_back(static_cast<int>(i));
  return yes();
}

// PyTorch's result_type (aten/src/ATen/native/TypeProperties.cpp): tensors with dimensions, zero-dimensional ones and
// numbers each promote among themselves; a lower class counts only where it is of a higher kind (bool < int < float).
struct Promotion {
  bool set[3] = {false, false, false};
  DType dtype[3] = {DType::boolean, DType::boolean, DType::boolean};
};

DType promote_types(DType a, DType b) {
  if (a == b || b == DType::boolean) return a;
  if (a == DType::boolean) return b;
  if (is_float(a) != is_float(b)) return is_float(a) ? a : b;
  if (is_float(a)) {
    if (size_of(a) == size_of(b)) return DType::f32;  // f16 with bf16
    return size_of(a) > size_of(b) ? a : b;
  }
  if ((a == DType::u8 && b == DType::i8) || (a == DType::i8 && b == DType::u8)) return DType::i16;
  return size_of(a) >= size_of(b) ? a : b;
}

DType combine(bool high_set, DType high, bool low_set, DType low) {
  if (!low_set) return high;
  if (!high_set) return low;
  if (is_float(high)) return high;
  if (high == DType::boolean || is_float(low)) return promote_types(high, low);
  return high;
}

DType result_type(const Promotion& p) {
  const bool low_set = p.set[1] || p.set[0];
  const DType low = combine(p.set[1], p.dtype[1], p.set[0], p.dtype[0]);
  return combine(p.set[2], p.dtype[2], low_set, low);
}

}  // namespace

const FnInfo* fn_info(std::string_view name) {
  if (name == "gelu") name = "gelu_erf";  // PyTorch's default
  for (const FnInfo& f : kFns)
    if (f.name == name) return &f;
  return nullptr;
}

const FnInfo& fn_info(Fn fn) {
  for (const FnInfo& f : kFns)
    if (f.fn == fn) return f;
  throw_error(ErrorKind::internal, "kernels.pointwise", cat("no instruction ", static_cast<int>(fn)));
}

Verdict parse_program(std::string_view text, int inputs, Program& program) {
  return Parser(inputs, program).parse(text);
}

std::vector<std::string_view> pointwise_aten_ops() {
  std::vector<std::string_view> ops;
  for (const AtenOp& a : kAten) ops.push_back(a.op);
  return ops;
}

Verdict infer(Program& program, const std::vector<TensorDesc>& descs) {
  for (Step& s : program.steps) {
    const FnInfo& info = fn_info(s.fn);
    Promotion promotion;
    s.rank_class = 0;
    s.is_row = false;
    bool all_row = true;
    for (int i = 0; i < s.operands; ++i) {
      const Arg& a = s.arg[static_cast<size_t>(i)];
      if (a.kind == Arg::Kind::none) continue;
      int rank_class = 0;
      DType dtype = a.kind == Arg::Kind::real ? DType::f32 : a.kind == Arg::Kind::integer ? DType::i64 : DType::boolean;
      if (a.kind == Arg::Kind::input) {
        const TensorDesc& d = descs[static_cast<size_t>(a.index)];
        dtype = d.dtype;
        rank_class = d.sizes.rank() ? 2 : 1;
        all_row = false;
      } else if (a.kind == Arg::Kind::step) {
        const Step& from = program.steps[static_cast<size_t>(a.index)];
        dtype = from.result;
        rank_class = from.rank_class;
        all_row = all_row && from.is_row;
      }
      s.rank_class = std::max(s.rank_class, rank_class);
      if ((info.rule == Rule::select && i == 0) || (info.rule == Rule::fill && i > 0)) continue;
      const size_t c = static_cast<size_t>(rank_class);
      promotion.dtype[c] = promotion.set[c] ? promote_types(promotion.dtype[c], dtype) : dtype;
      promotion.set[c] = true;
    }
    const bool reduces = s.fn == Fn::row_sum || s.fn == Fn::row_mean || s.fn == Fn::row_max || s.fn == Fn::row_min;
    s.is_row = reduces || all_row;
    s.at = result_type(promotion);
    if (info.rule == Rule::floating && !is_float(s.at)) s.at = DType::f32;
    if (info.rule == Rule::row_sum && !is_float(s.at)) s.at = DType::i64;
    s.result = s.at;
    if (info.rule == Rule::compare || info.rule == Rule::logical || info.rule == Rule::test) s.result = DType::boolean;
    if (info.rule == Rule::cast) s.result = s.to;
    const bool bits = s.fn == Fn::bit_and || s.fn == Fn::bit_or || s.fn == Fn::bit_xor || s.fn == Fn::bit_not;
    if (bits && is_float(s.at)) return no(info.name, " of ", s.at);
    if (s.fn == Fn::neg && s.at == DType::boolean) return no("neg of bool");
    if (s.fn == Fn::sub && s.at == DType::boolean) return no("sub of bool");
  }
  return yes();
}

Verdict program_of(const Problem& p, Program& program) {
  if (p.outputs.empty()) return no("no outputs");
  if (p.op == "kpt.pointwise" || p.op == "kpt.row") {
    program.inputs = p.operand_list(0);
    for (int i : program.inputs)
      if (i < 0) return no("an input of the program is not a tensor");
    const Verdict v =
        parse_program(get_string(p.kwargs, "program", ""), static_cast<int>(program.inputs.size()), program);
    if (!v) return v;
  } else {
    const auto* entry = std::find_if(std::begin(kAten), std::end(kAten), [&](const AtenOp& a) { return a.op == p.op; });
    if (entry == std::end(kAten)) return no("no pointwise operator ", p.op);
    if (Verdict v = aten_step(p, *entry, program); !v) return v;
  }
  if (program.outputs.size() != p.outputs.size())
    return no("program puts out ", program.outputs.size(), " values for ", p.outputs.size(), " outputs");
  std::vector<TensorDesc> descs;
  for (int i : program.inputs) descs.push_back(p.inputs[static_cast<size_t>(i)]);
  if (p.op != "kpt.row")
    for (const Step& s : program.steps)
      if (s.fn >= Fn::row_sum) return no("row instruction outside kpt.row");
  return infer(program, descs);
}

}  // namespace kpt

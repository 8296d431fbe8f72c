// SPDX-License-Identifier: Apache-2.0
// Problems to programs: single ATen operators are programs of one statement.
#include <algorithm>

#include "kpt/kernels/lib/program/program.h"

namespace kpt {
namespace {

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
  if (static_cast<int>(args.size()) != info->operands)
    return no("got ", args.size(), " operands, want ", info->operands);
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

}  // namespace

std::vector<std::string_view> pointwise_aten_ops() {
  std::vector<std::string_view> ops;
  for (const AtenOp& a : kAten) ops.push_back(a.op);
  return ops;
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

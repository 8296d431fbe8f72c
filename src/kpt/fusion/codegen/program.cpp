// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/codegen/program.h"

#include <algorithm>
#include <optional>

#include "kpt/fusion/shapes.h"
#include "kpt/ir/ops.h"
#include "kpt/ir/text.h"

namespace kpt {
namespace {

// The instruction, with what the named arguments choose; "" where they choose nothing known.
std::string instruction(const Node& node) {
  if (const std::string_view row = row_instruction(node); !row.empty()) return std::string(row);
  if (node.op == "aten.gelu") {
    const std::string mode = get_string(node.kwargs, "approximate", "none");
    return mode == "none" ? "gelu_erf" : mode == "tanh" ? "gelu_tanh" : "";
  }
  if (node.op == "aten.div.Tensor_mode") {
    const std::string mode = get_string(node.kwargs, "rounding_mode", "none");
    return mode == "none" ? "div" : mode == "floor" || mode == "trunc" ? cat("div_", mode) : "";
  }
  if (node.op == "aten._to_copy") return cat("to_", node.out()->type.dtype);
  return std::string(op_info(node.op)->scalar);
}

// Named arguments that the instruction's name already says.
bool said_by_name(const Node& node, const std::string& kwarg) {
  return !row_instruction(node).empty() || kwarg == "approximate" || kwarg == "rounding_mode" || kwarg == "dtype" ||
         (kwarg == "alpha" && node.op != "aten.elu");  // 1: can_be_instruction
}

std::optional<std::string> literal(const Attr& attr) {
  const bool constant = attr.is<Sym>() && attr.as<Sym>().is_const();
  if (!constant && !attr.is<double>() && !attr.is<bool>() && !attr.is_none()) return std::nullopt;
  return print(attr, {});
}

bool same_dtype(const Attr* dtype, DType want) { return !dtype || dtype->is_none() || *dtype == Attr(want); }

}  // namespace

std::string_view row_instruction(const Node& node) {
  std::string_view name;
  if (node.op == "aten.sum.dim_IntList") name = "row_sum";
  if (node.op == "aten.mean.dim") name = "row_mean";
  if (node.op == "aten.amax") name = "row_max";
  if (node.op == "aten.amin") name = "row_min";
  if (name.empty() || node.inputs.size() != 1) return "";
  const TensorType& x = node.inputs[0]->type;
  const Attr* dim = find(node.kwargs, "dim");
  const bool last = dim && names_last_axis(*dim, x.rank()) && get_bool(node.kwargs, "keepdim", false);
  // Integer sums change dtype; they are rare, and left to their own kernel.
  return last && is_float(x.dtype) && node.out()->type.dtype == x.dtype &&
                 same_dtype(find(node.kwargs, "dtype"), x.dtype)
             ? name
             : "";
}

Verdict can_be_instruction(const Node& node) {
  if (node.outputs.size() != 1) return no(node.op, " has several outputs");
  if (row_instruction(node).empty()) {
    const OpInfo* info = op_info(node.op);
    if (!info || info->kind != OpKind::pointwise || info->scalar.empty()) return no(node.op, " is not pointwise");
    if (node.op == "kpt.swiglu") return no("kpt.swiglu has a kernel of its own");
  }
  if (node.inputs.empty()) return no(node.op, " reads no tensor");
  if (instruction(node).empty()) return no(node.op, " has an unknown mode");
  if (const Attr* alpha = find(node.kwargs, "alpha"); alpha && node.op != "aten.elu" && *alpha != Attr(1))
    return no(node.op, " has a factor");
  for (const Attr& arg : node.args)
    if (!arg.is<In>() && (arg.is_none() || !literal(arg)))
      return no(node.op, " has an operand that is no constant number");
  for (const auto& [name, attr] : node.kwargs)
    if (!said_by_name(node, name) && (!literal(attr) || (attr.is_none() && node.op != "aten.clamp")))
      return no(node.op, " has a ", name, " that is no constant number");
  return yes();
}

GroupProgram make_program(const std::vector<Node*>& nodes, const std::vector<Value*>& outputs) {
  GroupProgram program;
  std::map<const Value*, std::string> names;
  const auto name_of = [&](Value* value) {
    const auto [it, fresh] = names.emplace(value, cat("i", program.inputs.size()));
    if (fresh) program.inputs.push_back(value);
    return it->second;
  };
  for (const Node* node : nodes) {
    std::string args;
    const auto append = [&](const std::string& arg) { args += (args.empty() ? "" : ",") + arg; };
    for (const Attr& arg : node->args)
      append(arg.is<In>() ? name_of(node->inputs[static_cast<size_t>(arg.as<In>().index)]) : *literal(arg));
    for (const auto& [name, attr] : node->kwargs)
      if (!said_by_name(*node, name)) append(*literal(attr));
    const std::string name = cat("v", program.instructions++);
    program.text += cat(name, "=", instruction(*node), "(", args, ");");
    names[node->out()] = name;
  }
  program.text += "out ";
  for (size_t i = 0; i < outputs.size(); ++i) program.text += (i ? "," : "") + names.at(outputs[i]);
  return program;
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/ops.h"

#include <algorithm>
#include <array>

namespace kpt {

namespace {

constexpr OpInfo view(std::string_view op) { return {op, OpKind::view, "", 0}; }
constexpr OpInfo unary(std::string_view op, std::string_view scalar) { return {op, OpKind::pointwise, scalar, 1}; }
constexpr OpInfo binary(std::string_view op, std::string_view scalar) { return {op, OpKind::pointwise, scalar, 2}; }
constexpr OpInfo row(std::string_view op) { return {op, OpKind::row, "", 0}; }
constexpr OpInfo other(std::string_view op) { return {op, OpKind::other, "", 0}; }

// The canonical set of docs/operators.md, which a test holds to this table.
constexpr OpInfo kUnsorted[] = {
    view("aten.reshape"),
    view("aten.permute"),
    view("aten.expand"),
    view("aten.slice.Tensor"),
    view("aten.select.int"),

    binary("aten.add.Tensor", "add"),
    binary("aten.sub.Tensor", "sub"),
    binary("aten.mul.Tensor", "mul"),
    binary("aten.div.Tensor", "div"),
    binary("aten.div.Tensor_mode", "div"),
    unary("aten.pow.Tensor_Scalar", "pow"),
    binary("aten.pow.Tensor_Tensor", "pow"),
    binary("aten.maximum", "maximum"),
    binary("aten.minimum", "minimum"),
    binary("aten.remainder.Tensor", "remainder"),
    binary("aten.atan2", "atan2"),
    unary("aten.neg", "neg"),
    unary("aten.abs", "abs"),
    unary("aten.sign", "sign"),
    unary("aten.exp", "exp"),
    unary("aten.exp2", "exp2"),
    unary("aten.expm1", "expm1"),
    unary("aten.log", "log"),
    unary("aten.log2", "log2"),
    unary("aten.log1p", "log1p"),
    unary("aten.sqrt", "sqrt"),
    unary("aten.rsqrt", "rsqrt"),
    unary("aten.reciprocal", "reciprocal"),
    unary("aten.sin", "sin"),
    unary("aten.cos", "cos"),
    unary("aten.tan", "tan"),
    unary("aten.tanh", "tanh"),
    unary("aten.sigmoid", "sigmoid"),
    unary("aten.erf", "erf"),
    unary("aten.floor", "floor"),
    unary("aten.ceil", "ceil"),
    unary("aten.round", "round"),
    unary("aten.trunc", "trunc"),
    unary("aten.relu", "relu"),
    unary("aten.relu6", "relu6"),
    unary("aten.gelu", "gelu_erf"),
    unary("aten.silu", "silu"),
    unary("aten.mish", "mish"),
    unary("aten.elu", "elu"),
    unary("aten.leaky_relu", "leaky_relu"),
    unary("aten.hardtanh", "hardtanh"),
    unary("aten.hardswish", "hardswish"),
    unary("aten.hardsigmoid", "hardsigmoid"),
    unary("aten.softplus", "softplus"),
    unary("aten.log_sigmoid", "log_sigmoid"),
    unary("aten.clamp", "clamp"),
    binary("aten.eq.Tensor", "eq"),
    binary("aten.ne.Tensor", "ne"),
    binary("aten.lt.Tensor", "lt"),
    binary("aten.le.Tensor", "le"),
    binary("aten.gt.Tensor", "gt"),
    binary("aten.ge.Tensor", "ge"),
    binary("aten.logical_and", "logical_and"),
    binary("aten.logical_or", "logical_or"),
    unary("aten.logical_not", "logical_not"),
    binary("aten.logical_xor", "logical_xor"),
    binary("aten.bitwise_and.Tensor", "bitwise_and"),
    binary("aten.bitwise_or.Tensor", "bitwise_or"),
    binary("aten.bitwise_xor.Tensor", "bitwise_xor"),
    unary("aten.bitwise_not", "bitwise_not"),
    unary("aten.isnan", "isnan"),
    unary("aten.isinf", "isinf"),
    OpInfo{"aten.where.self", OpKind::pointwise, "where", 3},
    binary("aten.masked_fill.Scalar", "masked_fill"),
    unary("aten._to_copy", "to"),
    OpInfo{"kpt.pointwise", OpKind::pointwise, "", 0},
    binary("kpt.swiglu", ""),

    row("aten.softmax.int"),
    row("aten.log_softmax.int"),
    row("aten.layer_norm"),
    row("aten.rms_norm"),
    row("aten.sum.dim_IntList"),
    row("aten.mean.dim"),
    row("aten.amax"),
    row("aten.amin"),
    row("aten.any.dim"),
    row("aten.all.dim"),
    row("aten.argmax"),
    row("aten.var.correction"),
    row("aten.cumsum"),
    row("kpt.add_norm"),
    row("kpt.row"),

    other("kpt.constant"),
    other("kpt.linear"),
    other("kpt.convolution"),
    other("kpt.attention"),
    other("kpt.rotary"),
    other("kpt.write_"),
    other("aten.lstm.input"),
    other("aten.linear"),
    other("aten.matmul"),
    other("aten.bmm"),
    other("aten.mm"),
    other("aten.addmm"),
    other("aten.baddbmm"),
    other("aten.convolution"),
    other("aten.group_norm"),
    other("aten.batch_norm"),
    other("aten.scaled_dot_product_attention"),
    other("aten.embedding"),
    other("aten.index_select"),
    other("aten.gather"),
    other("aten.index.Tensor"),
    other("aten.cat"),
    other("aten.stack"),
    other("aten.arange.start_step"),
    other("aten.full"),
    other("aten.zeros"),
    other("aten.ones"),
    other("aten.tril"),
    other("aten.triu"),
    other("aten.constant_pad_nd"),
    other("aten.max_pool2d"),
    other("aten.avg_pool2d"),
    other("aten.adaptive_avg_pool2d"),
    other("kpt.max_pool2d"),
    other("kpt.avg_pool2d"),
    other("kpt.adaptive_avg_pool2d"),
    other("kpt.copy"),
    other("aten.repeat"),
    other("aten.slice_scatter"),
    other("aten.select_scatter"),
};

constexpr bool by_op(const OpInfo& a, const OpInfo& b) { return a.op < b.op; }

constexpr auto sorted() {
  std::array<OpInfo, std::size(kUnsorted)> out{};
  std::copy(std::begin(kUnsorted), std::end(kUnsorted), out.begin());
  std::sort(out.begin(), out.end(), by_op);
  return out;
}
constexpr auto kOps = sorted();

}  // namespace

const OpInfo* op_info(std::string_view op) {
  const auto it =
      std::lower_bound(kOps.begin(), kOps.end(), op, [](const OpInfo& a, std::string_view b) { return a.op < b; });
  return it != kOps.end() && it->op == op ? &*it : nullptr;
}

std::string scalar_of(std::string_view op, const Kwargs& kwargs) {
  const OpInfo* info = op_info(op);
  if (!info || info->scalar.empty()) return {};
  if (op == "aten.gelu") return get_string(kwargs, "approximate", "none") == "tanh" ? "gelu_tanh" : "gelu_erf";
  if (op == "aten.div.Tensor_mode") {
    const std::string mode = get_string(kwargs, "rounding_mode", "");
    return mode.empty() ? "div" : "div_" + mode;
  }
  if (op == "aten._to_copy") {
    const Attr* dtype = find(kwargs, "dtype");
    KPT_CHECK(dtype && dtype->is<DType>(), "ir.ops", "got aten._to_copy without a dtype");
    return cat("to_", dtype->as<DType>());
  }
  return std::string(info->scalar);
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <string_view>

#include "kpt/base/attr.h"
#include "kpt/base/error.h"

namespace kpt {

// What kind of operator a name is, after canonicalisation. Facts only; kernels and costs live elsewhere.
enum class OpKind {
  view,       // same elements, other sizes and strides: reshape permute expand slice select
  pointwise,  // each output element from the elements at the same (broadcast) position
  row,        // reduces or normalises along the last axis: softmax, layer_norm, mean over -1, ...
  other,
};

struct OpInfo {
  std::string_view op;  // "aten.add.Tensor"
  OpKind kind;
  std::string_view
      scalar;     // pointwise: the instruction of kpt.pointwise that computes it ("add"), "" where there is none
  int arity = 0;  // pointwise: tensor-or-number positional operands; 0 for kpt.pointwise, which takes a list
};

// Null where the operator is not in the table (ops.cpp).
KPT_API const OpInfo* op_info(std::string_view op);

// The instruction of one node: OpInfo::scalar, with the choice that its named arguments make. gelu: gelu_erf or
// gelu_tanh; div.Tensor_mode: div, div_floor, div_trunc; _to_copy: to_f32 and so on. "" where there is none. An
// instruction takes the positional operands, then the numbers among the named arguments in schema order (clamp(x, min,
// max), pow(x, exponent), masked_fill(x, mask, value), elu(x, alpha, scale, input_scale)).
KPT_API std::string scalar_of(std::string_view op, const Kwargs& kwargs);

inline bool is_pointwise(std::string_view op) {
  const OpInfo* info = op_info(op);
  return info && info->kind == OpKind::pointwise;
}
inline bool is_view(std::string_view op) {
  const OpInfo* info = op_info(op);
  return info && info->kind == OpKind::view;
}

}  // namespace kpt

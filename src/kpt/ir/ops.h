// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>
#include <string_view>

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
  std::string_view op;     // "aten.add.Tensor"
  OpKind kind;
  std::string_view scalar;  // pointwise: the instruction of kpt.pointwise that computes it ("add"), else ""
  int arity = 0;           // pointwise: tensor-or-number operands
};

// Null where the operator is not in the table (ops.cpp).
KPT_API const OpInfo* op_info(std::string_view op);
inline bool is_pointwise(std::string_view op) {
  const OpInfo* info = op_info(op);
  return info && info->kind == OpKind::pointwise;
}
inline bool is_view(std::string_view op) {
  const OpInfo* info = op_info(op);
  return info && info->kind == OpKind::view;
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>
#include <vector>

#include "kpt/passes/rewriter.h"

namespace kpt::folding {

// The one number a value holds everywhere: a number operand, or a `full` or kpt.constant seen through views and casts.
std::optional<double> uniform(const Operand& o);

// The node's result where all operands are literals of at most 4096 elements: a full or a kpt.constant, made by rw.
// Null where the operator or a dtype is not one that can be computed here bit for bit (f16 and bf16 are not).
Value* fold_literals(const Node& node, Rewriter& rw);

}  // namespace kpt::folding

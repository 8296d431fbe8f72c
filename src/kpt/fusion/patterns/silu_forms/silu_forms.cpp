// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

Verdict when(const Graph&, Match& m) {
  const TensorType &x = m.value("x")->type, &y = m.root()->type;
  return x == y && is_float(x.dtype) ? yes() : no("the operand is ", x, ", the result ", y);
}

}  // namespace

void register_silu_forms(FusionRegistry& registry) {
  registry.add({.name = "silu_forms",
                .order = 10,
                .pattern = std::string(pattern_text("silu_forms")),
                .summary = "SiLU written by hand: one operator",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

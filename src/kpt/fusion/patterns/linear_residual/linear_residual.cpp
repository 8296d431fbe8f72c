// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

// Who takes an add between a linear and a norm? On a CPU the linear does: its epilogue reads the residual tile by tile,
// and the norm reads the sum from cache. Elsewhere add_norm does: there the norm is a pass over memory of its own, and
// the vendor's GEMM takes no residual beside the bias.
Verdict when(const Graph&, Match& m) {
  const TensorType &h = m.value("h")->type, &r = m.value("r")->type, &y = m.root()->type;
  if (h != r || h != y) return no("the linear gives ", h, ", the residual is ", r, ", the sum ", y);
  if (!is_float(h.dtype)) return no("the linear gives ", h.dtype);
  if (m.device == "cpu") return yes();
  for (const Node* user : m.root()->users)
    if (user->op == "aten.layer_norm" || user->op == "aten.rms_norm") return no("add_norm takes the sum on ", m.device);
  return yes();
}

}  // namespace

void register_linear_residual(FusionRegistry& registry) {
  registry.add({.name = "linear_residual",
                .order = 80,
                .pattern = std::string(pattern_text("linear_residual")),
                .summary = "epilogue: the residual is added while the result is in registers",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

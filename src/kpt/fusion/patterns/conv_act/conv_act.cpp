// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

// kpt.convolution is the forward 1-D and 2-D form; the rest stays ATen's, whose convolution knows no activation.
Verdict when(const Graph&, Match& m) {
  const TensorType &h = m.value("h")->type, &y = m.root()->type;
  if (h != y || !is_float(h.dtype)) return no("the convolution gives ", h, ", the activation ", y);
  if (h.dtype == DType::f64) return no("f64 convolutions are ATen's");
  if (m.attr("transposed") == Attr(true)) return no("a transposed convolution");
  if (h.rank() != 3 && h.rank() != 4) return no("a convolution of rank ", h.rank(), ", want 3 or 4");
  return yes();
}

}  // namespace

void register_conv_act(FusionRegistry& registry) {
  registry.add({.name = "conv_act",
                .order = 72,
                .pattern = std::string(pattern_text("conv_act")),
                .summary = "epilogue: the activation costs no pass over memory",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

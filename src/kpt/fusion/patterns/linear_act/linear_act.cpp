// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

Verdict when(const Graph&, Match& m) {
  const TensorType &h = m.value("h")->type, &y = m.root()->type;
  if (h != y || !is_float(h.dtype)) return no("the linear gives ", h, ", the activation ", y);
  const Attr* approximate = m.attr_or_null("approximate");
  if (!approximate) return yes();
  const bool by_tanh = *approximate == Attr("tanh");
  if (!by_tanh && !approximate->is_none() && *approximate != Attr("none"))
    return no("gelu has an unknown approximation");
  m.attrs["act"] = Attr(by_tanh ? "gelu_tanh" : "gelu");
  return yes();
}

}  // namespace

void register_linear_act(FusionRegistry& registry) {
  registry.add({.name = "linear_act",
                .order = 70,
                .pattern = std::string(pattern_text("linear_act")),
                .summary = "epilogue: the activation costs no pass over memory",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

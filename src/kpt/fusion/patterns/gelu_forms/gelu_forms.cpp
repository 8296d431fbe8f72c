// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

// sqrt(2/pi) in the tanh form (Hendrycks and Gimpel, arXiv:1606.08415); x / sqrt(2) or x * sqrt(1/2) in the erf form.
Verdict when(const Graph&, Match& m) {
  const Attr *c = m.attr_or_null("c"), *root = m.attr_or_null("root");
  const Value *x = m.value("x"), *y = m.root();
  if (x->type != y->type || !is_float(x->type.dtype))
    return no("%", x->name, " is ", x->type, ", the result ", y->type);
  const bool by_tanh = m.value("t")->producer->op == "aten.tanh";
  if (by_tanh) return close_to(c, std::sqrt(2 / M_PI)) ? yes() : no("the factor inside tanh is not sqrt(2/pi)");
  const bool divided = root && !c && close_to(root, M_SQRT2), multiplied = c && !root && close_to(c, M_SQRT1_2);
  return divided || multiplied ? yes() : no("the argument of erf is not x / sqrt(2)");
}

}  // namespace

void register_gelu_forms(FusionRegistry& registry) {
  registry.add({.name = "gelu_forms",
                .order = 10,
                .pattern = std::string(pattern_text("gelu_forms")),
                .summary = "GELU written by hand: one operator, so that a linear can take it",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

// The alternatives with %s on the right serve sums that others read too (pre-norm blocks).
Verdict when(const Graph&, Match& m) {
  const TensorType &x = m.value("x")->type, &r = m.value("r")->type, &s = m.value("s")->type;
  if (x != s || r != s || m.root()->type != s) return no("the operands are ", x, " and ", r, ", the sum ", s);
  if (!is_float(s.dtype)) return no("the sum is ", s.dtype);
  if (!is_last_size(m.attr("shape"), s)) return no("the norm is not over the last axis alone");
  if (!number(m.attr("eps"))) return no("eps is left to the dtype");
  if (const Verdict v = is_row_vector(m.value("w"), s, "the weight"); !v) return v;
  return is_row_vector(m.value_or_null("b"), s, "the bias");
}

}  // namespace

void register_add_norm(FusionRegistry& registry) {
  registry.add({.name = "add_norm",
                .order = 90,
                .pattern = std::string(pattern_text("add_norm")),
                .summary = "the sum is normalised while it is in registers",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

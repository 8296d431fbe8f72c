// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

// x rsqrt(mean(x^2) + eps) w, as Llama and T5 write it: statistics in f32, cast back before or without the weight.
Verdict when(const Graph&, Match& m) {
  const TensorType &x = m.value("x")->type, &y = m.root()->type;
  if (x != y || !is_float(x.dtype)) return no("the operand is ", x, ", the result ", y);
  if (!names_last_axis(m.attr("dim"), x.rank())) return no("the mean is not over the last axis alone");
  if (const Attr* back = m.attr_or_null("back"); back && *back != Attr(x.dtype))
    return no("the norm is cast to another dtype");
  if (const Verdict v = is_row_vector(m.value_or_null("w"), x, "the weight"); !v) return v;
  const auto eps = number(m.attr("eps"));
  if (!eps || *eps < 0) return no("eps is not a number >= 0");
  m.attrs["eps"] = Attr(*eps);
  m.attrs["shape"] = last_size(x);
  return yes();
}

}  // namespace

void register_rms_norm(FusionRegistry& registry) {
  registry.add({.name = "rms_norm",
                .order = 20,
                .pattern = std::string(pattern_text("rms_norm")),
                .summary = "RMSNorm written by hand: one pass, statistics in f32",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

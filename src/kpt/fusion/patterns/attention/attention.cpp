// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"
#include "kpt/passes/rewriter.h"

namespace kpt {
namespace {

// Below this a hidden score vanishes in f32 and bf16 rounding when it is added to a score: the row's largest visible
// score exceeds it by more than exp can hold, and in a row without visible scores all stay equal.
constexpr double kVanishes = -1e9;

Verdict fits(const TensorType& q, const TensorType& kt, const TensorType& v, const TensorType& y) {
  if (q.rank() != 4 || kt.rank() != 4 || v.rank() != 4) return no("q, k and v are not [batch, heads, length, size]");
  if (!is_float(q.dtype) || kt.dtype != q.dtype || v.dtype != q.dtype || y.dtype != q.dtype)
    return no("q, k, v and the result are ", q.dtype, ", ", kt.dtype, ", ", v.dtype, " and ", y.dtype);
  for (size_t i = 0; i < 2; ++i)
    if (q.sizes[i] != kt.sizes[i] || q.sizes[i] != v.sizes[i])
      return no("batch or heads of ", q, ", ", kt, " and ", v, " differ");
  return yes();
}

// Fills $mask_shape (4-D) and the type of a mask made on the right.
Verdict mask_fits(Match& m, const TensorType& scores) {
  const Value* mask = m.value_or_null("mask");
  if (!mask) return yes();
  const bool made = mask->type.dtype == DType::boolean;
  if (made && !m.attr_or_null("hidden")) return no("a bool mask is added to the scores");
  if (!made && mask->type.dtype != scores.dtype)
    return no("the mask is ", mask->type.dtype, ", the scores ", scores.dtype);
  if (made) {
    const auto hidden = number(m.attr("hidden"));
    if (!hidden || *hidden > kVanishes) return no("hidden scores are not below ", kVanishes);
    m.attrs["hidden"] = Attr(*hidden);
    m.types["m"] = {scores.dtype, mask->type.sizes};
  }
  std::vector<Sym> sizes = mask->type.sizes;
  if (const Value* bias = m.value_or_null("bias")) {
    if (bias->type.dtype != scores.dtype) return no("the bias is ", bias->type.dtype, ", the scores ", scores.dtype);
    const auto sum = broadcast(bias->type.sizes, sizes);
    if (!sum) return no("the bias ", bias->type, " does not broadcast with the mask ", mask->type);
    sizes = *sum;
    m.types["m"] = {scores.dtype, sizes};
  }
  const auto both = broadcast(scores.sizes, sizes);
  if (!both || *both != scores.sizes) return no("the mask ", mask->type, " does not broadcast to the scores ", scores);
  std::vector<Sym> shape(4 - sizes.size(), Sym(1));
  shape.insert(shape.end(), sizes.begin(), sizes.end());
  m.attrs["mask_shape"] = as_list(shape);
  return yes();
}

Verdict when(const Graph&, Match& m) {
  const TensorType &q = m.value("q")->type, &kt = m.value("kt")->type, &v = m.value("v")->type;
  const TensorType& scores = m.value("s")->type;
  if (const Verdict shapes = fits(q, kt, v, m.root()->type); !shapes) return shapes;
  if (!names_last_axis(m.attr("dim"), 4)) return no("softmax is not over the last axis");
  const Attr& dtype = m.attr("dtype");
  if (!dtype.is_none() && dtype != Attr(DType::f32) && dtype != Attr(q.dtype)) return no("softmax is not in f32");
  double scale = 1;
  for (const std::string_view name : {"q_factor", "k_factor", "factor", "q_divisor", "divisor"}) {
    const Attr* attr = m.attr_or_null(name);
    if (!attr) continue;
    const auto by = number(*attr);
    if (!by || !std::isfinite(*by) || *by == 0) return no("the scale is not a constant");
    scale = name.ends_with("divisor") ? scale / *by : scale * *by;
  }
  m.attrs["scale"] = Attr(scale);
  return mask_fits(m, scores);
}

}  // namespace

void register_attention(FusionRegistry& registry) {
  registry.add({.name = "attention",
                .order = 40,
                .pattern = std::string(pattern_text("attention")),
                .summary = "attention in one pass: scores and probabilities stay in cache",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

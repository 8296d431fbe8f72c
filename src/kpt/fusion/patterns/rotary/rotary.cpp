// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

// A table as kpt.rotary takes it: a whole row, and no more axes than x.
Verdict is_table(const Value& table, const TensorType& x, std::string_view what) {
  const TensorType& t = table.type;
  if (t.dtype != x.dtype && t.dtype != DType::f32) return no(what, " is ", t, ", x ", x);
  if (t.rank() < 1 || t.rank() > x.rank() || t.sizes.back() != x.sizes.back()) return no(what, " is ", t, ", x ", x);
  return yes();
}

// With the result as large as x, the tables broadcast to it.
Verdict when(const Graph&, Match& m) {
  const TensorType &x = m.value("x")->type, &y = m.root()->type;
  if (x != y) return no("the operand is ", x, ", the result ", y);
  if (x.dtype != DType::f32 && x.dtype != DType::bf16 && x.dtype != DType::f16) return no("the operand is ", x.dtype);
  if (!names_last_axis(m.attr("dim"), x.rank())) return no("the halves are not of the last axis");
  const auto half = number(m.attr("half")), end = number(m.attr("end"));
  const Sym& width = x.sizes.back();
  if (!width.is_const() || !half || !end || static_cast<double>(width.value()) != *end || *end != 2 * *half)
    return no("the slices are not the halves of the last axis of ", x);
  const Value &cos = *m.value("cos"), &sin = *m.value("sin");
  if (const Verdict v = is_table(cos, x, "cos"); !v) return v;
  if (const Verdict v = is_table(sin, x, "sin"); !v) return v;
  return cos.type.dtype == sin.type.dtype ? yes() : no("cos is ", cos.type.dtype, ", sin ", sin.type.dtype);
}

}  // namespace

void register_rotary(FusionRegistry& registry) {
  registry.add({.name = "rotary",
                .order = 25,
                .pattern = std::string(pattern_text("rotary")),
                .summary = "rotary position embedding: one pass, no halves in between",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

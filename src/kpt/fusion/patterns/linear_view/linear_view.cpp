// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

Verdict when(const Graph&, Match& m) {
  const Value *a = m.value("a"), *h = m.value("h"), *y = m.root();
  if (!a->producer || a->producer->op != "aten.reshape") return no("the rows are not a reshape of another tensor");
  if (y->type.rank() <= h->type.rank()) return no("the reshape does not add an axis");
  if (y->type.sizes.back() != h->type.sizes.back()) return no("the reshape splits or joins the last axis");
  std::vector<Sym> rows = y->type.sizes;
  rows.back() = a->type.sizes.back();
  m.attrs["rows"] = as_list(rows);
  return yes();
}

}  // namespace

void register_linear_view(FusionRegistry& registry) {
  registry.add({.name = "linear_view",
                .order = 30,
                .pattern = std::string(pattern_text("linear_view")),
                .summary = "the linear works on all leading axes, no flattening around it",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

// Each head of %x stands `groups` times in a row in %x3.
Verdict repeated(const Match& m, const std::string& x) {
  const auto sizes = [&](const char* step) { return m.value(x + step)->type.sizes; };
  const std::vector<Sym> from = sizes(""), one = sizes("1"), groups = sizes("2"), to = sizes("3");
  if (from.size() != 4 || groups.size() != 5) return no(x, " is not repeated from [batch, heads, length, size]");
  const std::vector<Sym> want_one = {from[0], from[1], 1, from[2], from[3]};
  const std::vector<Sym> want_groups = {from[0], from[1], groups[2], from[2], from[3]};
  const std::vector<Sym> want = {from[0], from[1] * groups[2], from[2], from[3]};
  return one == want_one && groups == want_groups && to == want ? yes() : no(x, " is not repeated head by head");
}

Verdict when(const Graph&, Match& m) {
  if (const Verdict v = repeated(m, "k"); !v) return v;
  if (const Verdict v = repeated(m, "v"); !v) return v;
  const Sym &k = m.value("k")->type.sizes[1], &v = m.value("v")->type.sizes[1];
  return k == v ? yes() : no("k has ", k, " heads, v ", v);
}

}  // namespace

void register_attention_gqa(FusionRegistry& registry) {
  registry.add({.name = "attention_gqa",
                .order = 45,
                .pattern = std::string(pattern_text("attention_gqa")),
                .summary = "grouped heads are read where they lie, not repeated in memory",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

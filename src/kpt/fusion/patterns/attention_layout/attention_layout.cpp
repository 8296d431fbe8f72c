// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

Verdict when(const Graph&, Match&) { return yes(); }

}  // namespace

void register_attention_layout(FusionRegistry& registry) {
  registry.add(
      {.name = "attention_layout",
       .order = 50,
       .pattern = std::string(pattern_text("attention_layout")),
       .summary = "the result is written as [batch, length, heads, size]: the reshape behind it copies nothing",
       .when = when,
       .parsed = nullptr});
}

}  // namespace kpt

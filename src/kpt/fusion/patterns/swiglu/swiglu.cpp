// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

// Before linear_act: the gate's linear keeps no epilogue, so that gate and up may be slices of one merged linear.
Verdict when(const Graph&, Match& m) {
  const TensorType &gate = m.value("gate")->type, &up = m.value("up")->type, &y = m.root()->type;
  if (gate != up || gate != y) return no("the gate is ", gate, ", up ", up, ", the result ", y);
  return is_float(gate.dtype) ? yes() : no("the gate is ", gate.dtype);
}

}  // namespace

void register_swiglu(FusionRegistry& registry) {
  registry.add({.name = "swiglu",
                .order = 60,
                .pattern = std::string(pattern_text("swiglu")),
                .summary = "gate and up in one pass",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "kpt/ir/graph.h"

namespace kpt {

struct GenerateOptions {
  int nodes = 24;          // nodes to make; a few more where an operator needs helpers
  bool views = true;       // reshape permute expand slice select cat
  bool reductions = true;  // sum mean amax amin var softmax log_softmax
  bool norms = true;       // layer_norm rms_norm
  bool matmuls = true;     // linear matmul addmm embedding
  bool symbolic = true;    // sizes b in [1, 4] and s in [1, 12]; else constants
};

// A random valid graph of canonical operators (docs/operators.md) for property tests: verify says yes, types are right,
// the same seed gives the same graph on every machine. Values stay tame (magnitude below 1e5, no nan, logs and roots of
// positive numbers, comparisons of exact values only) provided that a test fills
//   f32 inputs and weights with numbers in [-1, 1],   bool inputs with 0 or 1,   i64 inputs with indices in [0, 4).
// A rule of thumb for comparing two evaluations in f32: absolute plus relative error below 1e-3.
// At most 65536 elements a tensor and rank 5 at the largest sizes.
KPT_API Graph generate_graph(uint64_t seed, const GenerateOptions& options = {});

}  // namespace kpt

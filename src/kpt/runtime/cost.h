// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>

#include "kpt/kernels/kernel.h"

namespace kpt {

// The least work that no implementation of a problem gets around: what a position against the roofline is made of.
struct Cost {
  // Multiplications and additions of matrix products, convolutions and attention (causal: the half that counts); 0 for
  // operators without products; nullopt for an operator that may hold products this table does not know.
  std::optional<int64_t> flops;
  // Each operand element read once (broadcast axes count once, of a table only the rows that are looked up), each
  // output element written once. What stays in a cache between two steps counts too: the roof is the one of that size.
  int64_t bytes_read = 0, bytes_written = 0;
};

// Pure. Shapes are those of docs/operators.md.
Cost cost_of(const Problem& problem);

}  // namespace kpt

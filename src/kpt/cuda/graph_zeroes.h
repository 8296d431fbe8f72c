// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "kpt/cuda/graph.h"

namespace kpt {

// Takes the memsets to zero with which pieces begin, inside their own memory, out of a captured graph, and puts one
// kernel that does all of them before its first node. before[i]: the node after which piece i begins, null: unknown.
// Returns how many were moved; few are left where they are.
size_t gather_zeroes(CUgraph graph, const std::vector<CudaGraphPlace>& own, const std::vector<CUgraphNode>& before,
                     int device);

}  // namespace kpt

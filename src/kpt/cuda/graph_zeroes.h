// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "kpt/cuda/graph.h"

namespace kpt {

// Takes the memsets to zero with which pieces begin, inside their own memory, out of a captured graph, and puts one
// kernel that does all of them before its first node. before[i]: the node after which piece i begins, null: unknown.
// Returns how many were moved. Even one: a launch of kernels alone takes the host 2 us, with five memset nodes 9 (H200,
// driver 580); the kernel takes the GPU 3 us where a memset and the gap before it take 2.4.
size_t gather_zeroes(CUgraph graph, const std::vector<CudaGraphPlace>& own, const std::vector<CUgraphNode>& before,
                     int device);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/gather/gather.h"

namespace kpt {

// A problem of gather.h for any device: no with a reason where it breaks the contract; else its dim in [0, rank).
Verdict read_gather(const Problem& p, int& dim);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/embedding/embedding.h"

namespace kpt {

// A problem of embedding.h, read once for all devices.
struct Pick {
  int x = 0, index = 1, dim = 0;
  int64_t outer = 1, picks = 1, inner = 1, limit = 0;
};
Verdict read_pick(const Problem& p, Pick& k);

}  // namespace kpt

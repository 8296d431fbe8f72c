// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/pool/pool.h"

namespace kpt {

// One spatial axis: the window of output o is [start, start + kernel * dilation) cut to [0, size).
struct PoolAxis {
  int64_t size = 0, out = 0, kernel = 1, stride = 1, padding = 0, dilation = 1, step = 1;
  bool adaptive = false;

  // First and last + 1 position inside x; `padded` counts padding but not what ceil_mode adds beyond it.
  void window(int64_t o, int64_t& begin, int64_t& end, int64_t& padded) const;
};

// A problem of pool.h, read once for all devices.
struct Pool {
  PoolAxis h, w;
  bool max = false, include_pad = true;
  bool last = false;  // the output is [N, oh, ow, C]
  int64_t channels = 0;
  int64_t divisor = 0;
  int planes_rank = 1;
};

Verdict read_pool(const Problem& p, Pool& k);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/norm/norm.h"

namespace kpt {

// A problem of norm.h, read once for all devices.
struct Norm {
  int x = -1, residual = -1, w = -1, b = -1;  // Problem::inputs
  int leading = 0;                            // dimensions before the normalised ones
  int64_t rows = 1, width = 1;
  double eps = 0;
  bool rms = false;
};
Verdict read_norm(const Problem& p, Norm& n);
Verdict norm_supports(const Problem& p);  // as norm.h says; the kernels of both devices take the same

}  // namespace kpt

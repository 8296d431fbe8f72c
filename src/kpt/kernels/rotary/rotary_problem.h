// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/rotary/rotary.h"

namespace kpt {

// A problem of rotary.h, read once for all devices.
struct Rotary {
  TensorDesc x, cos, sin, y;  // cos and sin with the sizes of x, stride 0 where they are broadcast
  int64_t half = 0;           // d / 2
  int64_t rows = 1;
};
Verdict read_rotary(const Problem& p, Rotary& r);
Verdict rotary_supports(const Problem& p);  // as rotary.h says; the kernels of both devices take the same

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/rotary/rotary_problem.h"

namespace kpt {

// How the device code of rotary.cu shares a problem out.
struct RotaryShape {
  int vec = 1;        // elements of a half moved at once
  int axis = -1;      // leading dimension along which cos and sin are the same (heads); -1: none
  int64_t heads = 1;  // its size
  int repeat = 1;     // heads of a thread
};
RotaryShape rotary_shape(const Rotary& r, const GpuTraits& gpu);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/norm/norm_problem.h"

namespace kpt {

// How the device code of norm.cu (packs > 0) or norm_wide.cu (packs 0) shares a problem out.
struct NormShape {
  int vec = 1;      // elements moved at once: all of a row's distances are multiples of them
  int packs = 0;    // of vec elements, that a thread holds
  int threads = 0;  // for a row
  int block = 0;    // threads of a block: one or more rows
};
NormShape norm_shape(const Problem& p, const Norm& n);

}  // namespace kpt

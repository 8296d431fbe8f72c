// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"
#include "kpt/kernels/reduce/reduce_run.h"

namespace kpt {

// What a problem of reduce.h asks for, for every device.
struct Reduce {
  Reduction kind = Reduction::sum;
  TensorDesc kept, reduced;  // x's dimensions, neighbours merged, those of size 1 dropped
  float correction = 1;
  int in = 0;
};
// No with a reason where the problem breaks the contract of reduce.h.
Verdict read_reduction(const Problem& p, Reduce& r);

}  // namespace kpt

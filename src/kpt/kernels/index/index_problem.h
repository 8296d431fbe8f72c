// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/index/index.h"

namespace kpt {

// A problem of index.h, read once for all devices.
struct Index {
  std::vector<int> dims, inputs;  // indexed dimensions of x and the tensors that index them
  std::vector<Dims> strides;      // of those tensors, broadcast
  Dims picks;                     // the broadcast sizes
  Dims before, after;             // kept dimensions of x before and after the picks in the output
  Dims before_strides, after_strides;
};
Verdict read_index(const Problem& p, Index& k);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/write/write.h"

namespace kpt {

// A problem of write.h, read once for all devices.
struct Write {
  TensorDesc state, index, source;
  int dim = 0;
  int64_t count = 0;  // numbers in index
  int64_t size = 0;   // of state along dim
  int64_t inner = 1;  // elements of state behind dim
  int64_t step() const { return index.sizes.rank() ? index.strides[0] : 0; }
};
Verdict read_write(const Problem& p, Write& w);

}  // namespace kpt

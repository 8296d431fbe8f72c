// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/softmax/softmax.h"

namespace kpt {

// A problem of softmax.h, read once for all devices.
struct Softmax {
  int dim = 0;
  bool log = false;
  TensorDesc x, y;  // without `dim`
  int64_t width = 1, x_stride = 1, y_stride = 1;
};
Verdict read_softmax(const Problem& p, Softmax& s);

}  // namespace kpt

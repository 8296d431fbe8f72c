// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lstm/lstm.h"

namespace kpt {

// A problem of lstm.h, read once for all devices. Numbers of tensors are positions in Problem::inputs; -1: no bias.
struct Lstm {
  struct Weights {
    int ih = -1, hh = -1, b_ih = -1, b_hh = -1;
  };
  int x = 0, h0 = 0, c0 = 0;
  int64_t steps = 0, batch = 0, inputs = 0, hidden = 0, layers = 1, directions = 1;
  int64_t x_step = 0, x_batch = 0, x_column = 0;  // strides
  int64_t y_step = 0, y_batch = 0;
  std::vector<Weights> weights;  // layer * directions + direction
};
Verdict read_lstm(const Problem& p, Lstm& l);

}  // namespace kpt

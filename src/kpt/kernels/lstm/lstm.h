// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.lstm.input(%x, [%h0, %c0], [weights..], has_biases=, num_layers=, dropout=, train=, bidirectional=,
// batch_first=) -> y, hn, cn, in inference. x: [S, B, I] or, batch_first, [B, S, I], any strides; h0, c0, hn, cn:
// [layers * directions, B, H]; y: as x with directions * H columns. Weights of each layer and direction: [4H, I], [4H,
// H] and, with biases, twice [4H]; rows in the order input, forget, cell, output gate. One dtype; all but x dense.
//   i, f, o = sigmoid, g = tanh of w_ih x + b_ih + w_hh h + b_hh;   c = f c + i g;   h = o tanh(c)
// The states of a running sum of steps are not rounded to the dtype on the way. No projections (proj_size). Not in
// place.

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/join/join.h"

namespace kpt {

// One copy: a part of input `in` to a part of the output. Offsets in elements.
struct JoinPart {
  int in = 0;
  TensorDesc from, to;
  int64_t from_offset = 0, to_offset = 0;
};

// A problem of join.h, read once for all devices: copies in this order. fill: the whole output is set to `value` first.
// start: of the last part in the output, one number for each dimension, where the part is a box and what is around it
// comes from elsewhere (padding, scatter); else empty.
struct Join {
  std::vector<JoinPart> parts;
  bool fill = false;
  double value = 0;
  Dims start;
};
Verdict read_join(const Problem& p, Join& j);

// Keeps the elements [start, start + size * step) of dimension d.
void keep_range(TensorDesc& desc, int64_t& offset, int d, int64_t start, int64_t size, int64_t step);

}  // namespace kpt

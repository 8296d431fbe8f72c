// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/fill/fill.h"

namespace kpt {

// A number of an attribute, exact for integers.
struct FillNumber {
  bool integer = true;
  int64_t i = 0;
  double d = 0;
};

// A problem of fill.h, read once for all devices. The values, row-major: either all of a constant, or first + i * step.
struct Fill {
  std::vector<FillNumber> values;
  FillNumber first, step;
};

Verdict read_fill(const Problem& p, Fill& f);

// One element of the output.
void put_number(DType dtype, void* element, const FillNumber& number);

}  // namespace kpt

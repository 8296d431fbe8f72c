// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/program/program.h"

namespace kpt {

// The reference of kpt.pointwise, kpt.row and every pointwise operator: double loops, element by element, any dtype,
// any strides. Integers are exact up to 2^53.
class ProgramReference : public Launch {
 public:
  ProgramReference(const Problem& problem, Program program);
  void run(const RunArgs& args) const override;

 private:
  Problem problem_;
  Program program_;
  Dims sizes_;
  int64_t width_;
};

// One instruction on doubles; `at` is the dtype of the operands (integers divide and wrap differently).
double evaluate(const Step& step, double x, double y, double z);

}  // namespace kpt

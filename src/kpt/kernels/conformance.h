// SPDX-License-Identifier: Apache-2.0
#pragma once
// One suite for every kernel: each registered kernel (all providers but reference and aten) runs each case of its
// operator that it supports, and its outputs are held against the reference kernel on the same values in f64.
// An operator's cases stand in its folder's test; an operator with a kernel and without cases fails the suite.
#include <functional>
#include <string>
#include <vector>

#include "kpt/kernels/kernel.h"

namespace kpt::conformance {

// The values an input is filled with: uniform in [lo, hi], integers included; `special` sprinkles NaN and infinities
// over one row in eight of a float input.
struct Range {
  double lo = -3, hi = 3;
  bool special = false;
};

struct Case {
  std::string label;
  Problem problem;
  std::vector<Range> ranges;  // of the inputs; missing ones are the default
  int64_t reduction = 1;      // terms in one output's sum: decides the tolerance
  // Some functions have a bound on the absolute error only where terms cancel: this magnitude is added to the scale.
  double scale = 0;
  std::function<void(std::vector<Tensor>&)> edit = {};  // of the filled inputs, where numbers must hang together
};

// Relative error allowed for an output of `dtype` that sums `reduction` terms: the rounding of the output itself (one
// unit of its dtype, for a value near a tie) plus f32 arithmetic: 16 units of 2^-24 for elementary functions
// (kernels/lib/cpu/math.h allows 8), and sqrt(n) of them for a sum of n terms in arbitrary order (Higham, "Accuracy and
// Stability of Numerical Algorithms", 4.2: the statistical estimate of rounding errors). 0 for integers and bool.
double tolerance(DType dtype, int64_t reduction);

// Where the error is measured from: |want| plus the root mean square of all finite wanted values plus Case::scale.

using Maker = std::function<std::vector<Case>(DType)>;  // for f32, bf16, f16, f64 in turn
bool add(const std::string& op, Maker maker);           // static registration: const bool x = add("aten.add", ...)
const std::vector<std::pair<std::string, Maker>>& makers();

// Tools for the tables.
TensorDesc dense(DType dtype, const Dims& sizes);
TensorDesc transposed(DType dtype, const Dims& sizes);               // last two dimensions swapped in memory
TensorDesc padded(DType dtype, const Dims& sizes, int64_t padding);  // rows with a gap
TensorDesc expanded(DType dtype, const Dims& sizes, int dim);        // stride 0 along dim
double lowest(DType dtype);  // finite number of a float type: with it models hide what softmax should pass over
Case make_case(std::string label, std::string op, std::vector<TensorDesc> inputs, AttrList args, Kwargs kwargs,
               std::vector<TensorDesc> outputs, int64_t reduction = 1);

// Memory of a case: inputs filled from the ranges with a seed made of the label.
std::vector<Tensor> make_inputs(const Case& c);
// Runs a kernel with guarded outputs and workspace; the failure in words, "" if none.
std::string run_kernel(const Kernel& kernel, const Problem& problem, const std::vector<Tensor>& inputs,
                       std::vector<Tensor>& outputs);
// The same values through the reference kernel in f64.
std::string run_reference(const Problem& problem, const std::vector<Tensor>& inputs, std::vector<Tensor>& outputs);
// "" where got is within tolerance of want, else the worst element in words.
std::string compare(const Tensor& got, const Tensor& want, double tolerance, double scale);
// All together, for one kernel and one case.
std::string check(const Kernel& kernel, const Case& c);

}  // namespace kpt::conformance

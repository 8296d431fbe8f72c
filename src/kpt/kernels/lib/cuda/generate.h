// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>

#include "kpt/kernels/lib/program/micro.h"
#include "kpt/kernels/lib/program/program.h"

namespace kpt {

// Programs (lib/program/program.h) as CUDA C++, in the functions of lib/cuda/program.cuh. The text depends on the
// program and its dtypes alone, never on sizes: equal programs give equal bytes, so that the cache of compiled kernels
// hits.

std::string cuda_lane(Lane lane);  // "float", "double", "i64", "bool"

// An operand in the text: an expression of its lane.
struct CudaOperand {
  std::string text;
  Lane lane = Lane::f32;
};
// Of an input or a step; numbers and absent arguments are never asked for.
using CudaOperands = std::function<CudaOperand(const Arg&)>;

// A literal, rounded as the lane holds it.
std::string cuda_number(double value, Lane lane);
// The operand in another lane.
std::string cuda_as(const CudaOperand& operand, Lane lane);

// What a step that is no row instruction computes, of lane_of(step.result), with integers wrapped to their dtype and
// casts to bf16 and f16 rounded. No with a reason for an integer division by what may be 0 (PyTorch raises, a kernel
// cannot) and a clamp without bounds.
Verdict cuda_expression(const Step& step, const CudaOperands& operands, std::string& text);

// What a row instruction reduces: its argument in the lane it is summed in, and that lane.
CudaOperand cuda_row_argument(const Step& step, const CudaOperands& operands);

// One for each input, then one for each output, of the program: element types in device code.
std::vector<DType> program_dtypes(const Problem& problem, const Program& program);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {

// kpt.pointwise, single pointwise operators, and whatever can be written as such a problem, on a GPU: one generated
// kernel for each program and its dtypes (generate.h); sizes, strides and how each tensor is reached come at run time
// (walk.cuh). Contract: pointwise/pointwise.h. A thread computes one unit of VEC elements, or several where everything
// is dense and large; 16 bytes are moved at once. In place as on the CPU: a thread reads all it needs before it writes.
Verdict cuda_pointwise_supports(const Problem& problem);
CudaWork cuda_pointwise_work(const Problem& problem);  // throws Error{bad_input} where it is not supported

}  // namespace kpt

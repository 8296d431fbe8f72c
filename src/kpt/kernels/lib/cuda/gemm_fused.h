// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/cuda/cudnn_matmul.h"
#include "kpt/kernels/lib/cuda/gemm_cuda.h"

namespace kpt {

// cuBLASLt's only gelu is the tanh form, and it has no silu: such an activation costs a pass over y. cuDNN compiles a
// product with it inside.

// The call in words of cuDNN; a no where cuBLASLt leaves no activation to do, for other types than bf16 and f16,
// batches, factors, relu (cuDNN's drops NaN) and operands that are not made of 16-byte pieces. Pure.
Verdict cudnn_matmul_problem(const GemmCall& call, CudnnMatmul& out);
// Is the product so large that the pass over y is worth compiling an engine? Pure.
bool is_large(const CudnnMatmul& problem);

// Who may win: the faster one, or (for tests) cuDNN.
enum class GemmContest : uint8_t { fair, fused };
// By cuDNN's product with everything inside or by `library`, whichever is faster here: timed once for each of the first
// sizes of a family, kept between processes. `library` does the same call.
std::unique_ptr<Launch> make_fused_gemm(GemmCall call, const CudnnMatmul& problem, std::unique_ptr<Launch> library,
                                        GemmContest contest = GemmContest::fair);

}  // namespace kpt

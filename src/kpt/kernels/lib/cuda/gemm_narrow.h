// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/gemm_cuda.h"
#include "kpt/kernels/lib/cuda/gemm_narrow.cuh"

namespace kpt {

// How gemm_narrow.cu cuts one product. A pure value.
struct NarrowGemm {
  GemmCall call;
  NarrowArguments arguments{};
  int groups = 1;             // of 64 rows of x, in a block: 1 or 2
  int split = 1;              // blocks that share out the depth: 1, 2 or 4
  bool w_along_depth = true;  // else w is stored by depth: [k][n]
  int64_t blocks() const;
  int64_t step_bytes() const;  // of shared memory
  int64_t shared_bytes() const;
};

// The cuts worth a try for a product of 17 to 256 rows (Hopper alone), best first, three at most; none where the kernel
// cannot do it: bf16 or f16, no batch, no factor, depth contiguous in x and either axis in w, sizes and row strides
// multiples of 8.
std::vector<NarrowGemm> narrow_gemms(const GemmCall& call, const GpuTraits& gpu);
// Every program that a product of the same type, activation and layout may take at other sizes: compiled with the
// first, so that a new length compiles nothing.
std::vector<CudaProgram> narrow_programs(const GemmCall& call);
// All operands must start on 16 bytes.
CudaWork plan_narrow_gemm(const NarrowGemm& gemm);

}  // namespace kpt

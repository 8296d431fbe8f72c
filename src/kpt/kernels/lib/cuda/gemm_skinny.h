// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/gemm_cuda.h"
#include "kpt/kernels/lib/cuda/gemm_skinny.cuh"

namespace kpt {

// How gemm_skinny.cu cuts one product. A pure value.
struct SkinnyGemm {
  GemmCall call;
  SkinnyArguments arguments{};
  int tiles = 1;   // of 16 rows of w, in a block: 1, 2 or 4
  int stages = 4;  // chunks of w that a warp has under way, and the one it works on
  int64_t shared_bytes() const;
};

// A product of up to 16 rows whose weights are what takes the time: decoding. bf16 or f16, depth contiguous in x and w,
// depth and rows in 16-byte pieces, weights of a MiB and more; a no otherwise. Any n, any strides of y and residual
// rows.
Verdict skinny_gemm(const GemmCall& call, const GpuTraits& gpu, int tiles, SkinnyGemm& out);
// x and w must start on 16 bytes.
CudaWork plan_skinny_gemm(const SkinnyGemm& gemm);

}  // namespace kpt

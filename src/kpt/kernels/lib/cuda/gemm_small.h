// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/gemm_cuda.h"
#include "kpt/kernels/lib/cuda/gemm_small.cuh"

namespace kpt {

// How gemm_small.cu cuts one product. A pure value.
struct SmallGemm {
  GemmCall call;
  SmallGemmArguments arguments{};
  bool w_rows = true;  // depth is contiguous in w
  int rows = 64;       // of a tile: 64 or 128; it has 64 columns
  int split = 1;       // blocks of a cluster, along the depth
  int tiles = 0;
};

// With tiles of `rows` rows. A no for other types than bf16 and f16, more than 256 rows or fewer than 17, batches, and
// operands that are not made of 16-byte pieces.
Verdict small_gemm(const GemmCall& call, const GpuTraits& gpu, int rows, SmallGemm& out);
// Operands must start on 16 bytes.
CudaWork plan_small_gemm(const SmallGemm& gemm);

// Is there a kernel of ours for so few rows: this one, or gemm_skinny.h.
bool races(const GemmCall& call, const GpuTraits& gpu);
// By the kernel of ours or the library's, whichever is faster here: timed once for each of the first sizes of a family,
// kept between processes; a later size of the family goes the way of the last timed one.
std::unique_ptr<Launch> make_raced_gemm(GemmCall call, const GpuTraits& gpu, std::unique_ptr<Launch> library);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/gemm_cuda.h"
#include "kpt/kernels/lib/cuda/gemm_wide.cuh"

namespace kpt {

// How gemm_wide.cu cuts one product. A pure value.
struct WideGemm {
  GemmCall call;
  WideArguments arguments{};
  bool w_along_depth = true;  // else w is stored by depth: [k][n]
  bool pair_rows = true;      // two blocks take 256 rows of x and 256 of w, else 128 and 512
  int y_boxes = 1;            // Y_BOXES
  int parts = 1;              // PARTS
  int blocks = 2;
};

// A product of 64 rows and more (Hopper alone): bf16 or f16, no residual, the depth contiguous in x and either axis in
// w, their rows in 16-byte pieces, any n, k a multiple of 8 and 512 at least, tiles for a quarter of the
// multiprocessors at least. A no otherwise, and where no kernel of ours won so far: without an activation and n below
// 2048.
// `classes`: rows of y that start on any element in classes (WideArguments), where that wastes no tiles.
Verdict wide_gemm(const GemmCall& call, const GpuTraits& gpu, WideGemm& out, bool classes = true);
// x and w must start on 16 bytes, y too where its rows do.
CudaWork plan_wide_gemm(const WideGemm& gemm);

}  // namespace kpt

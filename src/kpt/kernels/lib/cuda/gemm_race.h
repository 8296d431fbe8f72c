// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/gemm_cuda.h"

namespace kpt {

// Is there a kernel of ours beside the library's: gemm_skinny.h, gemm_narrow.h, gemm_wide.h.
bool races(const GemmCall& call, const GpuTraits& gpu);
// By the kernel of ours or the library's, whichever is faster here: timed once for each of the first sizes of a family,
// kept between processes; a later size of the family goes the way of the last timed one.
std::unique_ptr<Launch> make_raced_gemm(GemmCall call, const GpuTraits& gpu, std::unique_ptr<Launch> library);

}  // namespace kpt

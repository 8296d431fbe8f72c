// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>

#include "kpt/kernels/lib/cuda/gemm_cuda.h"

namespace kpt {

// A launch of the library for a call.
using MakeGemm = std::function<std::unique_ptr<Launch>(const GemmCall& call)>;

// Rows of the pieces that a product with a tail kernel may be cut into, so that the tail finds y in the L2 cache. Empty
// where y is small, or nothing is left to a tail.
std::vector<int64_t> tail_pieces(const GemmCall& call);

// The rows of a product without batches and residual, `rows` at a time, each piece by the launch that `make` gives.
std::unique_ptr<Launch> gemm_in_pieces(const GemmCall& call, int64_t rows, const MakeGemm& make);

// The library's launch, or a way of ours where it is faster here: gemm_skinny.h for few rows, pieces for a large
// product with a tail. Timed once for each of the first sizes of a family, kept between processes; a later size of the
// family goes the way of the last timed one.
std::unique_ptr<Launch> race_gemm(const GemmCall& call, const GpuTraits& gpu, std::unique_ptr<Launch> library,
                                  const MakeGemm& make);

}  // namespace kpt

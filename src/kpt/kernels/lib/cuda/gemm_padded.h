// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/gemm_cuda.h"

namespace kpt {

// A large product whose rows of y are no multiple of 16 bytes (a vocabulary of 50257): cuBLASLt has slow algorithms
// alone for such a y (8.03 ms instead of 1.2 for GPT-2's on an H200). It goes to rows that are, `chunk` of them at a
// time, few enough to stay in the L2 cache, and from there into y, with bias and activation where cuBLASLt was not
// asked for them. A pure value.
struct PaddedGemm {
  GemmCut whole;    // as cut without padding: one item, no residual
  int64_t x_m = 0;  // elements between rows of x
  int64_t ld = 0;   // elements between padded rows
  int64_t chunk = 0;
  CudaGemm of(int64_t rows) const;  // the product of that many rows
  size_t bytes() const { return static_cast<size_t>(chunk * ld) * size_of(whole.dtype); }
};

bool pad_gemm(const GemmCall& call, PaddedGemm& out);
// The copy of `rows` rows from the workspace to row `first` of y.
CudaWork plan_unpad(const PaddedGemm& padded, int64_t first, int64_t rows);
std::unique_ptr<Launch> make_padded_gemm(PaddedGemm padded, const GpuTraits& gpu);

}  // namespace kpt

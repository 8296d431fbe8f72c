// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "kpt/cuda/gemm.h"
#include "kpt/kernels/lib/cpu/gemm_run.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {

// A product of linear or matmul cut into strided batches for cuBLASLt, and what it leaves to our tail kernel. A pure
// value. Offsets and strides in elements.
struct GemmItem {
  int64_t x = 0, w = 0, y = 0, residual = 0;
};
struct GemmCut {
  DType dtype = DType::f32;
  GemmOperands at;
  CudaGemm gemm;                // of one item; depth 0: y is zeroed instead
  std::vector<GemmItem> items;  // one call each: batch axes that one step cannot say
  // Still to be done to y: act(y + bias) + beta residual, each where set.
  bool tail_bias = false, tail_residual = false;
  Act tail_act = Act::none;
  int64_t m = 0, n = 0, batch = 1;
  int64_t y_step = 0, residual_m = 0, residual_n = 1, residual_step = 0;
  double beta = 1;

  bool empty() const { return items.empty() || m * n * batch == 0; }
  int64_t outputs() const { return static_cast<int64_t>(items.size()) * batch * m * n; }  // y is row-major: no gaps
  bool has_tail() const { return tail_bias || tail_residual || tail_act != Act::none; }
};

// How much of the epilogue cuBLASLt is asked for: all it can say exactly, or nothing (where it has no algorithm for
// the former).
enum class GemmFusion : uint8_t { most, none };

// The cut; a no for f64, and for operands that no leading dimension can say (both strides above 1, or 0).
Verdict cut_gemm(const GemmCall& call, GemmFusion fusion, GemmCut& cut);

// The tail as kernel launches, one an item. Programs: one for each element type and activation.
CudaWork plan_gemm_tail(const GemmCut& cut, const GpuTraits& gpu);

Verdict cuda_gemm_supports(const GemmCall& call);
std::unique_ptr<Launch> make_cuda_gemm(GemmCall call, const GpuTraits& gpu);
// cuBLASLt's first guess for operands that start anywhere; nothing is timed.
std::unique_ptr<Launch> make_unaligned_gemm(GemmCall call, const GpuTraits& gpu);

}  // namespace kpt

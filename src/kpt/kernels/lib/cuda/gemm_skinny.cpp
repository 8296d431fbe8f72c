// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_skinny.h"

#include <algorithm>

namespace kpt {
namespace {

constexpr int64_t kMostRows = 16;                    // of x
constexpr int64_t kLeastWeights = int64_t{1} << 19;  // smaller ones take a few microseconds by any kernel
constexpr int64_t kWarps = 8, kChunkBytes = 128;     // of a row of w

}  // namespace

int64_t SkinnyGemm::shared_bytes() const {
  const int64_t chunks = kWarps * stages * 16 * tiles * kChunkBytes;
  const int64_t sums = kWarps * (call.product.m > 8 ? 16 : 8) * (16 * tiles + 4) * 4;
  return std::max(chunks, sums);
}

Verdict skinny_gemm(const GemmCall& call, const GpuTraits& gpu, int tiles, SkinnyGemm& out) {
  out = {};
  out.call = call;
  GemmProblem& p = out.call.product;
  fold_batch(p);
  if (call.dtype != DType::bf16 && call.dtype != DType::f16) return no("got ", call.dtype, ", want bf16 or f16");
  if (gpu.arch != 0 && gpu.arch < 80) return no("got compute capability ", gpu.arch, ", want 80 or newer");
  if (p.batch_dims > 0) return no("a batch of products");
  if (p.m < 1 || p.m > kMostRows) return no("got ", p.m, " rows, want 1 to ", kMostRows);
  if (p.alpha != 1) return no("a factor");
  if (p.x_k != 1 || p.w_k != 1) return no("got strides ", p.x_k, " and ", p.w_k, " along the depth, want 1");
  if (p.has_residual && p.residual_n != 1) return no("got a residual with stride ", p.residual_n, ", want 1");
  if (p.k % 8 || p.w_n % 8 || (p.m > 1 && p.x_m % 8))
    return no("got k ", p.k, " and row strides ", p.x_m, " and ", p.w_n, ", want multiples of 8");
  if (p.n * p.k < kLeastWeights || p.n > (1 << 24) || p.k > (1 << 24)) return no("got n ", p.n, " k ", p.k);
  out.tiles = tiles;
  SkinnyArguments& a = out.arguments;
  a.x_m = p.x_m * 2, a.w_step = p.w_n * 2, a.y_m = p.y_m * 2, a.residual_m = p.residual_m * 2;
  a.m = static_cast<int>(p.m), a.n = static_cast<int>(p.n), a.k = static_cast<int>(p.k);
  a.act = static_cast<int>(p.act);
  a.beta = static_cast<float>(p.beta);
  a.early = call.lasting_w;
  // 64, 96 or 192 KiB: three, two blocks or one of a multiprocessor, which then has 128 KiB and more under way.
  out.stages = tiles == 1 ? 4 : 3;
  while (out.stages > 2 && out.shared_bytes() > gpu.shared_bytes) --out.stages;
  return out.shared_bytes() <= gpu.shared_bytes ? yes() : no("got ", gpu.shared_bytes, " bytes of shared memory");
}

CudaWork plan_skinny_gemm(const SkinnyGemm& g) {
  CudaCall call;
  call.program = {"lib/cuda/gemm_skinny.cu",
                  cuda_text("lib/cuda/gemm_skinny.cu"),
                  {cat("ELEM=", cuda_type(g.call.dtype)), cat("TILES=", g.tiles), cat("STAGES=", g.stages),
                   cat("ROWS_X=", g.arguments.m > 8 ? 16 : 8)},
                  "gemm_skinny"};
  call.shape.grid[0] = static_cast<uint32_t>((g.arguments.n + 16 * g.tiles - 1) / (16 * g.tiles));
  call.shape.block[0] = 32 * kWarps;
  call.shape.shared_bytes = static_cast<uint32_t>(g.shared_bytes());
  call.shape.overlap = true;
  const GemmOperands& at = g.call.at;
  const auto operand = [](int index) { return index < 0 ? null_param() : in_param(index); };
  call.params = {in_param(at.x),
                 in_param(at.w),
                 operand(g.call.product.has_bias ? at.bias : -1),
                 operand(g.call.product.has_residual ? at.residual : -1),
                 out_param(0),
                 value_param(g.arguments)};
  CudaWork work;
  work.config = cat("skinny, ", 16 * g.tiles, " weight rows a block, stages ", g.stages);
  work.calls.push_back(std::move(call));
  return work;
}

}  // namespace kpt

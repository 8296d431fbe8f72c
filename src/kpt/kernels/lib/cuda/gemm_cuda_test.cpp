// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_cuda.h"

#include <gtest/gtest.h>

#include "kpt/cuda/nvrtc.h"

namespace kpt {
namespace {

GemmCut tail_cut(DType dtype, int64_t m, int64_t n, Act act, bool residual) {
  GemmCut cut;
  cut.dtype = dtype;
  cut.at = {0, 1, 2, residual ? 3 : -1};
  cut.items = {{}};
  cut.m = m, cut.n = n;
  cut.tail_act = act;
  cut.tail_residual = residual;
  cut.residual_m = n;
  return cut;
}

// Two rows a thread where that still leaves four blocks for every multiprocessor, else one.
TEST(CudaGemmTail, GridCoversEveryElementOnce) {
  const GpuTraits h200{90, 132, 60 << 20, 232448};
  const auto blocks = [&](int64_t m, int64_t n, int64_t batch = 1) {
    GemmCut cut = tail_cut(DType::bf16, m, n, Act::gelu, true);
    cut.batch = batch;
    const CudaCall call = plan_gemm_tail(cut, h200).calls.at(0);
    EXPECT_EQ(call.shape.grid[1] * call.shape.grid[2], 1u);
    return call.shape.grid[0];
  };
  EXPECT_EQ(blocks(16384, 4096), 16384 / 2 * 2);  // 512 vectors a row
  EXPECT_EQ(blocks(16385, 4096), 8193 * 2);
  EXPECT_EQ(blocks(128, 1536), 128);
  EXPECT_EQ(blocks(128, 384), 32);     // 48 vectors: 64 threads, 4 rows a block
  EXPECT_EQ(blocks(128, 384, 3), 96);  // items apart
  EXPECT_EQ(blocks(5, 77), 3);         // odd width: one element a thread
}

TEST(CudaGemmTail, OneCallWhereOnlyTheOutputIsTouched) {
  GemmCut cut = tail_cut(DType::f32, 7, 16, Act::silu, false);
  cut.items = {{0, 0, 0, 0}, {1, 1, 2 * 7 * 16, 1}};
  cut.batch = 2;
  cut.y_step = 7 * 16;
  EXPECT_EQ(plan_gemm_tail(cut, {}).calls.size(), 1u);
  cut.tail_residual = true;
  cut.at.residual = 3;
  EXPECT_EQ(plan_gemm_tail(cut, {}).calls.size(), 2u);
  EXPECT_TRUE(plan_gemm_tail(tail_cut(DType::f32, 7, 16, Act::none, false), {}).calls.empty());
}

TEST(CudaGemmTail, EveryProgramCompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  const auto fault = [](DType dtype, Act act, bool bias, bool residual, int arch) {
    GemmCut cut = tail_cut(dtype, 64, 64, act, residual);
    cut.tail_bias = bias;
    return check_cuda_work(plan_gemm_tail(cut, {}), arch);
  };
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const bool residual : {false, true}) {
      EXPECT_EQ(fault(dtype, Act::gelu, true, residual, 80), "");
      EXPECT_EQ(fault(dtype, Act::gelu, false, residual, 100), "");
    }
  for (int act = 0; act <= static_cast<int>(Act::sigmoid); ++act)
    EXPECT_EQ(fault(DType::bf16, static_cast<Act>(act), true, true, 90), "");
}

}  // namespace
}  // namespace kpt

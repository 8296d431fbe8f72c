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

// Two rows a thread where that still leaves blocks for every multiprocessor, else one.
TEST(CudaGemmTail, GridCoversEveryElementOnce) {
  const GpuTraits h200{90, 132, 60 << 20, 232448};
  const auto grid = [&](int64_t m, int64_t n) {
    return plan_gemm_tail(tail_cut(DType::bf16, m, n, Act::gelu, true), h200).calls.at(0).shape.grid;
  };
  EXPECT_EQ(grid(16384, 4096), (std::array<uint32_t, 3>{8192, 2, 1}));  // 512 vectors a row
  EXPECT_EQ(grid(128, 1536), (std::array<uint32_t, 3>{128, 1, 1}));
  EXPECT_EQ(grid(128, 384), (std::array<uint32_t, 3>{32, 1, 1}));  // 48 vectors: 64 threads, 4 rows a block
  EXPECT_EQ(grid(5, 77), (std::array<uint32_t, 3>{3, 1, 1}));      // odd width: one element a thread
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
  const auto fault = [](DType dtype, Act act, int arch) {
    return check_cuda_work(plan_gemm_tail(tail_cut(dtype, 64, 64, act, true), {}), arch);
  };
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    EXPECT_EQ(fault(dtype, Act::gelu, 80), "");
    EXPECT_EQ(fault(dtype, Act::gelu, 100), "");
  }
  for (int act = 0; act <= static_cast<int>(Act::sigmoid); ++act)
    EXPECT_EQ(fault(DType::bf16, static_cast<Act>(act), 90), "");
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
// The cut as a pure function, the programs without spills, and on a Hopper GPU every variant against the reference.
#include "kpt/kernels/lib/cuda/gemm_wide.h"

#include <gtest/gtest.h>

#include <tuple>

#include <tuple>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/lib/cuda/gemm_cases.h"
#include "kpt/kernels/lib/cuda/gemm_race.h"

namespace kpt {
namespace {

using namespace gemm_cases;

std::string reason(const GemmCall& call, const GpuTraits& gpu) {
  WideGemm g;
  return wide_gemm(call, gpu, g).reason;
}

TEST(WideGemm, CutsIntoTilesForTheWholeGpu) {
  WideGemm g;
  ASSERT_TRUE(wide_gemm(call_of({4096, 4096, 1024, Act::gelu, true}), hopper(), g));
  EXPECT_EQ(g.arguments.tiles, 256);
  EXPECT_EQ(g.arguments.steps, 16);
  EXPECT_EQ(g.parts, 1);
  EXPECT_EQ(g.blocks, 132);
  ASSERT_TRUE(wide_gemm(call_of({6304, 3080, 520, Act::gelu, true}), hopper(),
                        g));  // rows, columns and depth that are no whole tiles
  EXPECT_EQ(g.arguments.rows, 25);
  EXPECT_EQ(g.arguments.columns, 13);
  EXPECT_EQ(g.arguments.steps, 9);
  EXPECT_EQ(g.parts, 2);
  ASSERT_TRUE(wide_gemm(call_of({2048, 1280, 1024, Act::gelu, true}), hopper(), g));
  EXPECT_EQ(g.blocks, 80);  // two for each of 40 tiles
  EXPECT_EQ(g.y_boxes, 1);
  ASSERT_TRUE(wide_gemm(call_of({8192, 50257, 1024, Act::none, false}), hopper(), g));  // rows of y start anywhere
  EXPECT_EQ(g.y_boxes, 2);
  EXPECT_TRUE(g.pair_rows);
  ASSERT_TRUE(wide_gemm(call_of({128, 50257, 1024, Act::none, false}), hopper(), g));  // no 128 rows more to pair with
  EXPECT_FALSE(g.pair_rows);
  EXPECT_EQ(g.arguments.tiles, 99);
  EXPECT_LE(plan_wide_gemm(g).calls[0].shape.shared_bytes, 227u << 10);
}

TEST(WideGemm, SaysWhyNot) {
  const Product layer{4096, 4096, 1024, Act::gelu, true};
  EXPECT_EQ(reason(call_of(layer), hopper()), "");
  EXPECT_EQ(reason(call_of(layer), {80, 108, 40 << 20, 164 << 10}), "got compute capability 80, want 90");
  EXPECT_EQ(reason(call_of(layer), {100, 148, 126 << 20, 227 << 10}), "got compute capability 100, want 90");
  EXPECT_EQ(reason(call_of(layer, DType::f32), hopper()), "got f32, want bf16 or f16");
  EXPECT_EQ(reason(call_of({4096, 4096, 1028, Act::gelu, true}), hopper()),
            "got k 1028 and row strides 1028 and 1028, want multiples of 8");
  EXPECT_EQ(reason(call_of({4096, 4096, 384, Act::gelu, true}), hopper()), "got a depth of 384, want 512 and more");
  EXPECT_EQ(reason(call_of({129, 4096, 1024, Act::gelu, true}), hopper()), "got 16 tiles, want 33 and more");
  EXPECT_EQ(reason(call_of({48, 50257, 1024, Act::gelu, true}), hopper()), "got m 48, want 64 and more");
  EXPECT_EQ(reason(call_of({4096, 1024, 1024, Act::none, true}), hopper()), "no activation and got n 1024");
  GemmCall added = call_of(layer);
  added.product.has_residual = true;
  EXPECT_EQ(reason(added, hopper()), "a factor or a residual");
}

TEST(WideGemm, RacesTheLibrary) {
  EXPECT_TRUE(races(call_of({4096, 4096, 1024, Act::gelu, true}), hopper()));
  EXPECT_TRUE(races(call_of({8192, 3072, 1024, Act::none, true, false, false}), hopper()));
  EXPECT_FALSE(races(call_of({4096, 1024, 4096, Act::none, true}), hopper()));
}

TEST(WideGemm, BandsCoverEachTileOnce) {
  for (const Product& p : {Product{6304, 3080, 520, Act::gelu, true}, Product{256 * 9, 256 * 7, 1024, Act::gelu, true},
                           Product{100, 512 * 33, 1024, Act::gelu, true}}) {
    WideGemm g;
    ASSERT_TRUE(wide_gemm(call_of(p), hopper(), g));
    const WideArguments& a = g.arguments;
    std::vector<int> seen(static_cast<size_t>(a.tiles), 0);
    for (int tile = 0; tile < a.tiles; ++tile) {
      const auto [row, column] = wide_tile(a, tile);
      ASSERT_LT(row, a.rows);
      ASSERT_LT(column, a.columns);
      ++seen[static_cast<size_t>(row * a.columns + column)];
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), a.tiles);
  }
}

// Every element of y by some tile, none beside it, and the copy engine's rows on 16 bytes but at a row's ends.
TEST(WideGemm, ClassesCoverRowsThatStartAnywhere) {
  for (const auto& [m, n, classes] : {std::tuple<int64_t, int64_t, int>{2048, 2051, 8},
                                      {2048, 50257, 8},
                                      {1000, 2052, 2},
                                      {1024, 2054, 4},
                                      {4096, 2305, 8},
                                      {2048, 2303, 8},
                                      {16384, 257, 8}}) {
    WideGemm g;
    ASSERT_TRUE(wide_gemm(call_of({m, n, 512, Act::gelu, true}), hopper(), g)) << m << " " << n;
    const WideArguments& a = g.arguments;
    ASSERT_EQ(a.classes, classes) << m << " " << n;
    EXPECT_EQ(g.y_boxes, 2);
    std::vector<char> seen(static_cast<size_t>(m * n), 0);
    for (int tile = 0; tile < a.tiles; ++tile)
      for (int rank : {0, 1}) {
        const WidePlace at = wide_place<true>(a, tile, rank);
        ASSERT_GE(at.column, 0);
        ASSERT_LE(at.column + kWideW, n);
        ASSERT_LT(at.of_class, classes);
        const bool inside = at.column > 0 && at.column + kWideW < n;
        ASSERT_TRUE(!inside || (at.of_class * n + at.column) % 8 == 0);
        for (int64_t i = at.row; i < std::min<int64_t>(at.row + kWideX, a.m); ++i)
          std::fill_n(seen.begin() + (i * classes + at.of_class) * n + at.column, kWideW, 1);
      }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), 0) << m << " " << n;
  }
}

TEST(WideGemm, ClassesOnlyWhereTheyFit) {
  const auto boxes = [](const Product& p) {
    WideGemm g;
    EXPECT_TRUE(wide_gemm(call_of(p), hopper(), g));
    return g.y_boxes;
  };
  EXPECT_EQ(boxes({8192, 50257, 1024, Act::none, false}), 2);
  EXPECT_EQ(boxes({8192, 50256, 1024, Act::none, false}), 1);
  EXPECT_EQ(boxes({8190, 50257, 1024, Act::none, false}), 0);  // the last class would lack rows
  EXPECT_EQ(boxes({1024, 50257, 1024, Act::none, false}), 0);  // half of each tile would be empty
  EXPECT_EQ(boxes({8192, 50257, 1032, Act::none, false}), 0);  // a step would end in the next row of x
  EXPECT_EQ(boxes({128, 50257, 1024, Act::none, false}), 0);
}

TEST(WideGemm, CompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  for (const Act act : {Act::none, Act::gelu, Act::gelu_tanh, Act::silu, Act::relu, Act::tanh, Act::sigmoid})
    for (const int64_t depth : {512, 1024}) {
      WideGemm g;
      ASSERT_TRUE(
          wide_gemm(call_of({4096, 4096, depth, act, act != Act::relu, false, act != Act::gelu_tanh}), hopper(), g));
      EXPECT_EQ(check_cuda_work(plan_wide_gemm(g), 90), "") << static_cast<int>(act) << " " << depth;
    }
  for (const int64_t m : {128, 8192}) {
    WideGemm anywhere;
    ASSERT_TRUE(wide_gemm(call_of({m, 50257, 1024, Act::none, false}), hopper(), anywhere));
    EXPECT_EQ(check_cuda_work(plan_wide_gemm(anywhere), 90), "");
  }
  WideGemm half;
  ASSERT_TRUE(wide_gemm(call_of({4096, 4096, 1024, Act::gelu, true}, DType::f16), hopper(), half));
  EXPECT_EQ(check_cuda_work(plan_wide_gemm(half), 90), "");
}

TEST(WideGemm, OnAGpuAgreesWithTheReference) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  if (cuda_devices()[0].arch != 90) GTEST_SKIP() << "not checked: a GPU that is no Hopper";
  const CudaGuard guard(0);
  // Four multiprocessors: each block has several tiles even of these small sizes.
  const GpuTraits few{90, 4, 50 << 20, 227 << 10};
  for (const DType d : {DType::bf16, DType::f16})
    for (const Product& p :
         {Product{520, 520, 512, Act::gelu, true}, Product{300, 264, 1032, Act::silu, true},
          Product{257, 776, 520, Act::relu, false}, Product{100, 520, 1088, Act::gelu, true, false, false},
          Product{128, 1032, 512, Act::gelu, true}, Product{65, 2051, 1024, Act::none, true},
          Product{260, 2056, 520, Act::none, true, false, false}, Product{130, 2051, 512, Act::none, false},
          Product{150, 521, 1024, Act::gelu, true}, Product{513, 256, 512, Act::gelu, true},
          Product{2048, 523, 512, Act::gelu, true}, Product{1000, 516, 576, Act::silu, false},
          Product{1024, 262, 512, Act::gelu, true}}) {
      Kernel kernel{"kpt.linear",
                    "kpt",
                    "cuda",
                    "wide",
                    0,
                    [](const Problem&) { return yes(); },
                    [&](const Problem&) {
                      WideGemm g;
                      const Verdict v = wide_gemm(call_of(p, d), few, g);
                      KPT_CHECK(v.ok, "test", v.reason);
                      return make_cuda_launch(plan_wide_gemm(g));
                    }};
      for (conformance::Case c : {case_of(p, d), special_case_of(p, d)}) {
        c.problem.gpu = hopper();
        EXPECT_EQ(conformance::check(kernel, c), "") << c.label;
      }
    }
}

}  // namespace
}  // namespace kpt

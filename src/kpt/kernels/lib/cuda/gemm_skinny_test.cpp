// SPDX-License-Identifier: Apache-2.0
// The cut as a pure function, the kernel lane by lane on the host (emulate.h), and on a GPU against the reference.
#include "kpt/kernels/lib/cuda/gemm_skinny.h"

#include <gtest/gtest.h>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/lib/cpu/act_reference.h"
#include "kpt/kernels/lib/cuda/emulate.h"
#include "kpt/kernels/lib/cuda/gemm_cases.h"
#include "kpt/kernels/lib/cuda/gemm_race.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-function"

namespace emulated {
using namespace kpt::emulate;
using kpt::SkinnyArguments;
inline float activated(int act, float x) {
  return static_cast<float>(kpt::activate(static_cast<kpt::Act>(act), static_cast<double>(x)));
}
namespace eight {
#define ELEM bf16
#define TILES 2
#define STAGES 3
#define ROWS_X 8
#include "kpt/kernels/lib/cuda/gemm_skinny.cu"
}  // namespace eight
#undef TILES
#undef ROWS_X
#define TILES 4
#define ROWS_X 16
namespace sixteen {
#include "kpt/kernels/lib/cuda/gemm_skinny.cu"
}
#undef ELEM
#undef TILES
#undef STAGES
#undef ROWS_X
}  // namespace emulated

#pragma GCC diagnostic pop

namespace kpt {
namespace {

using namespace gemm_cases;

TEST(SkinnyGemm, FillsSharedMemoryAndSaysWhyNot) {
  SkinnyGemm g;
  const Product layer{16, 6144, 4096};
  for (const auto& [tiles, stages, kib] : {std::tuple{1, 4, 64}, {2, 3, 96}, {4, 3, 192}}) {
    ASSERT_TRUE(skinny_gemm(call_of(layer), hopper(), tiles, g));
    EXPECT_EQ(g.stages, stages);
    EXPECT_EQ(g.shared_bytes(), kib << 10);
    EXPECT_EQ(plan_skinny_gemm(g).calls[0].shape.grid[0], 6144u / (16 * tiles));
  }
  ASSERT_TRUE(skinny_gemm(call_of(layer), ampere(), 4, g));
  EXPECT_EQ(g.shared_bytes(), 128 << 10);
  EXPECT_EQ(skinny_gemm(call_of({17, 6144, 4096}), hopper(), 2, g).reason, "got 17 rows, want 1 to 16");
  EXPECT_EQ(skinny_gemm(call_of({16, 6144, 4100}), hopper(), 2, g).reason,
            "got k 4100 and row strides 4100 and 4100, want multiples of 8");
  EXPECT_EQ(skinny_gemm(call_of({16, 64, 64}), hopper(), 2, g).reason, "got n 64 k 64");
  EXPECT_FALSE(skinny_gemm(call_of(layer, DType::f32), hopper(), 2, g));
}

TEST(SkinnyGemm, RacesForFewRowsOfLargeWeights) {
  EXPECT_TRUE(races(call_of({1, 4096, 4096}), hopper()));
  EXPECT_TRUE(races(call_of({16, 4096, 14336}), hopper()));
  EXPECT_FALSE(races(call_of({16, 64, 64}), hopper()));
  EXPECT_FALSE(races(call_of({300, 256, 4096}), hopper()));
}

class Emulated final : public Launch {
 public:
  explicit Emulated(const SkinnyGemm& gemm) : gemm_(gemm), shape_(plan_skinny_gemm(gemm).calls[0].shape) {}
  void run(const RunArgs& args) const override {
    const auto at = [&](int i) { return i < 0 ? nullptr : static_cast<const char*>(args.inputs[i]); };
    const GemmOperands& of = gemm_.call.at;
    emulate::Block::current().run(shape_, 7, [&] {
      (gemm_.tiles == 2 ? emulated::eight::gemm_skinny : emulated::sixteen::gemm_skinny)(
          at(of.x), at(of.w), reinterpret_cast<const emulate::bf16*>(at(of.bias)), at(of.residual),
          static_cast<char*>(args.outputs[0]), gemm_.arguments);
    });
  }

 private:
  SkinnyGemm gemm_;
  CudaShape shape_;
};

TEST(SkinnyGemm, AgreesLaneByLane) {
  for (const Product& p :
       {Product{1, 528, 1000, Act::none, true, true}, Product{8, 521, 1032, Act::none, false, true},
        Product{16, 200, 2632, Act::silu, true, false}, Product{11, 136, 4096, Act::none, true, true}})
    for (int early : {0, 1}) {
      SkinnyGemm g;
      const Verdict v = skinny_gemm(call_of(p), hopper(), p.m > 8 ? 4 : 2, g);
      ASSERT_TRUE(v) << v.reason;
      g.arguments.early = early;
      Kernel kernel{"kpt.linear",
                    "kpt",
                    "cpu",
                    "emulated",
                    0,
                    [](const Problem&) { return yes(); },
                    [&](const Problem&) { return std::make_unique<Emulated>(g); }};
      for (const conformance::Case& c : {case_of(p), special_case_of(p)})
        EXPECT_EQ(conformance::check(kernel, c), "") << c.label;
    }
}

TEST(SkinnyGemm, CompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  for (int tiles : {1, 2, 4})
    for (int64_t m : {8, 16})
      for (int arch : {80, 90, 100}) {
        SkinnyGemm g;
        ASSERT_TRUE(
            skinny_gemm(call_of({m, 4096, 4096, Act::none, true, true}), arch >= 90 ? hopper() : ampere(), tiles, g));
        EXPECT_EQ(check_cuda_work(plan_skinny_gemm(g), arch), "") << tiles << " tiles, " << m << " rows";
      }
}

TEST(SkinnyGemm, OnAGpuAgreesWithTheReference) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  for (const DType d : {DType::bf16, DType::f16})
    for (const Product& p :
         {Product{1, 528, 1000, Act::none, true, true}, Product{8, 521, 1032, Act::none, false, true},
          Product{16, 200, 2632, Act::silu, true, false}, Product{11, 1000, 4096, Act::none, true, true}})
      for (int tiles : {1, 2, 4}) {
        Kernel kernel{"kpt.linear",
                      "kpt",
                      "cuda",
                      "skinny",
                      0,
                      [](const Problem&) { return yes(); },
                      [&](const Problem& problem) {
                        SkinnyGemm g;
                        const Verdict v = skinny_gemm(call_of(p, d), problem.gpu, tiles, g);
                        KPT_CHECK(v.ok, "test", v.reason);
                        return make_cuda_launch(plan_skinny_gemm(g));
                      }};
        for (conformance::Case c : {case_of(p, d), special_case_of(p, d)}) {
          c.problem.gpu = hopper();
          EXPECT_EQ(conformance::check(kernel, c), "") << c.label << " " << tiles;
        }
      }
}

}  // namespace
}  // namespace kpt

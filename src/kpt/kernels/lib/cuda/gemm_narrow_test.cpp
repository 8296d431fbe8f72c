// SPDX-License-Identifier: Apache-2.0
// The cuts as a pure function, the programs without spills, and on a Hopper GPU every cut against the reference.
#include "kpt/kernels/lib/cuda/gemm_narrow.h"

#include <gtest/gtest.h>

#include <set>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/lib/cuda/gemm_cases.h"
#include "kpt/kernels/lib/cuda/gemm_race.h"

namespace kpt {
namespace {

using namespace gemm_cases;

TEST(NarrowGemm, FewBytesForTheBusiestMultiprocessor) {
  const std::vector<NarrowGemm> deep = narrow_gemms(call_of({128, 768, 3072}), hopper());
  ASSERT_EQ(deep.size(), 3u);
  EXPECT_EQ(deep[0].groups, 1);
  EXPECT_EQ(deep[0].split, 4);
  EXPECT_EQ(deep[0].blocks(), 96);
  EXPECT_EQ(deep[0].arguments.stages, 12);  // all steps of a block are in flight at once
  EXPECT_EQ(narrow_gemms(call_of({128, 1024, 1024}), hopper())[0].split, 2);
  const std::vector<NarrowGemm> flat = narrow_gemms(call_of({128, 3072, 768, Act::gelu}), hopper());
  EXPECT_EQ(flat[0].split, 1);
  for (const std::vector<NarrowGemm>& cuts : {deep, flat})
    for (const NarrowGemm& g : cuts) {
      const CudaCall call = plan_narrow_gemm(g).calls[0];
      EXPECT_LE(call.shape.shared_bytes + 1024, 227u << 10);
      EXPECT_EQ(call.shape.grid[0] % call.shape.cluster, 0u);
      EXPECT_LE(g.split, g.arguments.steps);
    }
}

TEST(NarrowGemm, NoSizeTakesAProgramThatIsNotCompiledAhead) {
  std::set<std::vector<std::string>> ahead;
  for (const CudaProgram& p : narrow_programs(call_of({64, 768, 768}))) ahead.insert(p.defines);
  EXPECT_EQ(ahead.size(), 5u);
  for (int64_t m = 17; m <= 256; ++m)
    for (const NarrowGemm& g : narrow_gemms(call_of({m, 768, 768}), hopper()))
      EXPECT_TRUE(ahead.count(plan_narrow_gemm(g).calls[0].program.defines)) << m;
}

TEST(NarrowGemm, KnowsWhatItCannotDo) {
  const Product layer{128, 768, 768};
  EXPECT_FALSE(narrow_gemms(call_of(layer), hopper()).empty());
  EXPECT_TRUE(narrow_gemms(call_of(layer), {80, 108, 40 << 20, 164 << 10}).empty());
  EXPECT_TRUE(narrow_gemms(call_of(layer, DType::f32), hopper()).empty());
  EXPECT_TRUE(narrow_gemms(call_of({16, 768, 768}), hopper()).empty());
  EXPECT_TRUE(narrow_gemms(call_of({257, 768, 768}), hopper()).empty());
  EXPECT_TRUE(narrow_gemms(call_of({128, 770, 768}), hopper()).empty());
  EXPECT_TRUE(narrow_gemms(call_of({128, 768, 764}), hopper()).empty());
  EXPECT_TRUE(narrow_gemms(call_of({128, 128, 128}), hopper()).empty());
  EXPECT_TRUE(races(call_of(layer), hopper()));
}

TEST(NarrowGemm, CompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  const auto check = [](DType d, Act act, bool w_along_depth) {
    for (CudaProgram& program : narrow_programs(call_of({128, 768, 1024, act, true, true, w_along_depth}, d))) {
      CudaCall call;
      call.program = std::move(program);
      EXPECT_EQ(check_cuda_work({{call}, 0, ""}, 90), "") << static_cast<int>(act);
    }
  };
  for (const Act act : {Act::none, Act::gelu, Act::silu, Act::tanh}) check(DType::bf16, act, true);
  check(DType::bf16, Act::none, false);
  check(DType::f16, Act::gelu_tanh, false);
}

TEST(NarrowGemm, OnAGpuAgreesWithTheReference) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  if (cuda_devices()[0].arch != 90) GTEST_SKIP() << "not checked: a GPU that is no Hopper";
  const CudaGuard guard(0);
  for (const DType d : {DType::bf16, DType::f16})
    for (const Product& p :
         {Product{17, 520, 136, Act::silu, true}, Product{70, 72, 1544, Act::none, true, true},
          Product{140, 136, 520, Act::gelu, false, false, false}, Product{130, 136, 488, Act::none, false, true}})
      for (int groups : {1, 2})
        for (int split : {1, 2, 4}) {
          NarrowGemm g = narrow_gemms(call_of(p, d), hopper()).at(0);
          if (g.arguments.steps < split) continue;
          g.groups = groups, g.split = split;
          g.arguments.early = split % 3 == 1;
          g.arguments.stages = std::min({(g.arguments.steps + split - 1) / split, 6});  // some walk around the ring
          Kernel kernel{"kpt.linear",
                        "kpt",
                        "cuda",
                        "narrow",
                        0,
                        [](const Problem&) { return yes(); },
                        [&](const Problem&) { return make_cuda_launch(plan_narrow_gemm(g)); }};
          for (conformance::Case c : {case_of(p, d), special_case_of(p, d)}) {
            c.problem.gpu = hopper();
            EXPECT_EQ(conformance::check(kernel, c), "") << c.label << " groups " << groups << " split " << split;
          }
        }
}

}  // namespace
}  // namespace kpt

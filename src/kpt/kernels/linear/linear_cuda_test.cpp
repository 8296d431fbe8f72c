// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_emulate.h"
#include "kpt/kernels/linear/linear.h"

namespace kpt {
namespace {

TEST(CudaLinear, CutsComputeWhatTheReferenceDoes) {
  int checked = 0;
  for (const auto& [op, maker] : conformance::makers()) {
    if (op != "aten.linear" && op != "kpt.linear") continue;
    for (const conformance::Case& c : maker(DType::f32)) {
      GemmCall call;
      ASSERT_TRUE(linear_call(c.problem, call)) << c.label;
      const int ways = test::check_cuts(c, call);
      EXPECT_EQ(ways, 2) << c.label;
      checked += ways;
    }
  }
  EXPECT_GT(checked, 150);
}

GemmCut cut_of(Problem p, const char* act, GemmFusion fusion = GemmFusion::most) {
  p.op = "kpt.linear";
  p.kwargs = {{"act", act}};
  GemmCall call;
  Verdict v = linear_call(p, call);
  EXPECT_TRUE(v) << v.reason;
  GemmCut cut;
  v = cut_gemm(call, fusion, cut);
  EXPECT_TRUE(v) << v.reason;
  return cut;
}

Problem problem_of(DType d, const Dims& x, int64_t n, bool bias, bool residual) {
  Problem p;
  Dims y = x;
  y[y.rank() - 1] = n;
  p.inputs = {TensorDesc::contiguous(d, x), TensorDesc::contiguous(d, {n, x.back()})};
  p.args = {In{0}, In{1}, None{}, None{}};
  if (bias) p.args[2] = In{static_cast<int>(p.inputs.size())}, p.inputs.push_back(TensorDesc::contiguous(d, {n}));
  if (residual) p.args[3] = In{static_cast<int>(p.inputs.size())}, p.inputs.push_back(TensorDesc::contiguous(d, y));
  p.outputs = {TensorDesc::contiguous(d, y)};
  return p;
}

TEST(CudaLinear, LeadingAxesBecomeOneProductWithTheWeightRead) {
  const CudaGemm g = cut_of(problem_of(DType::bf16, {8, 512, 1024}, 4096, true, false), "none").gemm;
  EXPECT_EQ(g.key(),
            "bf16 n4096 k1024 at bn batch1 bias tail0 align16 m4096 ld 1024 1024 0 4096 step 0 0 0 0 scale 1 0");
}

TEST(CudaLinear, TheLibraryGetsOnlyTailsItComputesExactly) {
  struct Want {
    DType dtype;
    const char* act;
    bool residual;
    GemmTail tail;
    Act left;
    bool c;
  };
  for (const Want& w : std::vector<Want>{{DType::bf16, "none", true, GemmTail::none, Act::none, true},
                                         {DType::bf16, "relu", false, GemmTail::relu, Act::none, false},
                                         {DType::bf16, "gelu_tanh", false, GemmTail::gelu_tanh, Act::none, false},
                                         {DType::f32, "gelu_tanh", false, GemmTail::none, Act::gelu_tanh, false},
                                         {DType::bf16, "gelu", false, GemmTail::none, Act::gelu, false},
                                         {DType::f16, "silu", false, GemmTail::none, Act::silu, false},
                                         {DType::bf16, "relu", true, GemmTail::none, Act::relu, false}}) {
    const GemmCut cut = cut_of(problem_of(w.dtype, {64, 96}, 80, true, w.residual), w.act);
    EXPECT_EQ(cut.gemm.tail, w.tail) << w.act;
    EXPECT_EQ(cut.tail_act, w.left) << w.act;
    EXPECT_EQ(cut.gemm.has_c, w.c) << w.act;
    EXPECT_EQ(cut.tail_residual, w.residual && !w.c) << w.act;
    EXPECT_TRUE(cut.gemm.has_bias && !cut.tail_bias) << w.act;
    const GemmCut bare = cut_of(problem_of(w.dtype, {64, 96}, 80, true, w.residual), w.act, GemmFusion::none);
    EXPECT_TRUE(!bare.gemm.has_bias && !bare.gemm.has_c && bare.gemm.tail == GemmTail::none && bare.tail_bias);
  }
}

TEST(CudaLinear, AnEmptySumIsLeftToTheTail) {
  const GemmCut cut = cut_of(problem_of(DType::f32, {5, 0}, 8, true, true), "gelu");
  EXPECT_EQ(cut.gemm.depth, 0);
  EXPECT_TRUE(cut.tail_bias && cut.tail_residual);
  EXPECT_TRUE(cut_of(problem_of(DType::f32, {0, 4}, 8, true, false), "gelu").empty());
}

TEST(CudaLinear, ReasonsForNo) {
  Problem p = problem_of(DType::f32, {5, 6}, 8, false, false);
  p.op = "aten.linear";
  p.inputs[0].strides = {12, 2};
  GemmCall call;
  ASSERT_TRUE(linear_call(p, call));
  GemmCut cut;
  EXPECT_EQ(cut_gemm(call, GemmFusion::most, cut).reason,
            "got strides 12 and 2 of the left matrix, want one of them 1 and rows apart");
  p.inputs[0].strides = {0, 1};
  ASSERT_TRUE(linear_call(p, call));
  EXPECT_EQ(cut_gemm(call, GemmFusion::most, cut).reason,
            "got strides 0 and 1 of the left matrix, want one of them 1 and rows apart");
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_emulate.h"
#include "kpt/kernels/matmul/matmul.h"

namespace kpt {
namespace {

TEST(CudaMatmul, CutsComputeWhatTheReferenceDoes) {
  int checked = 0;
  for (const auto& [op, maker] : conformance::makers()) {
    if (op != "aten.mm" && op != "aten.bmm" && op != "aten.matmul" && op != "aten.addmm" && op != "aten.baddbmm")
      continue;
    for (const conformance::Case& c : maker(DType::f32)) {
      GemmCall call;
      ASSERT_TRUE(matmul_call(c.problem, call)) << c.label;
      const int ways = test::check_cuts(c, call);
      EXPECT_EQ(ways, 2) << c.label;
      checked += ways;
    }
  }
  EXPECT_GT(checked, 30);
}

// Heads of a [batch, sequence, heads, width] tensor, seen as [batch, heads, ..]: the strides of both batch axes differ.
TEST(CudaMatmul, TheLongerOfTwoBatchAxesIsStridedTheOtherWalked) {
  Problem p;
  p.op = "aten.matmul";
  const DType d = DType::bf16;
  p.inputs = {{d, {2, 12, 128, 64}, {128 * 768, 64, 768, 1}}, {d, {2, 12, 64, 128}, {128 * 768, 64, 1, 768}}};
  p.args = {In{0}, In{1}};
  p.outputs = {TensorDesc::contiguous(d, {2, 12, 128, 128})};
  GemmCall call;
  ASSERT_TRUE(matmul_call(p, call));
  GemmCut cut;
  ASSERT_TRUE(cut_gemm(call, GemmFusion::most, cut));
  ASSERT_EQ(cut.items.size(), 2u);
  EXPECT_EQ(cut.items[1].x, 128 * 768);
  EXPECT_EQ(cut.items[1].y, 12 * 128 * 128);
  EXPECT_EQ(cut.gemm.key(),
            "bf16 n128 k64 at bn batch12 tail0 align16 m128 ld 768 768 0 128 step 64 64 0 16384 scale 1 0");
}

TEST(CudaMatmul, AlignmentIsWhatStridesLeave) {
  Problem p;
  p.op = "aten.bmm";
  const DType d = DType::bf16;
  p.inputs = {TensorDesc::contiguous(d, {3, 20, 33}), TensorDesc::contiguous(d, {3, 33, 10})};
  p.args = {In{0}, In{1}};
  p.outputs = {TensorDesc::contiguous(d, {3, 20, 10})};
  GemmCall call;
  ASSERT_TRUE(matmul_call(p, call));
  GemmCut cut;
  ASSERT_TRUE(cut_gemm(call, GemmFusion::most, cut));
  EXPECT_EQ(cut.gemm.alignment, 4);  // steps of 330, 660 and 200 elements
}

}  // namespace
}  // namespace kpt

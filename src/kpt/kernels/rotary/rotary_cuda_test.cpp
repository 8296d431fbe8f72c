// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/rotary/rotary_cuda.h"

#include <gtest/gtest.h>

#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

Problem problem(const TensorDesc& x, const TensorDesc& table) {
  Problem p;
  p.op = "kpt.rotary";
  p.inputs = {x, table, table};
  p.outputs = {TensorDesc::contiguous(x.dtype, x.sizes)};
  p.args = {In{0}, In{1}, In{2}};
  p.gpu.multiprocessors = 132;
  return p;
}

// "heads of a thread of all heads, elements at once".
std::string shape(const TensorDesc& x, const TensorDesc& table) {
  const Problem p = problem(x, table);
  Rotary r;
  const Verdict v = read_rotary(p, r);
  const RotaryShape s = rotary_shape(r, p.gpu);
  return v.ok ? cat(s.repeat, " of ", s.heads, ", ", s.vec) : v.reason;
}
TensorDesc heads(DType t, int64_t b, int64_t h, int64_t s, int64_t d, int64_t width) {
  return {t, {b, h, s, d}, {s * width, d, width, 1}};
}
TensorDesc table(DType t, int64_t s, int64_t d) { return TensorDesc::contiguous(t, {1, 1, s, d}); }

TEST(RotaryCuda, HeadsShareTheTablesWhereThereAreThreadsEnough) {
  EXPECT_EQ(shape(heads(DType::bf16, 8, 32, 2048, 128, 6144), table(DType::bf16, 2048, 128)), "4 of 32, 8");
  EXPECT_EQ(shape(heads(DType::bf16, 1, 32, 1024, 128, 6144), table(DType::bf16, 1024, 128)), "1 of 32, 8");
  EXPECT_EQ(shape(heads(DType::bf16, 1, 32, 1, 128, 6144), table(DType::bf16, 1, 128)), "1 of 32, 8");
}

TEST(RotaryCuda, AFullTableIsNotShared) {
  const TensorDesc x = TensorDesc::contiguous(DType::bf16, {8, 32, 2048, 128});
  EXPECT_EQ(shape(x, x), "1 of 1, 8");
}

TEST(RotaryCuda, PacksDivideHalvesAndStrides) {
  EXPECT_EQ(shape(heads(DType::f32, 1, 2, 3, 64, 384), table(DType::f32, 3, 64)), "1 of 2, 4");
  EXPECT_EQ(shape(heads(DType::bf16, 1, 2, 3, 64, 384), table(DType::f32, 3, 64)), "1 of 2, 8");
  EXPECT_EQ(shape(heads(DType::bf16, 1, 2, 3, 24, 384), table(DType::bf16, 3, 24)), "1 of 2, 4");
  EXPECT_EQ(shape(heads(DType::bf16, 1, 2, 3, 2, 384), table(DType::bf16, 3, 2)), "1 of 2, 1");
  EXPECT_EQ(shape(heads(DType::bf16, 1, 2, 3, 64, 386), table(DType::bf16, 3, 64)), "1 of 2, 2");
  EXPECT_EQ(shape(heads(DType::bf16, 1, 2, 3, 64, 384), {DType::f32, {3, 64}, {66, 1}}), "1 of 2, 2");
  EXPECT_EQ(shape({DType::bf16, {1, 2, 3, 64}, {384, 192, 1, 3}}, table(DType::bf16, 3, 64)), "1 of 2, 1");
}

TEST(RotaryCuda, EachThreadHasOneChunkOfSomeHeads) {
  const Problem p = problem(heads(DType::bf16, 8, 14, 2048, 128, 4096), table(DType::bf16, 2048, 128));
  for (const auto& k : kernel_registry().find("kpt.rotary", "cuda")) {
    const CudaWork work = k->work(p);
    ASSERT_EQ(work.calls.size(), 1u);
    EXPECT_EQ(work.config, "4 x 2 x 8 elements a thread");
    // 8 batches, 2048 positions, 8 chunks, and 4 groups of the 14 heads, the last one of 2.
    EXPECT_EQ(work.calls[0].shape.grid[0], 8u * 2048 * 8 * 4 / 128);
  }
}

TEST(RotaryCuda, NothingIsLaunchedForNoElements) {
  const Problem p = problem(TensorDesc::contiguous(DType::f32, {0, 4}), TensorDesc::contiguous(DType::f32, {4}));
  for (const auto& k : kernel_registry().find("kpt.rotary", "cuda")) EXPECT_TRUE(k->work(p).calls.empty());
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

using conformance::dense;
using conformance::make_case;

// "blocks x threads" of each launch, and what the planner says of it.
std::string launches(conformance::Case c) {
  c.problem.gpu.multiprocessors = 132;
  const auto k = kernel_registry().find(c.problem.op, "cuda").at(0);
  const CudaWork work = k->work(c.problem);
  std::string text = work.config + ":";
  for (const CudaCall& call : work.calls) text += cat(" ", call.shape.grid[0], " x ", call.shape.block[0]);
  return text;
}

std::string joined(DType dtype, const std::vector<Dims>& parts, const Dims& out) {
  std::vector<TensorDesc> descs;
  AttrList list;
  for (const Dims& part : parts) {
    list.push_back(In{static_cast<int>(descs.size())});
    descs.push_back(dense(dtype, part));
  }
  return launches(make_case("", "aten.cat", descs, {list}, {{"dim", 1}}, {dense(dtype, out)}));
}

TEST(JoinCuda, SmallPartsShareOneLaunchOfSmallBlocks) {
  // 4 x 192 bf16 are 96 words of 16 bytes: 1 block; 4 x 196 x 192 are 18,816: 147.
  EXPECT_EQ(joined(DType::bf16, {{4, 1, 192}, {4, 196, 192}}, {4, 197, 192}), "2 parts, 16 bytes a word: 148 x 128");
  EXPECT_EQ(joined(DType::f32, {{1, 1}, {1, 2}}, {1, 3}), "2 parts, 4 bytes a word: 2 x 64");
}

TEST(JoinCuda, LargePartsTakeFourWordsAThread) {
  EXPECT_EQ(joined(DType::bf16, {{4096, 4096}, {4096, 4096}}, {4096, 8192}), "2 parts, 16 bytes a word: 4096 x 256");
}

TEST(JoinCuda, EmptyPartsAreLeftOutAndNineTakeTwoLaunches) {
  EXPECT_EQ(joined(DType::f32, {{2, 0}, {2, 3}}, {2, 3}), "1 parts, 8 bytes a word: 1 x 64");
  EXPECT_EQ(joined(DType::f32, std::vector<Dims>(9, Dims{2, 4}), {2, 36}), "9 parts, 16 bytes a word: 8 x 64 1 x 64");
  EXPECT_EQ(joined(DType::f32, {{2, 0}}, {2, 0}), "0 parts:");
}

TEST(JoinCuda, PaddingAndScatterAreOneLaunchOfBoxesWithoutOverlap) {
  const TensorDesc x = dense(DType::f32, {2, 4, 4});
  EXPECT_EQ(launches(make_case("", "aten.constant_pad_nd", {x}, {In{0}}, {{"pad", AttrList{1, 1, 1, 1}}, {"value", 0}},
                               {dense(DType::f32, {2, 6, 6})})),
            "5 parts, 8 bytes a word: 5 x 64");
  const auto scatter = [&](int64_t step) {
    return launches(make_case("", "aten.slice_scatter", {x, dense(DType::f32, {2, 2, 4})}, {In{0}, In{1}},
                              {{"dim", 1}, {"start", 1}, {"end", 1 + 2 * step}, {"step", step}}, {x}));
  };
  EXPECT_EQ(scatter(1), "3 parts, 16 bytes a word: 3 x 64");
  EXPECT_EQ(scatter(2), "2 parts, 16 bytes a word: 1 x 64 1 x 64");  // all of x, then what is written over it
}

}  // namespace
}  // namespace kpt

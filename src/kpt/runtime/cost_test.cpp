// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/cost.h"

#include <gtest/gtest.h>

namespace kpt {
namespace {

TensorDesc f32(const Dims& sizes) { return TensorDesc::contiguous(DType::f32, sizes); }

Problem problem(std::string op, std::vector<TensorDesc> inputs, std::vector<TensorDesc> outputs, Kwargs kwargs = {}) {
  Problem p;
  p.op = std::move(op), p.inputs = std::move(inputs), p.outputs = std::move(outputs), p.kwargs = std::move(kwargs);
  return p;
}

TEST(Cost, LinearCountsTwoForEachProductAndEveryOperandOnce) {
  const Cost c =
      cost_of(problem("kpt.linear", {f32({8, 128, 384}), f32({1536, 384}), f32({1536})}, {f32({8, 128, 1536})}));
  EXPECT_EQ(c.flops, 2LL * 8 * 128 * 1536 * 384);
  EXPECT_EQ(c.bytes_read, 4LL * (8 * 128 * 384 + 1536 * 384 + 1536));
  EXPECT_EQ(c.bytes_written, 4LL * 8 * 128 * 1536);
}

TEST(Cost, AddmmTakesTheSharedLengthFromItsSecondOperand) {
  EXPECT_EQ(cost_of(problem("aten.addmm", {f32({5}), f32({3, 7}), f32({7, 5})}, {f32({3, 5})})).flops, 2 * 3 * 5 * 7);
}

TEST(Cost, AWriteMovesItsSlicesAlone) {
  const Cost c =
      cost_of(problem("kpt.write_", {f32({16, 2048, 64}), f32({1}), f32({16, 1, 64})}, {f32({16, 2048, 64})}));
  EXPECT_EQ(c.bytes_read, 4LL * (1 + 16 * 64));
  EXPECT_EQ(c.bytes_written, 4LL * 16 * 64);
}

TEST(Cost, CausalAttentionIsHalf) {
  const std::vector<TensorDesc> qkv = {f32({2, 4, 16, 8}), f32({2, 4, 32, 8}), f32({2, 4, 32, 10})};
  const int64_t full = 2LL * 2 * 4 * 16 * 32 * (8 + 10);
  EXPECT_EQ(cost_of(problem("kpt.attention", qkv, {f32({2, 4, 16, 10})})).flops, full);
  EXPECT_EQ(cost_of(problem("kpt.attention", qkv, {f32({2, 4, 16, 10})}, {{"causal", true}})).flops, full / 2);
}

TEST(Cost, ConvolutionCountsOutputsAndTransposedInputs) {
  const std::vector<TensorDesc> in = {f32({1, 6, 10, 10}), f32({8, 3, 3, 3})};  // two groups
  EXPECT_EQ(cost_of(problem("aten.convolution", in, {f32({1, 8, 8, 8})})).flops, 2LL * 8 * 8 * 8 * 3 * 9);
  const std::vector<TensorDesc> transposed = {f32({1, 6, 4, 4}), f32({6, 5, 3, 3})};
  EXPECT_EQ(cost_of(problem("aten.convolution", transposed, {f32({1, 5, 6, 6})}, {{"transposed", true}})).flops,
            2LL * 6 * 4 * 4 * 5 * 9);
}

TEST(Cost, BroadcastAxesAndLookedUpRowsCountOnce) {
  TensorDesc bias = f32({4, 16});
  bias.strides = {0, 1};
  const Cost add = cost_of(problem("aten.add.Tensor", {f32({4, 16}), bias}, {f32({4, 16})}));
  EXPECT_EQ(add.flops, 0);
  EXPECT_EQ(add.bytes_read, 4 * (64 + 16));
  const TensorDesc ids = TensorDesc::contiguous(DType::i64, {2, 3});
  const Cost rows = cost_of(problem("aten.embedding", {f32({30000, 8}), ids}, {f32({2, 3, 8})}));
  EXPECT_EQ(rows.bytes_read, 4 * 2 * 3 * 8 + 8 * 2 * 3);
}

TEST(Cost, UnknownProductsAreNotNone) {
  EXPECT_FALSE(cost_of(problem("aten.lstm.input", {f32({2, 3, 4})}, {f32({2, 3, 5})})).flops.has_value());
  EXPECT_EQ(cost_of(problem("aten.relu", {f32({3})}, {f32({3})})).flops, 0);
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
// Plans of generated kernels: pure values, looked at without a GPU. That they compute the right thing is the
// conformance suite's matter.
#include "kpt/kernels/lib/cuda/generate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/pointwise.h"
#include "kpt/kernels/lib/cuda/row_program.h"

namespace kpt {
namespace {

using conformance::dense;
using conformance::padded;

Problem problem(const std::string& op, const std::string& text, std::vector<TensorDesc> inputs,
                std::vector<TensorDesc> outputs) {
  AttrList list;
  for (size_t i = 0; i < inputs.size(); ++i) list.push_back(In{static_cast<int>(i)});
  Problem p =
      conformance::make_case("", op, std::move(inputs), {list}, {{"program", text}}, std::move(outputs)).problem;
  p.gpu = {90, 132, 60 << 20, 232448};
  return p;
}

CudaCall pointwise(const std::string& text, const std::vector<TensorDesc>& inputs, const TensorDesc& y,
                   std::string* config = nullptr) {
  const CudaWork work = cuda_pointwise_work(problem("kpt.pointwise", text, inputs, {y}));
  if (config) *config = work.config;
  return work.calls.at(0);
}

const char* const kAdd = "a=add(i0,i1);out a";

TEST(Generate, ANewShapeCompilesNothing) {
  const auto text = [](const Dims& sizes) {
    return pointwise(kAdd, {dense(DType::bf16, sizes), dense(DType::bf16, sizes)}, dense(DType::bf16, sizes))
        .program.text;
  };
  EXPECT_EQ(text({7}), text({64, 4096}));
  EXPECT_EQ(text({7}), text({3, 1, 77}));
  const auto bias = [](int64_t rows, int64_t width) {
    const TensorDesc x = dense(DType::bf16, {rows, width});
    return pointwise(kAdd, {x, dense(DType::bf16, {width})}, x).program.text;
  };
  EXPECT_EQ(bias(2, 768), bias(900, 4096));
  EXPECT_NE(bias(2, 768), text({7}));
}

TEST(Generate, ChoosesTheWayThroughMemory) {
  std::string config;
  const auto of = [&](const TensorDesc& a, const TensorDesc& b, const TensorDesc& y) {
    pointwise(kAdd, {a, b}, y, &config);
    return config;
  };
  const TensorDesc x = dense(DType::f32, {64, 768}), odd = dense(DType::f32, {64, 77});
  EXPECT_EQ(of(x, x, x), "dense, 4 elements x 1, blocks of 64");
  EXPECT_EQ(of(x, dense(DType::f32, {}), x), "dense, 4 elements x 1, blocks of 64");
  EXPECT_EQ(of(x, dense(DType::f32, {768}), x), "rows, 4 elements x 1, blocks of 64");
  EXPECT_EQ(of(x, dense(DType::f32, {64, 1}), x), "rows, 4 elements x 1, blocks of 64");
  EXPECT_EQ(of(odd, dense(DType::f32, {77}), odd), "gather, 4 elements x 1, blocks of 64");
  EXPECT_EQ(of(padded(DType::f32, {64, 768}, 4), x, x), "rows, 4 elements x 1, blocks of 64");
  const TensorDesc huge = dense(DType::bf16, {1 << 16, 1 << 16});
  EXPECT_EQ(of(huge, huge, huge), "dense, 8 elements x 1, blocks of 256, 64-bit offsets");
}

TEST(Generate, GridCoversEveryElementOnce) {
  const TensorDesc x = dense(DType::bf16, {4096, 4099});  // dense: 2098688 units of 8, the last one of 4096 * 4099 % 8
  const CudaCall call = pointwise("a=relu(i0);out a", {x}, x);
  EXPECT_EQ(call.shape.block[0], 256u);
  EXPECT_EQ(call.shape.grid[0], (4096u * 4099u / 8 + 511) / 512);  // two units a thread
  const TensorDesc few = dense(DType::bf16, {9});
  EXPECT_EQ(pointwise("a=relu(i0);out a", {few}, few).shape.grid[0], 1u);
  EXPECT_TRUE(cuda_pointwise_work(problem("kpt.pointwise", "a=relu(i0);out a", {dense(DType::f32, {0, 4})},
                                          {dense(DType::f32, {0, 4})}))
                  .calls.empty());
}

TEST(Generate, LongFunctionsAreCopiedLess) {
  const TensorDesc x = dense(DType::bf16, {4096, 4096});
  std::string config;
  pointwise("a=cos(i0);out a", {x}, x, &config);
  EXPECT_EQ(config, "dense, 2 elements x 1, blocks of 256");
}

TEST(Generate, WritesLiteralsExactly) {
  EXPECT_EQ(cuda_number(0.5, Lane::f32), "(float)0x1p-1");
  EXPECT_EQ(cuda_number(0.1, Lane::f32), "(float)0x1.99999ap-4");
  EXPECT_EQ(cuda_number(0.1, Lane::f64), "(double)0x1.999999999999ap-4");
  EXPECT_EQ(cuda_number(-INFINITY, Lane::f32), "(float)-infinity()");
  EXPECT_EQ(cuda_number(-1, Lane::i64), "(i64)0xffffffffffffffffull");
  EXPECT_EQ(cuda_number(2, Lane::u8), "true");
}

TEST(Generate, RefusesWithTheReason) {
  const TensorDesc n = dense(DType::i64, {3});
  EXPECT_EQ(cuda_pointwise_supports(problem("kpt.pointwise", "a=remainder(i0,i1);out a", {n, n}, {n})).reason,
            "remainder: integer division by a divisor that may be 0");
  EXPECT_FALSE(cuda_pointwise_supports(
                   problem("kpt.pointwise", "a=neg(i0);out a", {n}, {conformance::expanded(DType::i64, {3}, 0)}))
                   .ok);
  const TensorDesc x = dense(DType::f32, {4, 3});
  EXPECT_EQ(cuda_row_supports(problem("kpt.row", "y=neg(i0);out y", {x}, {dense(DType::f32, {4, 1})})).reason,
            "a whole row for an output of one element a row");
}

TEST(Generate, RowsAreSharedByAsManyThreadsAsTheyFill) {
  const auto config = [](DType d, int64_t width) {
    const TensorDesc x = dense(d, {100, width});
    return cuda_row_work(
               problem("kpt.row", "m=row_max(i0);a=sub(i0,m);b=exp(a);s=row_sum(b);y=div(b,s);out y", {x}, {x}))
        .config;
  };
  EXPECT_EQ(config(DType::f32, 7), "2 threads a row, 4 elements x 1");
  EXPECT_EQ(config(DType::f32, 128), "32 threads a row, 4 elements x 1");
  EXPECT_EQ(config(DType::f32, 384), "32 threads a row, 4 elements x 4");
  EXPECT_EQ(config(DType::f32, 1024), "64 threads a row, 4 elements x 4");
  EXPECT_EQ(config(DType::bf16, 8192), "256 threads a row, 8 elements x 4");
  EXPECT_EQ(config(DType::f32, 40000), "512 threads a row, read for each pass");
}

}  // namespace
}  // namespace kpt

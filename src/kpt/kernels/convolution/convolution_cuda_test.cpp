// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/convolution/convolution_cuda.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

// A convolution with stride 2, 1 and padding 1, 0, and relu; w is laid out as y.
ConvCall call_of(const Dims& x, const Dims& strides, const Dims& w, int64_t groups, bool last = false,
                 bool operands = false, const std::string& act = "relu") {
  const bool flat = x.rank() == 3;
  Problem p;
  p.op = "kpt.convolution";
  Dims w_strides = contiguous_strides(w);
  if (last) w_strides = {w[1] * w[2] * w[3], 1, w[3] * w[1], w[1]};
  p.inputs = {{DType::bf16, x, strides}, {DType::bf16, w, w_strides}};
  p.args = {In{0}, In{1}, None{}, None{}};
  p.kwargs = {{"stride", flat ? AttrList{2} : AttrList{2, 1}},
              {"padding", flat ? AttrList{1} : AttrList{1, 0}},
              {"groups", groups},
              {"act", act},
              {"layout", last ? "nhwc" : "nchw"}};
  const int64_t h = flat ? 1 : (x[2] + 2 - w[2]) / 2 + 1;
  const int64_t wide = flat ? (x[2] + 2 - w[2]) / 2 + 1 : x[3] - w[3] + 1;
  const Dims y = last ? Dims{x[0], h, wide, w[0]} : flat ? Dims{x[0], w[0], wide} : Dims{x[0], w[0], h, wide};
  p.outputs = {TensorDesc::contiguous(DType::bf16, y)};
  if (operands) {
    p.inputs.push_back(TensorDesc::contiguous(DType::bf16, {w[0]}));
    p.inputs.push_back(TensorDesc::contiguous(DType::bf16, y));
    p.args[2] = In{2};
    p.args[3] = In{3};
  }
  ConvCall call;
  const Verdict v = conv_call(p, call);
  EXPECT_TRUE(v) << v.reason;
  return call;
}

TEST(CudaConvolution, ProblemForTheLibraryInWords) {
  const Dims x{2, 8, 12, 10};
  EXPECT_EQ(cudnn_problem(call_of(x, contiguous_strides(x), {6, 4, 3, 3}, 2)).key(),
            "bf16 groups2 x 8,12,10 w 6,4,3,3 stride 2,1 pad 1,0 dilation 1,1 relu batch2 strides 960,120,10,1 "
            "36,9,3,1 288,48,8,1");
  // One dimension: height 1.
  const Dims line{3, 8, 50};
  EXPECT_EQ(cudnn_problem(call_of(line, contiguous_strides(line), {6, 8, 4}, 1)).key(),
            "bf16 groups1 x 8,1,50 w 6,8,1,4 stride 1,2 pad 0,1 dilation 1,1 relu batch3 strides 400,50,50,1 32,4,4,1 "
            "150,25,25,1");
}

TEST(CudaConvolution, ChannelsLastProblemForTheLibraryInWords) {
  EXPECT_EQ(cudnn_problem(call_of({2, 8, 12, 10}, {960, 1, 80, 8}, {6, 8, 3, 3}, 1, true, true)).key(),
            "bf16 groups1 x 8,12,10 w 6,8,3,3 stride 2,1 pad 1,0 dilation 1,1 bias residual relu batch2 strides "
            "960,1,80,8 72,1,24,8 288,1,48,6");
  // One pixel is packed in either order; cuDNN is told the output's.
  EXPECT_EQ(cudnn_problem(call_of({2, 8, 1, 3}, {24, 1, 7, 8}, {6, 8, 1, 1}, 1, true)).x_strides,
            (std::array<int64_t, 4>{24, 1, 24, 8}));
  // An activation that only the tail knows: all of the epilogue is the tail's.
  EXPECT_FALSE(
      cudnn_problem(call_of({2, 8, 12, 10}, {960, 1, 80, 8}, {6, 8, 3, 3}, 1, true, true, "silu")).has_epilogue());
}

TEST(CudaConvolution, WhoTakesWhat) {
  const Dims x{2, 8, 12, 10}, last_strides{960, 1, 80, 8};
  const ConvCall plain = call_of(x, contiguous_strides(x), {6, 8, 3, 3}, 1);
  EXPECT_TRUE(conv_cudnn_supports(plain));
  EXPECT_FALSE(conv_direct_supports(plain));
  const ConvCall depthwise = call_of(x, contiguous_strides(x), {16, 1, 3, 3}, 8);
  EXPECT_TRUE(conv_direct_supports(depthwise));
  const ConvCall apart = call_of(x, {5000, 120, 10, 1}, {6, 8, 3, 3}, 1);  // images of a larger batch
  EXPECT_TRUE(conv_cudnn_supports(apart));
  EXPECT_EQ(cudnn_problem(apart).x_strides[0], 5000);
  const ConvCall mixed = call_of(x, last_strides, {6, 8, 3, 3}, 1);
  EXPECT_EQ(conv_cudnn_supports(mixed).reason, "got strides 960, 1, 80, 8 of x, want packed rows and planes");
  EXPECT_TRUE(conv_direct_supports(mixed));
  const ConvCall last = call_of(x, last_strides, {6, 8, 3, 3}, 1, true);
  EXPECT_TRUE(conv_cudnn_supports(last));
  EXPECT_FALSE(conv_direct_supports(last));
  EXPECT_EQ(conv_cudnn_supports(call_of(x, contiguous_strides(x), {6, 8, 3, 3}, 1, true)).reason,
            "got strides 960, 120, 10, 1 of x, want packed pixels");
  ConvCall rows = last;
  rows.p.w_c = 9, rows.p.w_h = 3, rows.p.w_w = 1;
  EXPECT_EQ(conv_cudnn_supports(rows).reason, "weights are not packed");
}

TEST(CudaConvolution, TailCountsOnePixelAChannelWhereChannelsAreLast) {
  const auto pixels = [](const ConvCall& call) {
    int64_t numbers[3];
    std::memcpy(numbers, plan_conv_tail(call).calls.at(0).params.back().bytes.data(), sizeof numbers);
    return numbers[1];
  };
  const Dims x{2, 8, 12, 10};
  EXPECT_EQ(pixels(call_of(x, contiguous_strides(x), {6, 8, 3, 3}, 1)), 48);
  EXPECT_EQ(pixels(call_of(x, {960, 1, 80, 8}, {6, 8, 3, 3}, 1, true)), 1);
}

TEST(CudaConvolution, EveryProgramCompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  const Dims x{2, 8, 12, 10};
  ConvCall call = call_of(x, contiguous_strides(x), {16, 1, 3, 3}, 8);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    call.dtype = dtype;
    for (const int arch : {80, 90, 100}) EXPECT_EQ(check_cuda_work(plan_conv_tail(call), arch), "");
    EXPECT_EQ(check_cuda_work(plan_conv_direct(call), 90), "");
  }
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/convolution/convolution_cuda.h"

#include <gtest/gtest.h>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

ConvCall call_of(const Dims& x, const Dims& strides, const Dims& w, int64_t groups, bool flat = false) {
  Problem p;
  p.op = "kpt.convolution";
  p.inputs = {{DType::bf16, x, strides}, TensorDesc::contiguous(DType::bf16, w)};
  p.args = {In{0}, In{1}, None{}};
  const AttrList two = flat ? AttrList{2} : AttrList{2, 1};
  p.kwargs = {{"stride", two}, {"padding", flat ? AttrList{1} : AttrList{1, 0}}, {"groups", groups}, {"act", "relu"}};
  const int64_t h = flat ? 1 : (x[2] + 2 - w[2]) / 2 + 1;
  const int64_t wide = flat ? (x[2] + 2 - w[2]) / 2 + 1 : x[3] - w[3] + 1;
  p.outputs = {TensorDesc::contiguous(DType::bf16, flat ? Dims{x[0], w[0], wide} : Dims{x[0], w[0], h, wide})};
  ConvCall call;
  const Verdict v = conv_call(p, call);
  EXPECT_TRUE(v) << v.reason;
  return call;
}

TEST(CudaConvolution, ProblemForTheLibraryInWords) {
  const Dims x{2, 8, 12, 10};
  EXPECT_EQ(cudnn_problem(call_of(x, contiguous_strides(x), {6, 4, 3, 3}, 2)).key(),
            "bf16 groups2 x 8,12,10 w 6,4,3,3 stride 2,1 pad 1,0 dilation 1,1 batch2 strides 960,120,10,1 36,9,3,1 "
            "288,48,8,1");
  // One dimension: height 1.
  const Dims line{3, 8, 50};
  EXPECT_EQ(cudnn_problem(call_of(line, contiguous_strides(line), {6, 8, 4}, 1, true)).key(),
            "bf16 groups1 x 8,1,50 w 6,8,1,4 stride 1,2 pad 0,1 dilation 1,1 batch3 strides 400,50,50,1 32,4,4,1 "
            "150,25,25,1");
}

TEST(CudaConvolution, WhoTakesWhat) {
  const Dims x{2, 8, 12, 10};
  const ConvCall plain = call_of(x, contiguous_strides(x), {6, 8, 3, 3}, 1);
  EXPECT_TRUE(conv_cudnn_supports(plain));
  EXPECT_FALSE(conv_direct_supports(plain));
  const ConvCall depthwise = call_of(x, contiguous_strides(x), {16, 1, 3, 3}, 8);
  EXPECT_TRUE(conv_direct_supports(depthwise));
  const ConvCall apart = call_of(x, {5000, 120, 10, 1}, {6, 8, 3, 3}, 1);  // images of a larger batch
  EXPECT_TRUE(conv_cudnn_supports(apart));
  EXPECT_EQ(cudnn_problem(apart).x_strides[0], 5000);
  const ConvCall last = call_of(x, {960, 1, 80, 8}, {6, 8, 3, 3}, 1);
  EXPECT_EQ(conv_cudnn_supports(last).reason, "got strides 960, 1, 80, 8 of x, want packed rows and planes");
  EXPECT_TRUE(conv_direct_supports(last));
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

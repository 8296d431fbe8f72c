// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/convolution/convolution.h"

#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/cpu/test_util.h"

namespace kpt {
namespace {

using test::random;

struct Case {
  Tensor x, w, b;
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1, groups = 1;
  std::string act = "none";
  int threads = 2;
};

int64_t out_size(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
  return (in + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

Problem problem_of(const Case& c, std::vector<Tensor>& inputs) {
  Problem p;
  p.op = "aten.convolution";
  inputs = {c.x, c.w};
  p.args = {In{0}, In{1}};
  if (c.b.desc.sizes.rank()) {
    inputs.push_back(c.b);
    p.args.push_back(In{2});
  } else {
    p.args.push_back(None{});
  }
  const Dims &x = c.x.desc.sizes, &w = c.w.desc.sizes;
  const bool flat = x.rank() == 3;
  const auto list = [&](int64_t h, int64_t v) { return flat ? AttrList{v} : AttrList{h, v}; };
  p.kwargs = {{"stride", list(c.stride_h, c.stride_w)},
              {"padding", list(c.pad_h, c.pad_w)},
              {"dilation", list(c.dilation_h, c.dilation_w)},
              {"transposed", false},
              {"output_padding", list(0, 0)},
              {"groups", c.groups},
              {"act", c.act}};
  const int64_t ow = out_size(x.back(), w.back(), c.stride_w, c.pad_w, c.dilation_w);
  const Dims out =
      flat ? Dims{x[0], w[0], ow} : Dims{x[0], w[0], out_size(x[2], w[2], c.stride_h, c.pad_h, c.dilation_h), ow};
  p.outputs = {TensorDesc::contiguous(c.x.desc.dtype, out)};
  p.inputs = test::descs(inputs);
  p.threads = c.threads;
  return p;
}

void check(const Case& c) {
  std::vector<Tensor> inputs;
  const Problem p = problem_of(c, inputs);
  const Problem wide = test::widened(p);
  ConvCall reference;
  Verdict v = conv_call(wide, reference);
  ASSERT_TRUE(v) << v.reason;
  const Tensor want = test::run(*make_conv_reference(reference), wide, test::widened(inputs))[0];
  for (Isa isa : isas_of_this_machine()) {
    ConvCall call;
    v = conv_call(p, call);
    ASSERT_TRUE(v) << v.reason;
    const auto launch = make_conv(call, isa);
    const Dims& w = c.w.desc.sizes;
    test::expect_close(test::run(*launch, p, inputs)[0], want, w.numel() / std::max<int64_t>(w[0], 1),
                       cat(p.str(), " ", launch->config()));
    if (testing::Test::HasFailure()) return;
  }
}

Case plain(DType dtype, const Dims& x, const Dims& w, unsigned seed, int64_t stride = 1, int64_t pad = 0,
           int64_t groups = 1, bool bias = true) {
  Case c;
  c.x = random(dtype, x, seed);
  c.w = random(dtype, w, seed + 1);
  if (bias) c.b = random(dtype, {w[0]}, seed + 2);
  c.stride_h = c.stride_w = stride;
  c.pad_h = c.pad_w = pad;
  c.groups = groups;
  return c;
}

TEST(Convolution, HandComputed) {
  Case c;  // [1 2; 3 4] with kernel [1 10], padding 1 on both sides of a row
  c.x = Tensor::from<float>(DType::f32, {1, 1, 2, 2}, {1, 2, 3, 4});
  c.w = Tensor::from<float>(DType::f32, {1, 1, 1, 2}, {1, 10});
  c.pad_w = 1;
  std::vector<Tensor> inputs;
  const Problem p = problem_of(c, inputs);
  ConvCall call;
  ASSERT_TRUE(conv_call(p, call));
  const std::vector<double> want = {10, 21, 2, 30, 43, 4};
  for (const auto& launch : {make_conv(call), make_conv_reference(call)}) {
    const Tensor y = test::run(*launch, p, inputs)[0];
    for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(y.at(i), want[static_cast<size_t>(i)]);
  }
}

TEST(Convolution, SweepOfKernelsStridesPaddingsDilationsGroups) {
  std::mt19937 engine(5);
  const auto from = [&](int low, int high) {
    return low + static_cast<int64_t>(engine() % static_cast<unsigned>(high - low + 1));
  };
  for (unsigned i = 0; i < 200 && !HasFailure(); ++i) {
    const DType dtype = i % 4 == 3 ? DType::bf16 : i % 13 == 5 ? DType::f16 : DType::f32;
    const int64_t groups = i % 3 == 0 ? from(2, 4) : 1, kh = from(1, 4), kw = from(1, 4);
    Case c;
    c.groups = groups;
    c.stride_h = from(1, 3), c.stride_w = from(1, 3), c.pad_h = from(0, 3), c.pad_w = from(0, 3);
    c.dilation_h = from(1, 2), c.dilation_w = from(1, 2);
    const int64_t channels = i % 6 == 0 ? 1 : from(1, 5);
    const int64_t h = from(1, 20) + c.dilation_h * (kh - 1), w = from(1, 30) + c.dilation_w * (kw - 1);
    const int64_t o = groups * from(1, 20);
    c.x = random(dtype, {from(1, 2), groups * channels, h, w}, i, {}, i % 5 == 0 ? 3 : 0);
    c.w = random(dtype, {o, channels, kh, kw}, i + 1);
    if (i % 2) c.b = random(dtype, {o}, i + 2);
    c.act = i % 5 == 2 ? "silu" : i % 5 == 3 ? "relu" : "none";
    check(c);
  }
}

TEST(Convolution, ManyChannelsWalkSeveralBlocks) {
  check(plain(DType::f32, {1, 130, 9, 9}, {70, 130, 3, 3}, 1, 1, 1));
  check(plain(DType::bf16, {1, 600, 7, 7}, {40, 600, 1, 1}, 2));
  check(plain(DType::f32, {2, 3, 61, 45}, {20, 3, 7, 7}, 3, 2, 3));
}

TEST(Convolution, DepthwiseOfEveryStride) {
  for (int64_t stride : {1, 2, 3})
    for (int64_t kernel : {1, 3, 5}) {
      check(plain(DType::f32, {2, 6, 23, 37}, {6, 1, kernel, kernel}, 1, stride, kernel / 2, 6));
      check(plain(DType::bf16, {1, 3, 10, 50}, {6, 1, kernel, kernel}, 2, stride, 0, 3, false));
    }
}

TEST(Convolution, OneDimension) {
  check(plain(DType::f32, {2, 5, 100}, {9, 5, 3}, 1, 1, 1));
  check(plain(DType::f32, {2, 5, 100}, {9, 5, 10}, 1, 5, 0, 1, false));
  check(plain(DType::f32, {1, 4, 33}, {4, 1, 4}, 2, 1, 3, 4));
}

TEST(Convolution, ChannelsAndRowsOfAnyStride) {
  Case c = plain(DType::f32, {2, 5, 9, 17}, {8, 5, 3, 3}, 1, 1, 1);
  c.x = random(DType::f32, {2, 5, 9, 17}, 4, {2, 1, 0, 3}, 4);
  check(c);
  c = plain(DType::f32, {2, 5, 9, 17}, {8, 5, 1, 1}, 1);
  c.x = random(DType::f32, {2, 5, 9, 17}, 4, {1, 0, 2, 3});
  check(c);
}

TEST(Convolution, NanReachesTheWindowsThatHoldIt) {
  Case c = plain(DType::f32, {1, 3, 12, 12}, {5, 3, 3, 3}, 1, 1, 1);
  c.x.set(12 * 12 + 5 * 12 + 6, test::kNaN);
  c.x.set(0, test::kInf);
  check(c);
  c = plain(DType::f32, {1, 3, 12, 12}, {3, 1, 3, 3}, 1, 1, 1, 3);
  c.x.set(12 * 12 + 5 * 12 + 6, test::kNaN);
  check(c);
}

TEST(Convolution, EmptySizes) {
  check(plain(DType::f32, {0, 3, 5, 5}, {4, 3, 3, 3}, 1));
  check(plain(DType::f32, {2, 0, 5, 5}, {4, 0, 3, 3}, 1));  // no channels: the bias
}

// The reference alone: channels-last weights, output and residual hold the numbers of the row-major call.
TEST(Convolution, ChannelsLastIsAPermutationAndTheResidualComesBeforeTheActivation) {
  std::vector<Tensor> inputs;
  Case c = plain(DType::f32, {2, 3, 5, 4}, {6, 3, 3, 2}, 1, 1, 1);
  Problem p = problem_of(c, inputs);
  ConvCall call;
  ASSERT_TRUE(conv_call(p, call));
  const Tensor rows = test::run(*make_conv_reference(call), p, inputs)[0];

  inputs[1] = random(DType::f32, {6, 3, 3, 2}, 2, {0, 2, 3, 1});  // the same numbers in other places
  for (int64_t i = 0; i < c.w.desc.numel(); ++i) inputs[1].set(i, c.w.at(i));
  const Dims y{2, 5, 5, 6};
  ASSERT_EQ(rows.desc.sizes, (Dims{2, 6, 5, 5}));
  inputs.push_back(random(DType::f32, y, 9));
  p.inputs = test::descs(inputs);
  p.args.push_back(In{3});
  p.kwargs.emplace_back("layout", "nhwc");
  p.kwargs[6].second = "relu";
  p.outputs = {TensorDesc::contiguous(DType::f32, y)};
  const Verdict v = conv_call(p, call);
  ASSERT_TRUE(v) << v.reason;
  EXPECT_EQ(conv_supports(call).reason, "the output is channels-last");
  const Tensor got = test::run(*make_conv_reference(call), p, inputs)[0];
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t o = 0; o < 6; ++o)
      for (int64_t pixel = 0; pixel < 25; ++pixel) {
        const int64_t at = (b * 25 + pixel) * 6 + o;
        const double want = std::max(0.0, rows.at((b * 6 + o) * 25 + pixel) + inputs[3].at(at));
        EXPECT_NEAR(got.at(at), want, 1e-5);
      }
}

TEST(Convolution, ReasonsForNo) {
  const auto reason = [](auto change) {
    std::vector<Tensor> inputs;
    Problem p = problem_of(plain(DType::f32, {1, 4, 5, 5}, {6, 2, 3, 3}, 1, 1, 1, 2), inputs);
    change(p);
    ConvCall call;
    const Verdict v = conv_call(p, call);
    return v ? conv_supports(call).reason : v.reason;
  };
  EXPECT_EQ(reason([](Problem&) {}), "");
  EXPECT_EQ(reason([](Problem& p) { p.kwargs[3].second = true; }), "transposed convolution");
  EXPECT_EQ(reason([](Problem& p) {
              p.inputs[0].strides = {100, 1, 20, 4};
            }),
            "the last axis of x has stride 4, want 1");
  EXPECT_EQ(reason([](Problem& p) { p.inputs[1].strides = {18, 1, 6, 2}; }), "weights are not row-major");
  EXPECT_EQ(reason([](Problem& p) { p.kwargs[5].second = 3; }), "got 4 channels, 3 groups and weights [6, 2, 3, 3]");
  EXPECT_EQ(reason([](Problem& p) {
              p.inputs[0].sizes = {1, 4, 0, 5};
              p.kwargs[1].second = AttrList{0, 0};
            }),
            "the kernel is larger than the padded input");
}

}  // namespace
}  // namespace kpt

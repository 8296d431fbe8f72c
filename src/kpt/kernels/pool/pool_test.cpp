// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/pool/pool.h"

#include <gtest/gtest.h>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case pool(const std::string& op, const TensorDesc& x, const Dims& y, Kwargs kwargs) {
  return make_case(cat(x, y), op, {x}, {In{0}}, std::move(kwargs), {dense(x.dtype, y)}, 64);
}
Kwargs window(int kernel, int stride, int padding) {
  return {{"kernel_size", AttrList{kernel, kernel}},
          {"stride", AttrList{stride, stride}},
          {"padding", AttrList{padding, padding}}};
}

const bool kMax = conformance::add("aten.max_pool2d", [](DType d) {
  Kwargs dilated = window(3, 1, 1);
  dilated.emplace_back("dilation", AttrList{2, 1});
  std::vector<Case> cases = {pool("aten.max_pool2d", dense(d, {2, 3, 17, 19}), {2, 3, 9, 10}, window(3, 2, 1)),
                             pool("aten.max_pool2d", dense(d, {2, 3, 8, 8}), {2, 3, 4, 4}, window(2, 2, 0)),
                             pool("aten.max_pool2d", conformance::transposed(d, {3, 9, 7}), {3, 7, 7}, dilated),
                             pool("aten.max_pool2d", dense(d, {1, 40, 40, 40}), {1, 40, 20, 20}, window(2, 2, 0)),
                             pool("aten.max_pool2d", dense(d, {2, 16, 56, 56}), {2, 16, 28, 28}, window(3, 2, 1)),
                             pool("aten.max_pool2d", dense(d, {3, 30, 30}), {3, 3, 3}, window(10, 10, 0)),
                             pool("aten.max_pool2d", dense(d, {1, 1, 64, 8}), {1, 1, 32, 4}, window(2, 2, 0))};
  cases.back().ranges = {{-3, 3, true}};
  return cases;
});
const bool kAvg = conformance::add("aten.avg_pool2d", [](DType d) {
  Kwargs without = window(3, 2, 1);
  without.emplace_back("count_include_pad", false);
  Kwargs divided = window(3, 2, 1);
  divided.emplace_back("divisor_override", 5);
  return std::vector<Case>{pool("aten.avg_pool2d", dense(d, {2, 3, 17, 19}), {2, 3, 9, 10}, window(3, 2, 1)),
                           pool("aten.avg_pool2d", dense(d, {2, 3, 17, 19}), {2, 3, 9, 10}, without),
                           pool("aten.avg_pool2d", dense(d, {2, 3, 6, 6}), {2, 3, 3, 3}, window(2, 2, 0)),
                           pool("aten.avg_pool2d", dense(d, {2, 3, 21, 17}), {2, 3, 6, 5}, window(5, 4, 2)),
                           pool("aten.avg_pool2d", conformance::transposed(d, {40, 7, 7}), {40, 1, 1}, window(7, 7, 0)),
                           pool("aten.avg_pool2d", dense(d, {2, 3, 9, 9}), {2, 3, 5, 5}, divided)};
});
const bool kAdaptive = conformance::add("aten.adaptive_avg_pool2d", [](DType d) {
  std::vector<Case> cases;
  for (const Dims& y : {Dims{2, 5, 1, 1}, Dims{2, 5, 7, 7}, Dims{2, 5, 3, 4}})
    cases.push_back(
        pool("aten.adaptive_avg_pool2d", dense(d, {2, 5, 7, 9}), y, {{"output_size", AttrList{y[2], y[3]}}}));
  for (const Dims& x : {Dims{2, 300, 7, 7}, Dims{40, 56, 56}, Dims{1, 3, 100, 9}}) {
    Dims y = x;
    y[x.rank() - 2] = y[x.rank() - 1] = 1;
    cases.push_back(pool("aten.adaptive_avg_pool2d", dense(d, x), y, {{"output_size", AttrList{1, 1}}}));
    cases.back().reduction = 3136;
  }
  cases.push_back(pool("aten.adaptive_avg_pool2d", conformance::padded(d, {2, 5, 31, 33}, 3), {2, 5, 3, 3},
                       {{"output_size", AttrList{3, 3}}}));
  cases.back().reduction = 150;
  cases.push_back(
      pool("aten.adaptive_avg_pool2d", dense(d, {2, 5, 3, 2}), {2, 5, 7, 5}, {{"output_size", AttrList{7, 5}}}));
  return cases;
});

// The cases of [N, C, H, W] once more, x and y channels last.
std::vector<Case> channels_last(const std::string& name, DType d) {
  std::vector<Case> cases;
  for (const auto& [op, maker] : conformance::makers()) {
    if (op != "aten." + name) continue;
    for (Case c : maker(d)) {
      const Dims x = c.problem.inputs[0].sizes, y = c.problem.outputs[0].sizes;
      if (x.rank() != 4) continue;
      c.problem.op = "kpt." + name;
      c.problem.kwargs.emplace_back("layout", "nhwc");
      c.problem.inputs[0] = {d, x, {x[1] * x[2] * x[3], 1, x[3] * x[1], x[1]}};
      c.problem.outputs[0] = dense(d, {y[0], y[2], y[3], y[1]});
      c.label += " last";
      cases.push_back(std::move(c));
    }
  }
  return cases;
}
const bool kMaxLast = conformance::add("kpt.max_pool2d", [](DType d) { return channels_last("max_pool2d", d); });
const bool kAvgLast = conformance::add("kpt.avg_pool2d", [](DType d) { return channels_last("avg_pool2d", d); });
const bool kAdaptiveLast =
    conformance::add("kpt.adaptive_avg_pool2d", [](DType d) { return channels_last("adaptive_avg_pool2d", d); });

// By hand: kernel and reference share the windows.
void expect(const std::string& op, Kwargs kwargs, const Dims& y, const std::vector<float>& want) {
  const Tensor x = Tensor::from<float>(DType::f32, {1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Case c = pool(op, x.desc, y, std::move(kwargs));
  for (const auto& k : kernel_registry().find(op, "cpu")) {
    ASSERT_TRUE(k->supports(c.problem).ok) << k->supports(c.problem).reason;
    std::vector<Tensor> out;
    ASSERT_EQ(conformance::run_kernel(*k, c.problem, {x}, out), "");
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_FLOAT_EQ(static_cast<float>(out[0].at(static_cast<int64_t>(i))), want[i])
          << op << " " << k->name << " " << i;
  }
}

TEST(Pool, HandComputed) {
  expect("aten.max_pool2d", window(2, 1, 0), {1, 2, 2}, {5, 6, 8, 9});
  expect("aten.max_pool2d", window(2, 2, 0), {1, 2, 2}, {5, 6, 8, 9});  // ceil_mode: windows cut at the border
  // ceil_mode: what lies beyond x and its padding does not count.
  expect("aten.avg_pool2d", window(2, 2, 0), {1, 2, 2}, {3, 4.5f, 7.5f, 9});
  expect("aten.avg_pool2d", window(2, 2, 1), {1, 2, 2}, {0.25f, 1.25f, 2.75f, 7});
  Kwargs without = window(2, 2, 1);
  without.emplace_back("count_include_pad", false);
  expect("aten.avg_pool2d", without, {1, 2, 2}, {1, 2.5f, 5.5f, 7});
  expect("aten.adaptive_avg_pool2d", {{"output_size", AttrList{2, 2}}}, {1, 2, 2}, {3, 4, 6, 7});
}

TEST(Pool, OnAGpuLargeWindowsAreShared) {
  const auto config = [](const std::string& op, const Dims& x, const Dims& y, Kwargs kwargs) {
    Problem p = pool(op, dense(DType::bf16, x), y, std::move(kwargs)).problem;
    p.gpu.multiprocessors = 132;
    const CudaWork work = kernel_registry().find(op, "cuda")[0]->work(p);
    return cat(work.config, " x ", work.calls[0].shape.grid[0]);
  };
  EXPECT_EQ(config("aten.max_pool2d", {32, 64, 112, 112}, {32, 64, 56, 56}, window(3, 2, 1)),
            "1 threads a window, blocks of 256 x 25088");
  EXPECT_EQ(config("aten.adaptive_avg_pool2d", {32, 2048, 7, 7}, {32, 2048, 1, 1}, {{"output_size", AttrList{1, 1}}}),
            "8 threads a window, blocks of 256 x 2048");
  EXPECT_EQ(config("aten.adaptive_avg_pool2d", {1, 64, 56, 56}, {1, 64, 1, 1}, {{"output_size", AttrList{1, 1}}}),
            "32 threads a window, blocks of 64 x 32");
}

TEST(Pool, RefusesOutputsThatReachBeyondX) {
  for (const auto& k : kernel_registry().find("aten.max_pool2d", "cpu"))
    EXPECT_FALSE(
        k->supports(pool("aten.max_pool2d", dense(DType::f32, {1, 3, 3}), {1, 4, 4}, window(2, 1, 0)).problem).ok)
        << k->name;
}

TEST(Pool, ChannelsLastByHand) {
  // Two channels: 1 .. 4 and 10 .. 40, side by side in memory as in y.
  const Tensor x = Tensor::from<float>(DType::f32, {1, 2, 2, 2}, {1, 10, 2, 20, 3, 30, 4, 40});
  Case c = pool("kpt.max_pool2d", {DType::f32, {1, 2, 2, 2}, {8, 1, 4, 2}}, {1, 2, 1, 2}, {});
  c.problem.kwargs = {{"kernel_size", AttrList{1, 2}}, {"stride", AttrList{1, 2}}, {"layout", "nhwc"}};
  for (const auto& k : kernel_registry().find("kpt.max_pool2d", "cpu")) {
    std::vector<Tensor> out;
    ASSERT_TRUE(k->supports(c.problem).ok) << k->supports(c.problem).reason;
    Tensor last = x;
    last.desc = c.problem.inputs[0];
    ASSERT_EQ(conformance::run_kernel(*k, c.problem, {last}, out), "");
    const std::vector<double> want = {2, 20, 4, 40};
    for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(out[0].at(i), want[static_cast<size_t>(i)]) << k->name;
  }
}

TEST(Pool, EveryProgramCompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  for (const auto& k : kernel_registry().find("kpt.max_pool2d", "cuda"))
    EXPECT_EQ(check_cuda_work(k->work(channels_last("max_pool2d", DType::bf16).at(0).problem), 90), "");
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/pool/pool.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

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
                             pool("aten.max_pool2d", dense(d, {1, 1, 64, 8}), {1, 1, 32, 4}, window(2, 2, 0))};
  cases.back().ranges = {{-3, 3, true}};
  return cases;
});
const bool kAvg = conformance::add("aten.avg_pool2d", [](DType d) {
  Kwargs without = window(3, 2, 1);
  without.emplace_back("count_include_pad", false);
  return std::vector<Case>{pool("aten.avg_pool2d", dense(d, {2, 3, 17, 19}), {2, 3, 9, 10}, window(3, 2, 1)),
                           pool("aten.avg_pool2d", dense(d, {2, 3, 17, 19}), {2, 3, 9, 10}, without),
                           pool("aten.avg_pool2d", dense(d, {2, 3, 6, 6}), {2, 3, 3, 3}, window(2, 2, 0))};
});
const bool kAdaptive = conformance::add("aten.adaptive_avg_pool2d", [](DType d) {
  std::vector<Case> cases;
  for (const Dims& y : {Dims{2, 5, 1, 1}, Dims{2, 5, 7, 7}, Dims{2, 5, 3, 4}})
    cases.push_back(
        pool("aten.adaptive_avg_pool2d", dense(d, {2, 5, 7, 9}), y, {{"output_size", AttrList{y[2], y[3]}}}));
  return cases;
});

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

TEST(Pool, RefusesOutputsThatReachBeyondX) {
  for (const auto& k : kernel_registry().find("aten.max_pool2d", "cpu"))
    EXPECT_FALSE(
        k->supports(pool("aten.max_pool2d", dense(DType::f32, {1, 3, 3}), {1, 4, 4}, window(2, 1, 0)).problem).ok)
        << k->name;
}

}  // namespace
}  // namespace kpt

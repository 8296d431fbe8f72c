// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/batch_norm/batch_norm.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case batch_norm(DType d, const Dims& x, bool affine) {
  std::vector<TensorDesc> inputs = {dense(d, x)};
  AttrList args = {In{0}};
  if (affine) {
    args = {In{0}, In{1}, In{2}, In{3}, In{4}};
  } else {
    args = {In{0}, None{}, None{}, In{1}, In{2}};
  }
  for (int i = affine ? 4 : 2; i > 0; --i) inputs.push_back(dense(d, {x[1]}));
  Case c = make_case(cat(x, affine, d), "aten.batch_norm", inputs, args,
                     {{"training", false}, {"momentum", 0.1}, {"eps", 1e-5}, {"cudnn_enabled", true}}, {dense(d, x)});
  c.ranges = {{-3, 3}, {0.5, 2}, {0.5, 2}, {0.5, 2}, {0.5, 2}};
  c.scale = 3;
  return c;
}

const bool kCases = conformance::add("aten.batch_norm", [](DType d) {
  return std::vector<Case>{batch_norm(d, {2, 5, 7, 7}, true), batch_norm(d, {2, 5, 30, 30}, true),
                           batch_norm(d, {6, 9}, false), batch_norm(d, {0, 3, 4}, true),
                           batch_norm(d, {2, 64, 28, 28}, true)};
});

TEST(BatchNorm, HandComputed) {
  Case c = batch_norm(DType::f32, {1, 2, 1}, true);
  c.problem.kwargs[2].second = 0.5;  // eps
  const auto f = [](float a, float b) { return Tensor::from<float>(DType::f32, {2}, {a, b}); };
  Tensor x = f(3, 5);
  x.desc = c.problem.inputs[0];
  for (const auto& k : kernel_registry().find("aten.batch_norm", "cpu")) {
    std::vector<Tensor> y;
    // w 2, 1; b 10, 20; mean 1, 4; variance such that sqrt(var + eps) is 2 and 1.
    ASSERT_EQ(conformance::run_kernel(*k, c.problem, {x, f(2, 1), f(10, 20), f(1, 4), f(3.5f, 0.5f)}, y), "");
    EXPECT_NEAR(y[0].at(0), 12, 12 * conformance::tolerance(DType::f32, 1)) << k->name;
    EXPECT_NEAR(y[0].at(1), 21, 21 * conformance::tolerance(DType::f32, 1)) << k->name;
  }
}

TEST(BatchNorm, RefusesTraining) {
  Case c = batch_norm(DType::f32, {2, 3, 4}, true);
  c.problem.kwargs[0].second = true;
  for (const auto& k : kernel_registry().find("aten.batch_norm", "cpu"))
    EXPECT_EQ(k->supports(c.problem).reason, "training");
}

}  // namespace
}  // namespace kpt

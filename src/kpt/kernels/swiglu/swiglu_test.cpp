// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/swiglu/swiglu.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::dense;
using conformance::make_case;

const bool kCases = conformance::add("kpt.swiglu", [](DType d) {
  std::vector<conformance::Case> cases;
  for (const Dims& sizes : {Dims{0, 4}, Dims{1}, Dims{3, 5, 700}, Dims{7, 4096}})
    cases.push_back(make_case(cat(sizes, d), "kpt.swiglu", {dense(d, sizes), dense(d, sizes)}, {In{0}, In{1}}, {},
                              {dense(d, sizes)}));
  // The halves of one tensor [.., 2 * 129].
  const TensorDesc half = conformance::padded(d, {40, 129}, 129);
  cases.push_back(make_case(cat("halves", d), "kpt.swiglu", {half, half}, {In{0}, In{1}}, {}, {dense(d, {40, 129})}));
  return cases;
});

TEST(Swiglu, TheFirstOperandIsTheGate) {
  const auto c = make_case("", "kpt.swiglu", {dense(DType::f32, {1}), dense(DType::f32, {1})}, {In{0}, In{1}}, {},
                           {dense(DType::f32, {1})});
  for (const auto& k : kernel_registry().find("kpt.swiglu", "cpu")) {
    std::vector<Tensor> y;
    const Tensor gate = Tensor::from<float>(DType::f32, {1}, {1}), up = Tensor::from<float>(DType::f32, {1}, {2});
    ASSERT_EQ(conformance::run_kernel(*k, c.problem, {gate, up}, y), "");
    EXPECT_FLOAT_EQ(static_cast<float>(y[0].at(0)), 1.4621172f) << k->name;  // 2 / (1 + 1/e)
  }
}

TEST(Swiglu, RefusesBroadcasting) {
  const auto c = make_case("", "kpt.swiglu", {dense(DType::f32, {2, 3}), dense(DType::f32, {3})}, {In{0}, In{1}}, {},
                           {dense(DType::f32, {2, 3})});
  for (const auto& k : kernel_registry().find("kpt.swiglu", "cpu"))
    EXPECT_EQ(k->supports(c.problem).reason, "gate f32[2, 3] and up f32[3]");
}

}  // namespace
}  // namespace kpt

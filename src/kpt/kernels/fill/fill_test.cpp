// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/fill/fill.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

const bool kFull = conformance::add("aten.full", [](DType d) {
  return std::vector<Case>{
      make_case(cat("full", d), "aten.full", {}, {}, {{"size", AttrList{3, 5}}, {"fill_value", -1.5}},
                {dense(d, {3, 5})}),
      make_case(cat("scalar", d), "aten.full", {}, {}, {{"size", AttrList{}}, {"fill_value", 2}}, {dense(d, {})}),
      make_case(cat("bool", d), "aten.full", {}, {}, {{"size", AttrList{7}}, {"fill_value", true}},
                {dense(DType::boolean, {7})})};
});
const bool kArange = conformance::add("aten.arange.start_step", [](DType d) {
  return std::vector<Case>{make_case(cat("float", d), "aten.arange.start_step", {}, {},
                                     {{"start", 0.5}, {"end", 4.0}, {"step", 0.25}}, {dense(d, {14})}),
                           make_case(cat("int", d), "aten.arange.start_step", {}, {},
                                     {{"start", 3}, {"end", 100}, {"step", 1}}, {dense(DType::i64, {97})}),
                           make_case(cat("down", d), "aten.arange.start_step", {}, {},
                                     {{"start", 3}, {"end", -3}, {"step", -2}}, {dense(d, {3})})};
});
const bool kConstant = conformance::add("kpt.constant", [](DType d) {
  return std::vector<Case>{
      make_case(cat("list", d), "kpt.constant", {}, {}, {{"value", AttrList{1.5, 2, -3}}, {"dtype", d}},
                {dense(d, {3})}),
      make_case(cat("one", d), "kpt.constant", {}, {}, {{"value", 0.1}, {"dtype", d}}, {dense(d, {})})};
});

TEST(Fill, IntegersAboveTwoToThe53AreExact) {
  const int64_t big = (int64_t{1} << 53) + 1;
  const Case c = make_case("", "aten.arange.start_step", {}, {}, {{"start", big}, {"end", big + 2}, {"step", 1}},
                           {dense(DType::i64, {2})});
  std::vector<Tensor> y;
  ASSERT_EQ(conformance::run_kernel(*kernel_registry().find(c.problem.op, "cpu")[0], c.problem, {}, y), "");
  EXPECT_EQ(static_cast<int64_t*>(y[0].data)[0], big);
  EXPECT_EQ(static_cast<int64_t*>(y[0].data)[1], big + 1);
}

TEST(Fill, RefusesAConstantOfAnotherLength) {
  const Case c = make_case("", "kpt.constant", {}, {}, {{"value", AttrList{1, 2}}}, {dense(DType::f32, {3})});
  EXPECT_EQ(kernel_registry().find("kpt.constant", "cpu")[0]->supports(c.problem).reason,
            "value of 2 numbers for f32[3]");
}

}  // namespace
}  // namespace kpt

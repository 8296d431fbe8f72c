// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/fill/fill.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

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
                {dense(DType::boolean, {7})}),
      make_case(cat("large", d), "aten.full", {}, {}, {{"size", AttrList{270337}}, {"fill_value", -7}},
                {dense(d, {270337})})};
});
const bool kArange = conformance::add("aten.arange.start_step", [](DType d) {
  return std::vector<Case>{make_case(cat("float", d), "aten.arange.start_step", {}, {},
                                     {{"start", 0.5}, {"end", 4.0}, {"step", 0.25}}, {dense(d, {14})}),
                           make_case(cat("int", d), "aten.arange.start_step", {}, {},
                                     {{"start", 3}, {"end", 100}, {"step", 1}}, {dense(DType::i64, {97})}),
                           make_case(cat("down", d), "aten.arange.start_step", {}, {},
                                     {{"start", 3}, {"end", -3}, {"step", -2}}, {dense(d, {3})}),
                           make_case(cat("long", d), "aten.arange.start_step", {}, {},
                                     {{"start", -20000}, {"end", 20001}, {"step", 1}}, {dense(DType::i32, {40001})}),
                           make_case(cat("truncated", d), "aten.arange.start_step", {}, {},
                                     {{"start", -2.5}, {"end", 2.0}, {"step", 0.75}}, {dense(DType::i16, {6})}),
                           make_case(cat("tenths", d), "aten.arange.start_step", {}, {},
                                     {{"start", -2.5}, {"end", 100.0}, {"step", 0.1}}, {dense(d, {1025})})};
});
const bool kConstant = conformance::add("kpt.constant", [](DType d) {
  AttrList many;
  for (int i = 0; i < 2001; ++i) many.push_back(i * 0.5 - 200);
  return std::vector<Case>{
      make_case(cat("list", d), "kpt.constant", {}, {}, {{"value", AttrList{1.5, 2, -3}}, {"dtype", d}},
                {dense(d, {3})}),
      make_case(cat("many", d), "kpt.constant", {}, {}, {{"value", many}, {"dtype", d}}, {dense(d, {3, 667})}),
      make_case(cat("bytes", d), "kpt.constant", {}, {},
                {{"value", AttrList{1, 2, 3, 4, 5, 6, 7}}, {"dtype", DType::u8}}, {dense(DType::u8, {7})}),
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

TEST(Fill, OnAGpuAConstantIsCutAt3KiBAndExact) {
  const auto planned = [](const Case& c) { return kernel_registry().find(c.problem.op, "cuda")[0]->work(c.problem); };
  const int64_t big = (int64_t{1} << 53) + 1;
  AttrList values(385, Attr(big));
  const CudaWork work = planned(make_case("", "kpt.constant", {}, {}, {{"value", values}}, {dense(DType::i64, {385})}));
  ASSERT_EQ(work.calls.size(), 2u);
  EXPECT_EQ(work.calls[1].params[1].offset, 3072);
  const auto number = [](const CudaParam& p, size_t at) {
    int64_t n;
    std::memcpy(&n, p.bytes.data() + at, sizeof n);
    return n;
  };
  EXPECT_EQ(number(work.calls[1].params[0], 4), big);
  EXPECT_EQ(work.calls[1].params[0].bytes[0], 8);  // one number is left
  EXPECT_EQ(work.calls[1].params[0].bytes.size(), 3076u);

  const CudaWork range = planned(make_case("", "aten.arange.start_step", {}, {},
                                           {{"start", big}, {"end", big + 2}, {"step", 1}}, {dense(DType::i64, {2})}));
  EXPECT_EQ(number(range.calls[0].params[0], 0), big);
  const CudaWork full =
      planned(make_case("", "aten.full", {}, {}, {{"fill_value", big}}, {dense(DType::i64, {1000, 1000})}));
  EXPECT_EQ(number(full.calls[0].params[0], 8), big);
  EXPECT_EQ(full.calls[0].shape.grid[0] * 1024, 500736u);  // 500,000 words of 16 bytes
}

TEST(Fill, RefusesAConstantOfAnotherLength) {
  const Case c = make_case("", "kpt.constant", {}, {}, {{"value", AttrList{1, 2}}}, {dense(DType::f32, {3})});
  EXPECT_EQ(kernel_registry().find("kpt.constant", "cpu")[0]->supports(c.problem).reason,
            "value of 2 numbers for f32[3]");
}

}  // namespace
}  // namespace kpt

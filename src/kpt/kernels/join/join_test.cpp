// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/join/join.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

const bool kCat = conformance::add("aten.cat", [](DType d) {
  const AttrList three = {In{0}, In{1}, In{2}};
  AttrList many;
  std::vector<TensorDesc> eleven;
  for (int i = 0; i < 11; ++i) {
    many.push_back(In{i});
    eleven.push_back(dense(d, {3, i % 3 + 1, 2}));
  }
  return std::vector<Case>{
      make_case(cat("eleven", d), "aten.cat", eleven, {many}, {{"dim", 1}}, {dense(d, {3, 21, 2})}),
      make_case(
          cat("rows", d), "aten.cat",
          {conformance::padded(d, {20, 8, 64}, 32), dense(d, {20, 8, 40}), conformance::expanded(d, {20, 8, 96}, 1)},
          {three}, {{"dim", -1}}, {dense(d, {20, 8, 200})}),
      make_case(cat("token", d), "aten.cat", {conformance::expanded(d, {4, 1, 192}, 0), dense(d, {4, 196, 192})},
                {AttrList{In{0}, In{1}}}, {{"dim", 1}}, {dense(d, {4, 197, 192})}),
      make_case(cat("large", d), "aten.cat", {dense(d, {521, 261}), dense(d, {521, 259})}, {AttrList{In{0}, In{1}}},
                {{"dim", 1}}, {dense(d, {521, 520})}),
      make_case(cat("last", d), "aten.cat", {dense(d, {4, 3}), conformance::transposed(d, {4, 50}), dense(d, {4, 1})},
                {three}, {{"dim", -1}}, {dense(d, {4, 54})}),
      make_case(cat("first", d), "aten.cat", {dense(d, {4, 3}), dense(d, {0, 3}), dense(d, {400, 3})}, {three},
                {{"dim", 0}}, {dense(d, {404, 3})}),
      make_case(cat("legacy_empty", d), "aten.cat", {dense(d, {4, 3}), dense(d, {0}), dense(d, {4, 5})}, {three},
                {{"dim", 1}}, {dense(d, {4, 8})})};
});
const bool kPad = conformance::add("aten.constant_pad_nd", [](DType d) {
  return std::vector<Case>{
      make_case(cat("two", d), "aten.constant_pad_nd", {dense(d, {3, 4, 5})}, {In{0}},
                {{"pad", AttrList{1, 2, 0, 3}}, {"value", -2.5}}, {dense(d, {3, 7, 8})}),
      make_case(cat("crop", d), "aten.constant_pad_nd", {dense(d, {3, 9})}, {In{0}},
                {{"pad", AttrList{-2, 1}}, {"value", 0}}, {dense(d, {3, 8})}),
      make_case(cat("around", d), "aten.constant_pad_nd", {conformance::transposed(d, {4, 3, 30, 30})}, {In{0}},
                {{"pad", AttrList{1, 1, 1, 1, 2, 0, 0, 2}}, {"value", 0.5}}, {dense(d, {6, 5, 32, 32})}),
      make_case(cat("nothing_kept", d), "aten.constant_pad_nd", {dense(d, {3, 4})}, {In{0}},
                {{"pad", AttrList{-5, 7}}, {"value", 1}}, {dense(d, {3, 6})}),
      make_case(cat("none", d), "aten.constant_pad_nd", {dense(d, {3, 4})}, {In{0}},
                {{"pad", AttrList{0, 0}}, {"value", 1}}, {dense(d, {3, 4})})};
});
const bool kRepeat = conformance::add("aten.repeat", [](DType d) {
  return std::vector<Case>{
      make_case(cat("more_dims", d), "aten.repeat", {dense(d, {3, 4})}, {In{0}}, {{"repeats", AttrList{2, 1, 3}}},
                {dense(d, {2, 3, 12})}),
      make_case(cat("heads", d), "aten.repeat", {dense(d, {2, 1, 16, 64})}, {In{0}},
                {{"repeats", AttrList{1, 4, 1, 1}}}, {dense(d, {2, 4, 16, 64})}),
      make_case(cat("scalar", d), "aten.repeat", {dense(d, {})}, {In{0}}, {{"repeats", AttrList{70}}},
                {dense(d, {70})}),
      make_case(cat("none", d), "aten.repeat", {dense(d, {3})}, {In{0}}, {{"repeats", AttrList{0}}}, {dense(d, {0})})};
});
const bool kSlice = conformance::add("aten.slice_scatter", [](DType d) {
  return std::vector<Case>{
      make_case(cat("step", d), "aten.slice_scatter", {dense(d, {4, 9}), dense(d, {4, 3})}, {In{0}, In{1}},
                {{"dim", 1}, {"start", 2}, {"end", 8}, {"step", 2}}, {dense(d, {4, 9})}),
      make_case(cat("box", d), "aten.slice_scatter", {conformance::transposed(d, {4, 64, 48}), dense(d, {4, 32, 48})},
                {In{0}, In{1}}, {{"dim", 1}, {"start", 16}, {"end", 48}, {"step", 1}}, {dense(d, {4, 64, 48})}),
      make_case(cat("all", d), "aten.slice_scatter", {dense(d, {4, 9}), dense(d, {4, 9})}, {In{0}, In{1}},
                {{"dim", 1}, {"start", 0}, {"end", INT64_MAX}, {"step", 1}}, {dense(d, {4, 9})})};
});
const bool kSelect = conformance::add("aten.select_scatter", [](DType d) {
  return std::vector<Case>{make_case(cat("middle", d), "aten.select_scatter", {dense(d, {4, 9, 2}), dense(d, {4, 2})},
                                     {In{0}, In{1}}, {{"dim", 1}, {"index", -3}}, {dense(d, {4, 9, 2})})};
});

Tensor counting(const Dims& sizes, int from) {
  std::vector<int64_t> v(static_cast<size_t>(sizes.numel()));
  std::iota(v.begin(), v.end(), from);
  return Tensor::from<int64_t>(DType::i64, sizes, v);
}

// By hand: the reference shares the description of the parts.
void expect(const std::string& op, const std::vector<Tensor>& in, AttrList args, Kwargs kwargs, const Dims& out,
            const std::vector<int64_t>& want) {
  std::vector<TensorDesc> descs;
  for (const Tensor& t : in) descs.push_back(t.desc);
  const Case c = make_case("", op, descs, std::move(args), std::move(kwargs), {dense(DType::i64, out)});
  for (const auto& k : kernel_registry().find(op, "cpu")) {
    std::vector<Tensor> y;
    ASSERT_TRUE(k->supports(c.problem).ok) << k->supports(c.problem).reason;
    ASSERT_EQ(conformance::run_kernel(*k, c.problem, in, y), "");
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_EQ(y[0].at(static_cast<int64_t>(i)), static_cast<double>(want[i])) << op << " " << k->name << " " << i;
  }
}

TEST(Join, HandComputed) {
  const Tensor a = counting({2, 2}, 0), b = counting({2, 1}, 10);
  expect("aten.cat", {a, b}, {AttrList{In{0}, In{1}}}, {{"dim", 1}}, {2, 3}, {0, 1, 10, 2, 3, 11});
  expect("aten.constant_pad_nd", {a}, {In{0}}, {{"pad", AttrList{1, 0, 0, 1}}, {"value", 7}}, {3, 3},
         {7, 0, 1, 7, 2, 3, 7, 7, 7});
  expect("aten.constant_pad_nd", {a}, {In{0}}, {{"pad", AttrList{-1, 1}}, {"value", 7}}, {2, 2}, {1, 7, 3, 7});
  expect("aten.repeat", {b}, {In{0}}, {{"repeats", AttrList{2, 2}}}, {4, 2}, {10, 10, 11, 11, 10, 10, 11, 11});
  expect("aten.slice_scatter", {counting({4}, 0), counting({2}, 10)}, {In{0}, In{1}},
         {{"dim", 0}, {"start", 1}, {"end", INT64_MAX}, {"step", 2}}, {4}, {0, 10, 2, 11});
  expect("aten.select_scatter", {a, counting({2}, 10)}, {In{0}, In{1}}, {{"dim", 1}, {"index", -1}}, {2, 2},
         {0, 10, 2, 11});
}

TEST(Join, RefusesPartsThatDoNotFit) {
  const auto reason = [](const Case& c) {
    return kernel_registry().find(c.problem.op, "cpu")[0]->supports(c.problem).reason;
  };
  EXPECT_EQ(reason(make_case("", "aten.cat", {dense(DType::f32, {2, 3})}, {AttrList{In{0}}}, {{"dim", 0}},
                             {dense(DType::f32, {3, 3})})),
            "inputs add up to 2 along dim 0 of f32[3, 3]");
  EXPECT_EQ(reason(make_case("", "aten.cat", {dense(DType::f32, {2})}, {AttrList{In{0}}}, {{"dim", 0}},
                             {dense(DType::f64, {2})})),
            "from f32 to f64");
}

}  // namespace
}  // namespace kpt

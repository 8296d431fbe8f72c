// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/row/row.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/program/launch.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::padded;

Case row(const std::string& text, std::vector<TensorDesc> inputs, std::vector<TensorDesc> outputs) {
  AttrList list;
  for (size_t i = 0; i < inputs.size(); ++i) list.push_back(In{static_cast<int>(i)});
  const int64_t width = inputs[0].sizes.back();
  const std::string label = cat(text, outputs[0]);
  Case c = conformance::make_case(label, "kpt.row", std::move(inputs), {list}, {{"program", text}}, std::move(outputs),
                                  width);
  c.scale = 1;
  return c;
}

const char* const kSoftmax = "m=row_max(i0);a=sub(i0,m);b=exp(a);s=row_sum(b);y=div(b,s);out y";
const char* const kRms = "a=to_f32(i0);q=mul(a,a);m=row_mean(q);e=add(m,1e-5);r=rsqrt(e);n=mul(a,r);y=mul(n,i1);out y";
const char* const kBoth = "m=row_mean(i0);d=sub(i0,m);lo=row_min(i0);y=add(d,lo);out y,m";

const bool kCases = conformance::add("kpt.row", [](DType d) {
  std::vector<Case> cases;
  for (int64_t w : {1, 7, 64, 385, 5000}) {
    const Dims sizes{3, 5, w};
    cases.push_back(row(kSoftmax, {dense(d, sizes)}, {dense(d, sizes)}));
    if (d != DType::f64) cases.push_back(row(kRms, {padded(d, sizes, 3), dense(d, {w})}, {dense(d, sizes)}));
    cases.push_back(row(kBoth, {dense(d, sizes)}, {dense(d, sizes), dense(d, {3, 5, 1})}));
  }
  for (int64_t w : {1, 3, 77, 384, 1000, 1024, 4096, 8192, 40000}) {
    const Dims sizes{5, w};
    cases.push_back(row(kSoftmax, {dense(d, sizes)}, {dense(d, sizes)}));
    cases.push_back(
        row("a=add(i0,i1);m=row_mean(a);c=sub(a,m);q=mul(c,c);v=row_mean(q);e=add(v,1e-5);r=rsqrt(e);"
            "n=mul(c,r);y=mul(n,i2);out y,a",
            {dense(d, sizes), conformance::transposed(d, sizes), dense(d, {w})}, {dense(d, sizes), dense(d, sizes)}));
  }
  cases.push_back(row("s=row_sum(i0);y=add(s,i1);out y", {dense(DType::i64, {40, 9}), dense(DType::i64, {40, 1})},
                      {dense(DType::i64, {40, 1})}));
  cases.push_back(row(kSoftmax, {dense(d, {4000, 33})}, {dense(d, {4000, 33})}));
  cases.push_back(row(kBoth, {dense(d, {0, 33})}, {dense(d, {0, 33}), dense(d, {0, 1})}));
  cases.push_back(
      row("s=row_max(i0);y=row_min(i0);out s,y", {dense(d, {64, 9})}, {dense(d, {64, 1}), dense(d, {64, 1})}));
  cases.back().ranges = {{-3, 3, true}};
  return cases;
});

TEST(Row, RefusesAWholeRowForOneElementAndEmptyRows) {
  Case c = row("y=neg(i0);out y", {dense(DType::f32, {4, 3})}, {dense(DType::f32, {4, 1})});
  EXPECT_EQ(program_supports(c.problem).reason, "a whole row for an output of one element a row");
  c = row("y=row_sum(i0);out y", {dense(DType::f32, {4, 0})}, {dense(DType::f32, {4, 1})});
  EXPECT_EQ(program_supports(c.problem).reason, "kpt.row needs rows of one element or more");
  c = row("y=row_sum(i0);out y", {dense(DType::f32, {4, 3})}, {dense(DType::f32, {5, 1})});
  EXPECT_FALSE(program_supports(c.problem).ok);
}

}  // namespace
}  // namespace kpt

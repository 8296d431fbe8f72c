// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kpt/fusion/fusion.h"
#include "kpt/ir/text.h"

namespace kpt {
namespace {

std::string group(const std::string& body, PassContext* context = nullptr) {
  Graph graph = parse("kpt.graph 1\n" + body);
  verify_or_throw(graph, "the test's own graph");
  PassContext own;
  group_pointwise(graph, context ? *context : own);
  verify_or_throw(graph, "group_pointwise");
  const std::string once = print(graph);
  PassContext again;
  group_pointwise(graph, again);
  EXPECT_EQ(print(graph), once);
  return once.substr(12);
}

void expect_unchanged(const std::string& body) { EXPECT_EQ(group(body), body); }

TEST(Group, ChainBecomesOneNodeThatKeepsNameAndPlace) {
  PassContext context;
  EXPECT_EQ(group("sym s in [1, 8] hint 4\ninput %x : f32[2, s]\ninput %z : f32[2, s]\n%a = aten.add.Tensor(%x, %z) : "
                  "f32[2, s]\n"
                  "%b = aten.mul.Tensor(%a, 0.5) : f32[2, s]\n%c = aten.tanh(%b) : f32[2, s]  @ \"net.act\" \"m.py:3 "
                  "f\"\nreturn %c\n",
                  &context),
            "sym s in [1, 8] hint 4\ninput %x : f32[2, s]\ninput %z : f32[2, s]\n"
            "%c = kpt.pointwise([%x, %z], program=\"v0=add(i0,i1);v1=mul(v0,0.5);v2=tanh(v1);out v2\") : f32[2, s]"
            "  @ \"net.act\" \"m.py:3 f\"\nreturn %c\n");
  ASSERT_EQ(context.rewrites.size(), 1u);
  EXPECT_EQ(context.rewrites[0].key, "pointwise@c");
  EXPECT_EQ(context.rewrites[0].what, "pointwise(3 operators)");
  EXPECT_EQ(context.rewrites[0].where, "net.act");
}

TEST(Group, NamedArgumentsBecomeLiterals) {
  EXPECT_EQ(group("input %x : f32[4]\ninput %m : bool[4]\n%a = aten.gelu(%x, approximate=\"tanh\") : f32[4]\n"
                  "%b = aten.clamp(%a, min=-1, max=none) : f32[4]\n%c = aten.elu(%b, alpha=1.5, scale=1, "
                  "input_scale=1) : f32[4]\n"
                  "%d = aten.masked_fill.Scalar(%c, %m, value=-inf) : f32[4]\n%e = aten.pow.Tensor_Scalar(%d, "
                  "exponent=2) : f32[4]\n"
                  "%f = aten.div.Tensor_mode(%e, 3, rounding_mode=\"floor\") : f32[4]\n%g = aten._to_copy(%f, "
                  "dtype=bf16) : bf16[4]\n"
                  "%h = aten.add.Tensor(%g, 1, alpha=1) : bf16[4]\nreturn %h\n"),
            "input %x : f32[4]\ninput %m : bool[4]\n%h = kpt.pointwise([%x, %m], "
            "program=\"v0=gelu_tanh(i0);v1=clamp(v0,-1,none);"
            "v2=elu(v1,1.5,1,1);v3=masked_fill(v2,i1,-inf);v4=pow(v3,2);v5=div_floor(v4,3);v6=to_bf16(v5);v7=add(v6,1);"
            "out v7\")"
            " : bf16[4]\nreturn %h\n");
}

TEST(Group, IntegerAndBoolOperatorsAreTakenToo) {
  EXPECT_EQ(group("input %i : i64[4]\ninput %j : i64[4]\n%a = aten.ge.Tensor(%i, %j) : bool[4]\n%b = "
                  "aten.logical_not(%a) : bool[4]\n"
                  "%c = aten.where.self(%b, 0.0, -inf) : f32[4]\nreturn %c\n"),
            "input %i : i64[4]\ninput %j : i64[4]\n"
            "%c = kpt.pointwise([%i, %j], program=\"v0=ge(i0,i1);v1=logical_not(v0);v2=where(v1,0.0,-inf);out v2\") : "
            "f32[4]\nreturn %c\n");
}

TEST(Group, OneNodeAloneStays) { expect_unchanged("input %x : f32[4]\n%a = aten.exp(%x) : f32[4]\nreturn %a\n"); }

TEST(Group, ValueReadOutsideBecomesASecondOutput) {
  EXPECT_EQ(group("input %x : f32[4, 4]\n%a = aten.exp(%x) : f32[4, 4]\n%b = aten.neg(%a) : f32[4, 4]\n"
                  "%m = aten.matmul(%a, %b) : f32[4, 4]\nreturn %m\n"),
            "input %x : f32[4, 4]\n%a, %b = kpt.pointwise([%x], program=\"v0=exp(i0);v1=neg(v0);out v0,v1\") : f32[4, "
            "4], f32[4, 4]\n"
            "%m = aten.matmul(%a, %b) : f32[4, 4]\nreturn %m\n");
}

TEST(Group, NoCycleThroughAnOutsider) {
  // exp -> matmul -> add and exp -> add: exp with add would need its own result.
  expect_unchanged(
      "input %x : f32[4, 4]\n%a = aten.exp(%x) : f32[4, 4]\n%m = aten.matmul(%a, %x) : f32[4, 4]\n"
      "%b = aten.add.Tensor(%a, %m) : f32[4, 4]\nreturn %b\n");
}

TEST(Group, SmallerTensorsAreNotRecomputed) {
  expect_unchanged(
      "input %x : f32[64, 4]\ninput %r : f32[4]\n%e = aten.exp(%r) : f32[4]\n"
      "%b = aten.add.Tensor(%x, %e) : f32[64, 4]\nreturn %b\n");
}

TEST(Group, AtMostFourOutputsAndSixteenInputs) {
  std::string body = "input %x : f32[4]\n%v0 = aten.exp(%x) : f32[4]\n";
  for (int i = 1; i < 6; ++i) body += cat("%v", i, " = aten.exp(%v", i - 1, ") : f32[4]\n");
  const std::string out = group(body + "return %v0, %v1, %v2, %v3, %v4, %v5\n");
  EXPECT_NE(out.find("%v2, %v3, %v4, %v5 = kpt.pointwise([%v1]"), std::string::npos) << out;
  EXPECT_NE(out.find("%v0, %v1 = kpt.pointwise([%x]"), std::string::npos) << out;

  std::string sum = "input %x0 : f32[4]\n";
  for (int i = 1; i < 20; ++i) sum += cat("input %x", i, " : f32[4]\n");
  for (int i = 1; i < 20; ++i)
    sum += cat("%s", i, " = aten.add.Tensor(", i == 1 ? "%x0" : cat("%s", i - 1), ", %x", i, ") : f32[4]\n");
  const std::string sums = group(sum + "return %s19\n");
  EXPECT_NE(sums.find("%s19 = kpt.pointwise([%s4, %x5, "), std::string::npos) << sums;
  EXPECT_NE(sums.find("%s4 = kpt.pointwise([%x0, "), std::string::npos) << sums;
}

TEST(Group, AtMostSixtyFourInstructions) {
  std::string body = "input %x : f32[4]\n%v0 = aten.exp(%x) : f32[4]\n";
  for (int i = 1; i < 100; ++i) body += cat("%v", i, " = aten.tanh(%v", i - 1, ") : f32[4]\n");
  const std::string out = group(body + "return %v99\n");
  EXPECT_NE(out.find("v63=tanh(v62);out v63"), std::string::npos) << out;
  EXPECT_NE(out.find("%v35 = kpt.pointwise([%x]"), std::string::npos) << out;
}

TEST(Group, SoftmaxByHandIsOneRowProgram) {
  EXPECT_EQ(
      group("sym s in [1, 8] hint 4\ninput %x : f32[2, s]\n%m = aten.amax(%x, dim=[-1], keepdim=true) : f32[2, 1]\n"
            "%d = aten.sub.Tensor(%x, %m) : f32[2, s]\n%e = aten.exp(%d) : f32[2, s]\n"
            "%t = aten.sum.dim_IntList(%e, dim=[1], keepdim=true, dtype=none) : f32[2, 1]\n"
            "%p = aten.div.Tensor(%e, %t) : f32[2, s]\nreturn %p\n"),
      "sym s in [1, 8] hint 4\ninput %x : f32[2, s]\n%p = kpt.row([%x], "
      "program=\"v0=row_max(i0);v1=sub(i0,v0);v2=exp(v1);"
      "v3=row_sum(v2);v4=div(v2,v3);out v4\") : f32[2, s]\nreturn %p\n");
}

TEST(Group, MeanOfSquaresEndsInARowValue) {
  EXPECT_EQ(group("input %x : f32[2, 8]\n%q = aten.mul.Tensor(%x, %x) : f32[2, 8]\n"
                  "%m = aten.mean.dim(%q, dim=[-1], keepdim=true, dtype=none) : f32[2, 1]\nreturn %m\n"),
            "input %x : f32[2, 8]\n%m = kpt.row([%x], program=\"v0=mul(i0,i0);v1=row_mean(v0);out v1\") : f32[2, "
            "1]\nreturn %m\n");
}

TEST(Group, RowValuesOfOtherOriginStayOutside) {
  // %n has one element a row, but no reduction of the group leads to it: it would be recomputed for each element.
  EXPECT_EQ(group("input %x : f32[2, 8]\ninput %r : f32[2, 1]\n%n = aten.exp(%r) : f32[2, 1]\n%a = aten.mul.Tensor(%x, "
                  "%n) : f32[2, 8]\n"
                  "%b = aten.tanh(%a) : f32[2, 8]\nreturn %b\n"),
            "input %x : f32[2, 8]\ninput %r : f32[2, 1]\n%n = aten.exp(%r) : f32[2, 1]\n"
            "%b = kpt.pointwise([%x, %n], program=\"v0=mul(i0,i1);v1=tanh(v0);out v1\") : f32[2, 8]\nreturn %b\n");
}

TEST(Group, ReductionsOverOtherAxesOrWithoutKeepdimStay) {
  expect_unchanged(
      "input %x : f32[2, 8]\n%q = aten.exp(%x) : f32[2, 8]\n"
      "%m = aten.mean.dim(%q, dim=[0], keepdim=true, dtype=none) : f32[1, 8]\nreturn %m\n");
  expect_unchanged(
      "input %x : f32[2, 8]\n%q = aten.exp(%x) : f32[2, 8]\n"
      "%m = aten.mean.dim(%q, dim=[-1], keepdim=false, dtype=none) : f32[2]\nreturn %m\n");
}

TEST(Group, SoftmaxStaysWhole) {
  expect_unchanged(
      "input %x : f32[2, 8]\n%p = aten.softmax.int(%x, dim=-1, dtype=none) : f32[2, 8]\n"
      "%y = aten.exp(%p) : f32[2, 8]\nreturn %y\n");
}

TEST(Group, WeightsOnlyNodesAreLeftToThePrologue) {
  expect_unchanged(
      "input %x : f32[4]\nweight %w \"w\" : f32[4]\n%e = aten.exp(%w) : f32[4]\n%n = aten.neg(%e) : f32[4]\n"
      "%y = aten.mul.Tensor(%x, %n) : f32[4]\nreturn %y\n");
}

TEST(Group, SymbolicNumbersStayOutside) {
  expect_unchanged(
      "sym s in [1, 8] hint 4\ninput %x : f32[s]\n%a = aten.mul.Tensor(%x, s) : f32[s]\n%b = aten.exp(%a) : "
      "f32[s]\nreturn %b\n");
}

TEST(Group, AKeyPutBackLeavesAllItsNodes) {
  PassContext context;
  context.skip.insert("pointwise@c");
  const std::string body =
      "input %x : f32[4]\n%a = aten.exp(%x) : f32[4]\n%b = aten.neg(%a) : f32[4]\n%c = aten.abs(%b) : f32[4]\nreturn "
      "%c\n";
  Graph graph = parse("kpt.graph 1\n" + body);
  group_pointwise(graph, context);
  EXPECT_EQ(print(graph).substr(12), body);
  ASSERT_EQ(context.rewrites.size(), 1u);
  EXPECT_FALSE(context.rewrites[0].applied);
  EXPECT_EQ(context.rewrites[0].why, "put back");
}

}  // namespace
}  // namespace kpt

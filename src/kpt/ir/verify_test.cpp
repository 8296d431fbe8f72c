// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kpt/ir/text.h"

namespace kpt {
namespace {

constexpr std::string_view kHead = R"(kpt.graph 1
sym b in [1, 8] hint 2
sym s in [2, 512] hint 16
input %x : f32[b, s, 8]
input %ids : i64[b, s]
input %m : bool[b, s]
input %q : f32[b, 12, s, 32]
input %kv : f32[b, 4, s, 32]
input %img : f32[b, 3, 32, 32]
input %at : i64[1]
input %v1 : f32[1, 8]
weight %w "w" : f32[4, 8]
weight %v "v" : f32[8]
weight %f "f" : f32[16, 3, 3, 3]
)";

// The verdict on one more line; "" for yes.
std::string verdict(std::string_view line) { return verify(parse(cat(kHead, line, "\nreturn %x\n"))).reason; }

void expect_no(std::string_view line, std::string_view reason) {
  const std::string got = verdict(line);
  EXPECT_NE(got.find(reason), std::string::npos) << line << "\n  gave: " << got;
}

TEST(Verify, MessageHoldsLineTextGotWantAndStack) {
  EXPECT_EQ(
      verdict("%h = aten.linear(%x, %w, none) : f32[b, s, 5]  @ \"enc.0\" \"model.py:95 forward < run.py:3 main\""),
      "line 15, %h = aten.linear(%x, %w, none) : f32[b, s, 5]: got output [b, s, 5], want [b, s, 4] "
      "(at model.py:95 forward < run.py:3 main)");
  EXPECT_EQ(verdict("%h = aten.linear(%x, %w, none) : f32[b, s, 5]  @ \"enc.0\""),
            "line 15, %h = aten.linear(%x, %w, none) : f32[b, s, 5]: got output [b, s, 5], want [b, s, 4] (in enc.0)");
}

TEST(Verify, GoodNodesPass) {
  for (const char* line : {
           "%h = aten.linear(%x, %w, none) : f32[b, s, 4]",
           "%h = kpt.linear(%x, %w, none, none, act=\"gelu\") : f32[b, s, 4]",
           "%h = aten.add.Tensor(%x, %v) : f32[b, s, 8]",
           "%h = aten.layer_norm(%x, %v, none, normalized_shape=[8], eps=1e-05, cudnn_enable=true) : f32[b, s, 8]",
           "%h, %sum = kpt.add_norm(%x, %x, %v, none, kind=\"rms\", eps=1e-06) : f32[b, s, 8], f32[b, s, 8]",
           "%h = kpt.attention(%q, %kv, %kv, %m, scale=0.5, mask_kind=\"key\", layout=\"bshd\") : f32[b, s, 12, 32]",
           "%h = kpt.rotary(%x, %x, %v) : f32[b, s, 8]",
           "%h = aten.embedding(%w, %ids, padding_idx=-1) : f32[b, s, 8]",
           "%h = kpt.write_(%w, %at, %v1, dim=0) : f32[4, 8]",
           "%h = aten.reshape(%x, shape=[b*s, 8]) : f32[b*s, 8]",
           "%h = aten.slice.Tensor(%x, dim=1, start=0, end=s, step=2) : f32[b, floordiv(s + 1, 2), 8]",
           "%h = aten.select.int(%x, dim=1, index=s - 1) : f32[b, 8]",
           "%h = aten.cat([%x, %x], dim=1) : f32[b, 2*s, 8]",
           "%h = aten.mean.dim(%x, dim=[-1], keepdim=true, dtype=none) : f32[b, s, 1]",
           "%h = aten.convolution(%img, %f, none, stride=[2, 2], padding=[1, 1], dilation=[1, 1], transposed=false, "
           "output_padding=[0, 0], groups=1) : f32[b, 16, 16, 16]",
           "%h = kpt.convolution(%img, %f, none, none, stride=[2, 1], padding=[1, 1], dilation=[1, 1], groups=1, "
           "layout=\"nhwc\") : f32[b, 16, 32, 16]",
           "%h = kpt.copy(%img) : f32[b, 3, 32, 32]",
           "%h = kpt.constant(value=[1, 2.5], dtype=f32) : f32[2]",
           "%h = aten.unknown.op(%x, none, [%x, 3]) : i8[1, 2, 3]",
           // As captured, before canonicalise.
           "%h = aten.reshape(%x, shape=[-1, 8]) : f32[b*s, 8]",
           "%h = aten.expand(%v, size=[b, -1], implicit=false) : f32[b, 8]",
           "%h = aten.slice.Tensor(%v, dim=0, start=-3, end=9223372036854775807, step=2) : f32[2]",
           "%h = aten.slice.Tensor(%v, dim=0, start=-20, end=9223372036854775807, step=1) : f32[8]",
           "%h = aten.select.int(%x, dim=-1, index=-1) : f32[b, s]",
           // Not provable: s may be b.
           "%h = aten.reshape(%m, shape=[s, b]) : bool[s, b]",
           "%h = aten.eq.Tensor(%ids, %m) : bool[s, b]",
       })
    EXPECT_EQ(verdict(line), "");
}

TEST(Verify, ShapeRulesSayNo) {
  expect_no("%h = aten.linear(%x, %f, none) : f32[b, s, 4]", "got rank 4 for argument 1, want 2");
  expect_no("%h = aten.linear(%q, %w, none) : f32[b, 12, s, 4]",
            "got 32 for the inner size of x against the weight's, want 8");
  expect_no("%h = aten.linear(none, %w, none) : f32[4]", "got no tensor as argument 0, want one");
  expect_no("%h = kpt.linear(%x, %w, none, %x, act=\"none\") : f32[b, s, 4]", "got residual [b, s, 8], want [b, s, 4]");
  expect_no("%h = kpt.write_(%w, %at, %w, dim=0) : f32[4, 8]", "got source [4, 8], want [1, 8]");
  expect_no("%h = kpt.write_(%w, %at, %v1, dim=0) : f32[5, 8]", "got output [5, 8], want [4, 8]");
  expect_no("%h = kpt.write_(%v1, %at, %v1, dim=0) : f32[1, 8]", "got %v1, want a weight");
  expect_no("%o = aten.relu(%w) : f32[4, 8]\n%h = kpt.write_(%w, %at, %v1, dim=0) : f32[4, 8]",
            "got %w, which other nodes read too");
  expect_no("%h = aten.mm(%w, %w) : f32[4, 8]", "got 8 for the inner size, want 4");
  expect_no("%h = aten.bmm(%w, %w) : f32[4, 8]", "got rank 2 for argument 0, want 3");
  expect_no("%h = aten.add.Tensor(%w, %img) : f32[b, 3, 32, 32]", "got [4, 8], which does not broadcast");
  expect_no("%h = aten.expand(%ids, size=[b, 1], implicit=false) : i64[b, 1]",
            "got size s on axis 1, want 1");  // s >= 2
  expect_no("%h = aten.add.Tensor(%v, 1) : f32[9]", "got [8], which does not broadcast to [9]: 8 against 9");
  expect_no("%h = aten.add.Tensor(%v, 1) : f32[1, 8]", "want rank 1");
  expect_no("%h = aten.add.Tensor(%v) : f32[8]", "got 1 operands, want 2");
  expect_no("%h = aten.gt.Tensor(%v, 1) : f32[8]", "got output of dtype f32, want bool");
  expect_no("%h = aten._to_copy(%v, dtype=f16) : f32[8]", "got output of dtype f32, want f16");
  expect_no("%h = aten.layer_norm(%x, none, none, normalized_shape=[4], eps=0.1) : f32[b, s, 8]",
            "got normalised axes [8], want [4]");
  expect_no("%h = aten.embedding(%w, %m, padding_idx=-1) : f32[b, s, 8]", "got indices of dtype bool");
  expect_no("%h = aten.reshape(%x, shape=[b, s, 9]) : f32[b, s, 9]", "got 8*b*s elements for an output of 9*b*s");
  expect_no("%h = aten.permute(%x, dims=[0, 0, 1]) : f32[b, b, s]", "got axis 0 twice in dims");
  expect_no("%h = aten.permute(%x, dims=[0, 1, 3]) : f32[b, s, 8]", "got axis 3 for rank 3");
  expect_no("%h = aten.expand(%v, size=[4], implicit=false) : f32[4]", "got size 8 on axis 0, want 1 or 4");
  expect_no("%h = aten.slice.Tensor(%v, dim=0, start=2, end=9, step=1) : f32[7]", "got output [7], want [6]");
  expect_no("%h = aten.slice.Tensor(%v, dim=0, start=-9, end=8, step=1) : f32[7]", "got output [7], want [8]");
  expect_no("%h = aten.slice.Tensor(%v, dim=0, start=0, end=8, step=3) : f32[2]", "got output [2], want [3]");
  expect_no("%h = aten.slice.Tensor(%v, dim=0, start=5, end=2, step=1) : f32[0]", "want 0 <= start <= end <= 8");
  expect_no("%h = aten.select.int(%v, dim=0, index=-9) : f32[]", "got index -9, want one in [-8, 8)");
  expect_no("%h = aten.select.int(%v, dim=0, index=8) : f32[]", "got index 8, want one in [-8, 8)");
  expect_no("%h = aten.cat([%x, %img], dim=0) : f32[b]", "got ranks 3 and 4");
  expect_no("%h = aten.softmax.int(%x, dim=3, dtype=none) : f32[b, s, 8]", "got axis 3 for rank 3");
  expect_no("%h = aten.sum.dim_IntList(%x, dim=[1], keepdim=false, dtype=none) : f32[b, 9]",
            "got output [b, 9], want [b, 8]");
  expect_no("%h = kpt.attention(%q, %x, %kv, scale=1.0) : f32[b, 12, s, 32]", "got rank 3 for argument 1, want 4");
  expect_no("%h = kpt.attention(%kv, %q, %q, scale=1.0) : f32[b, 4, s, 32]",
            "got 4 heads of q, want a multiple of the 12");
  expect_no("%h = kpt.attention(%q, %kv, %kv, scale=1.0, mask_kind=\"add\") : f32[b, 12, s, 32]",
            "got mask_kind add without a mask");
  expect_no("%h = kpt.rotary(%f, %f, %f) : f32[16, 3, 3, 3]", "got rows of 3, want an even size");
  expect_no("%h = kpt.rotary(%q, %kv, %x) : f32[b, 12, s, 32]", "which does not broadcast to [b, 12, s, 32]");
  expect_no("%h = kpt.rotary(%q, %q, %v) : f32[b, 12, s, 32]", "got 8 for the last axis of sin, want 32");
  expect_no("%h = kpt.rotary(%x, %v, %v) : bf16[b, s, 8]", "got output of dtype bf16, want f32");
  expect_no(
      "%h = aten.convolution(%img, %f, %v, stride=[1, 1], padding=[0, 0], dilation=[1, 1], groups=1) : f32[b, 16, 30, "
      "30]",
      "got bias [8], want [16]");
  expect_no(
      "%h = aten.convolution(%img, %f, none, stride=[0], padding=[0], dilation=[1], groups=1) : f32[b, 16, 30, 30]",
      "got stride 0");
  expect_no("%h = kpt.convolution(%img, %f, none, none, layout=\"nhwc\") : f32[b, 16, 30, 30]",
            "got output [b, 16, 30, 30], want [b, 30, 30, 16]");
  expect_no("%h = kpt.convolution(%img, %f, none, %img, layout=\"nhwc\") : f32[b, 30, 30, 16]",
            "got residual [b, 3, 32, 32], want [b, 30, 30, 16]");
  expect_no("%h = kpt.convolution(%img, %f, none, none, layout=\"chwn\") : f32[b, 16, 30, 30]",
            "got layout \"chwn\", want nchw or nhwc");
  expect_no("%h = kpt.copy(%img) : f16[b, 3, 32, 32]", "got output of dtype f16, want f32");
  expect_no("%h = kpt.constant(value=[1, 2], dtype=f32) : f32[3]", "got 2 numbers for f32[3]");
  expect_no("%h = aten.permute(%x, dims=\"abc\") : f32[b, s, 8]", "got a string for dims, want a list");
}

TEST(Verify, StructureSaysNo) {
  expect_no("%h = aten.neg(%x) : f32[b, t, 8]", "got symbol t, want one declared by a sym line");
  expect_no("%h = aten.f(%x, n=t + 1) : f32[b]", "n: got symbol t");
  expect_no("%h = aten.f(%x) : f32[-1]", "got size -1, want 0 or more");
  EXPECT_EQ(verify(parse("kpt.graph 1\nsym s in [3, 2] hint 3\nreturn\n")).reason,
            "got symbol s in [3, 2], which is empty");
  EXPECT_EQ(verify(parse("kpt.graph 1\nsym s in [1, 2] hint 3\nreturn\n")).reason,
            "got hint 3 of symbol s, want one in [1, 2]");
}

TEST(Verify, BrokenBooksAreSeen) {
  const std::string text =
      cat(kHead, "%h = aten.neg(%x) : f32[b, s, 8]\n%y = aten.neg(%h) : f32[b, s, 8]\nreturn %y\n");
  const auto reason = [&](void (*damage)(Graph&)) {
    Graph g = parse(text);
    EXPECT_EQ(verify(g).reason, "");
    damage(g);
    return verify(g).reason;
  };
  EXPECT_EQ(reason([](Graph& g) { g.find("h")->users.clear(); }),
            "%h: its list of users does not agree with the nodes that use it");
  EXPECT_NE(reason([](Graph& g) { g.find("y")->producer->inputs[0] = g.find("y"); }).find("not defined before"),
            std::string::npos);
  EXPECT_NE(reason([](Graph& g) { g.find("y")->producer->args[0] = In{3}; }).find("got input 3, want them in order: 0"),
            std::string::npos);
  EXPECT_NE(reason([](Graph& g) {
              g.find("y")->producer->args[0] = None{};
            }).find("got 1 inputs, of which the arguments name 0"),
            std::string::npos);
  EXPECT_NE(reason([](Graph& g) { g.find("y")->producer->inputs[0] = nullptr; }).find("got a null input"),
            std::string::npos);
  EXPECT_NE(reason([](Graph& g) { g.find("h")->name = "z"; }).find("another value by that name"), std::string::npos);
  EXPECT_NE(reason([](Graph& g) { g.find("h")->producer = g.find("y")->producer; }).find("got a producer"),
            std::string::npos);
  EXPECT_NE(reason([](Graph& g) { g.find("h")->producer->outputs.clear(); }).find("got no outputs"), std::string::npos);
  Graph other = parse(text);
  Graph g = parse(text);
  g.set_outputs({other.find("y")});
  EXPECT_EQ(verify(g).reason, "return: got a value that is not defined, want one of the graph");
}

TEST(Verify, OrThrowNamesThePass) {
  const Graph g = parse(cat(kHead, "%h = aten.neg(%x) : f32[b]\nreturn %h\n"));
  try {
    verify_or_throw(g, "cse");
    FAIL() << "want an Error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::internal);
    EXPECT_EQ(std::string(e.what()).rfind("[ir.verify] after cse: line 15, %h = aten.neg(%x)", 0), 0u) << e.what();
  }
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/text.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace kpt {
namespace {

constexpr std::string_view kSample = R"(kpt.graph 1
sym b in [1, 4096] hint 8
sym s in [1, inf] hint 128
input %ids : i64[b, s]
input %mask : bool[b, 1, 1, s]
weight %table "embeddings.word.weight" : f32[30522, 384]
weight %w "encoder.weight" : f32[384, 384]
%x = aten.embedding(%table, %ids, padding_idx=0, scale_grad_by_freq=false, sparse=false) : f32[b, s, 384]
%h = aten.linear(%x, %w, none) : f32[b, s, 384]  @ "encoder.layer.0" "modeling.py:95 forward < modeling.py:40 forward"
%0 = aten.reshape(%h, shape=[b, s, 12, 32]) : f32[b, s, 12, 32]  @ "encoder"
%y, %i = aten.max.dim(%h, dim=-1, keepdim=false) : f32[b, s], i64[b, s]  @ "" "a.py:1 \"f\""
%z = aten.cat([%y, %y], dim=1) : f32[b, 2*s]
%c = kpt.constant(value=[1.5, -0.0, 1e-12, inf, nan, 3], dtype=f32) : f32[6]
return %z, %i, %c
)";

std::string error_of(std::string_view text) {
  try {
    (void)parse(text);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_input);
    return e.what();
  }
  return "no error";
}

std::string body(std::string_view line) { return cat("kpt.graph 1\ninput %x : f32[2, 3]\n", line, "\nreturn %x\n"); }

TEST(Text, SampleComesBackByteForByte) {
  EXPECT_EQ(print(parse(kSample)), kSample);
  EXPECT_EQ(verify(parse(kSample)).reason, "");
}

TEST(Text, ParsedGraphHoldsWhatTheTextSays) {
  const Graph g = parse(kSample);
  EXPECT_EQ(g.size(), 6u);
  EXPECT_EQ(g.symbols[1].hi, INT64_MAX);
  const Node* linear = g.find("h")->producer;
  EXPECT_EQ(linear->line, 9);
  EXPECT_EQ(linear->loc.scope, "encoder.layer.0");
  EXPECT_EQ(linear->loc.stack, "modeling.py:95 forward < modeling.py:40 forward");
  EXPECT_EQ(linear->operand(0), g.find("x"));
  EXPECT_EQ(linear->operand(2), nullptr);
  EXPECT_EQ(linear->operand(9), nullptr);
  EXPECT_EQ(g.find("w")->fqn, "encoder.weight");
  EXPECT_EQ(g.find("y")->users.size(), 2u);  // twice by the cat
  EXPECT_EQ(g.find("i")->producer->loc.stack, "a.py:1 \"f\"");
  EXPECT_EQ(g.outputs().size(), 3u);
}

TEST(Text, BlanksCommentsAndWrittenDivisionsAreTaken) {
  const Graph g = parse(
      "// a comment\n\n  kpt.graph   1 // version\r\nsym s in [-inf,8] hint 4// four\ninput %x:f32[s//2, s % 3]// x\n"
      "%y=aten.neg( %x ):f32[(s) // 2,mod(s,3)]\nreturn %y // done\n\n");
  EXPECT_EQ(print(g),
            "kpt.graph 1\nsym s in [-inf, 8] hint 4\ninput %x : f32[floordiv(s, 2), mod(s, 3)]\n"
            "%y = aten.neg(%x) : f32[floordiv(s, 2), mod(s, 3)]\nreturn %y\n");
}

TEST(Text, DoublesReadBackToTheSameBitsAndNeverLookLikeIntegers) {
  for (double v : {0.0, -0.0, 1.0, -3.0, 1e5, 1e22, 1e23, 5e-324, 1.7976931348623157e308, 0.1, 1.0 / 3, 1e-5,
                   123456789.0, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
    const std::string text = print(Attr(v), {});
    const Graph g = parse(body(cat("%y = aten.f(%x, v=", text, ") : f32[2, 3]")));
    const Attr* back = find(g.find("y")->producer->kwargs, "v");
    ASSERT_TRUE(back && back->is<double>()) << text;
    EXPECT_EQ(std::bit_cast<uint64_t>(back->as<double>()), std::bit_cast<uint64_t>(v)) << text;
  }
  EXPECT_EQ(print(Attr(1.0), {}), "1.0");
  EXPECT_EQ(print(Attr(1e5), {}), "1e+05");
  EXPECT_EQ(print(Attr(std::nan("")), {}), "nan");
  EXPECT_EQ(print(Attr(-std::nan("")), {}), "-nan");
  EXPECT_EQ(print(Attr(1), {}), "1");
}

TEST(Text, StringsKeepEveryByte) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  for (const std::string& s : {all, std::string("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"),
                               std::string("\xED\xA0\x80\xC3"), std::string("a\0b", 3), std::string()}) {
    const std::string text = print(Attr(s), {});
    const Graph g = parse(body(cat("%y = aten.f(%x, v=", text, ") : f32[2, 3]")));
    EXPECT_EQ(get_string(g.find("y")->producer->kwargs, "v", "?"), s);
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
  EXPECT_EQ(print(Attr("caf\xC3\xA9\xFF\t\x01"), {}), "\"caf\xC3\xA9\\xff\\t\\x01\"");
}

TEST(Text, ErrorsSayLineColumnGotAndWant) {
  EXPECT_EQ(error_of(""), "[ir.parse] line 1, column 1: got the end of the text, want the first line 'kpt.graph 1'");
  EXPECT_EQ(error_of("kpt.graph 2\n"), "[ir.parse] line 1, column 10: got another version of the text form, want 1");
  EXPECT_EQ(error_of("kpt.graph 1\n"), "[ir.parse] line 2, column 1: got the end of the text, want a 'return' line");
  EXPECT_EQ(error_of(body("%y = aten.neg(%z) : f32[2, 3]")),
            "[ir.parse] line 3, column 15: got %z, which is not defined above");
  EXPECT_EQ(error_of(body("%x = aten.neg(%x) : f32[2, 3]")),
            "[ir.parse] line 3, column 1: got %x, which is defined already");
  EXPECT_EQ(error_of(body("%y = aten.neg(%x) f32[2, 3]")), "[ir.parse] line 3, column 19: got 'f32[2, 3]', want ':'");
  EXPECT_EQ(error_of(body("%y = aten.neg(%x) : f32[2, s +]")),
            "[ir.parse] line 3, column 28: [base.sym.parse] column 4: got the end, want a number, a symbol or '('");
  EXPECT_EQ(error_of(body("%y = neg(%x) : f32[2, 3]")),
            "[ir.parse] line 3, column 6: got 'neg', want an operator such as aten.add.Tensor");
  EXPECT_EQ(error_of(body("%y = aten.f(%x, a=\"b) : f32[2, 3]")),
            "[ir.parse] line 3, column 19: got a string without end, want '\"' on the same line");
  EXPECT_EQ(error_of(body("%y = aten.f(%x, a=1, a=2) : f32[2, 3]")),
            "[ir.parse] line 3, column 22: got argument a twice");
  EXPECT_EQ(error_of(body("%y, %y = aten.f(%x) : f32[2], f32[2]")), "[ir.parse] line 3, column 5: got %y twice");
}

TEST(Text, BoundsStopHostileText) {
  EXPECT_NE(error_of(body("%y = aten.f(" + std::string(100000, '[') + ") : f32[]")).find("got nesting above 64"),
            std::string::npos);
  EXPECT_NE(
      error_of(body("%y = aten.f(%x, a=" + std::string(1000, '(') + "s) : f32[]")).find("want nesting of at most 64"),
      std::string::npos);
  EXPECT_NE(error_of(body("%y = aten.f(%x) : f32[1,1,1,1,1,1,1,1,1]")).find("got rank above 8"), std::string::npos);
  EXPECT_NE(error_of(body("%y = aten.f(%x, a=" + std::string(100000, '1') + ") : f32[]")).find("want at most 65536"),
            std::string::npos);
  std::string square = "s";
  for (int i = 0; i < 12; ++i) square = "(" + square + " + t" + std::to_string(i) + ")*(" + square + ")";
  EXPECT_NE(error_of(body("%y = aten.f(%x, a=" + square.substr(0, 60000) + ") : f32[]")), "no error");
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/layout.h"

#include <gtest/gtest.h>

#include "kpt/ir/text.h"

namespace kpt {
namespace {

// The layout of the last value of a chain of views over a contiguous %x.
std::optional<Layout> layout_of(const std::string& body, std::string_view value) {
  static std::vector<Graph> keep;
  keep.push_back(
      parse(cat("kpt.graph 1\nsym b in [1, 64] hint 2\nsym s in [1, 512] hint 16\n", body, "return %", value, "\n")));
  const Graph& g = keep.back();
  std::map<const Value*, Layout> layouts;
  for (const Value* v : g.inputs()) layouts[v] = contiguous_layout(v->type.sizes);
  for (const Node* n : g.nodes()) {
    auto l = view_layout(*n, layouts.at(n->operand(0)), g.symbols);
    if (!l) return std::nullopt;
    layouts[n->out()] = *l;
  }
  return layouts.at(g.find(value));
}

std::string text(const std::optional<Layout>& l) {
  if (!l) return "copy";
  std::string out = l->offset.str() + ":";
  for (const Sym& s : l->strides) out += " " + s.str();
  return out;
}

const char* const kHeads =
    "input %x : f32[b, s, 384]\n%v = aten.reshape(%x, shape=[b, s, 12, 32]) : f32[b, s, 12, 32]\n"
    "%p = aten.permute(%v, dims=[0, 2, 1, 3]) : f32[b, 12, s, 32]\n";

TEST(Layout, SplitHeadsIsAView) {
  EXPECT_EQ(text(layout_of(kHeads, "p")), text(Layout{0, {Sym::parse("384*s"), 32, 384, 1}}));
}

TEST(Layout, MergingHeadsBackAfterTheSamePermuteIsAView) {
  EXPECT_EQ(text(layout_of(cat(kHeads,
                               "%q = aten.permute(%p, dims=[0, 2, 1, 3]) : f32[b, s, 12, 32]\n"
                               "%r = aten.reshape(%q, shape=[b, s, 384]) : f32[b, s, 384]\n"),
                           "r")),
            text(contiguous_layout({Sym::symbol("b"), Sym::symbol("s"), 384})));
}

TEST(Layout, ReshapeAcrossAPermutedAxisNeedsACopy) {
  EXPECT_EQ(text(layout_of(cat(kHeads, "%r = aten.reshape(%p, shape=[b, 12*s*32]) : f32[b, 12*s*32]\n"), "r")), "copy");
}

TEST(Layout, PositionsCountFromTheEndWhereTheSymbolsSaySo) {
  const auto offset = [](const std::string& start, const std::string& length) {
    return layout_of(cat("input %x : f32[s, 8]\n%k = aten.slice.Tensor(%x, dim=0, start=", start,
                         ", end=9223372036854775807, step=1) : f32[", length, ", 8]\n"),
                     "k")
        ->offset;
  };
  EXPECT_EQ(offset("-1*s", "s"), Sym(0));
  EXPECT_EQ(offset("s - 1", "1"), Sym::parse("8*s - 8"));
  for (int64_t s : {1, 2, 7, 16, 300, 512}) {
    const SymEnv env{{"b", 2}, {"s", s}};
    EXPECT_EQ(offset("-7", "min(s, 7)").eval(env), 8 * std::max<int64_t>(s - 7, 0));
    EXPECT_EQ(offset("-1*floordiv(s, 2)", "s").eval(env), s / 2 ? 8 * (s - s / 2) : 0);
    EXPECT_EQ(offset("s - 40", "min(s, 40)").eval(env), 8 * (s > 40 ? s - 40 : std::max<int64_t>(2 * s - 40, 0)));
    // Beyond the end nothing is taken, wherever it would begin: but the place is inside.
    const int64_t beyond = offset("300 - s", "max(s - 300, 0)").eval(env);
    EXPECT_GE(beyond, 0);
    EXPECT_LT(beyond, 8 * s);
  }
  EXPECT_EQ(layout_of("input %x : f32[s, 8]\n%k = aten.select.int(%x, dim=0, index=-1*s) : f32[8]\n", "k")->offset,
            Sym(0));
}

TEST(Layout, SliceOfAMergedLinearKeepsTheRowStride) {
  EXPECT_EQ(text(layout_of("input %x : f32[b, s, 1152]\n"
                           "%k = aten.slice.Tensor(%x, dim=2, start=384, end=768, step=1) : f32[b, s, 384]\n"
                           "%v = aten.reshape(%k, shape=[b, s, 12, 32]) : f32[b, s, 12, 32]\n",
                           "v")),
            text(Layout{384, {Sym::parse("1152*s"), 1152, 32, 1}}));
}

TEST(Layout, ExpandGivesStrideZero) {
  EXPECT_EQ(text(layout_of(
                "input %x : f32[1, s, 4]\n%e = aten.expand(%x, size=[b, s, 4], implicit=false) : f32[b, s, 4]\n", "e")),
            text(Layout{0, {0, 4, 1}}));
}

TEST(Layout, SelectMovesTheOffset) {
  EXPECT_EQ(
      text(layout_of("input %x : f32[b, s, 384]\n%c = aten.select.int(%x, dim=1, index=s - 1) : f32[b, 384]\n", "c")),
      text(Layout{Sym::parse("(s - 1)*384"), {Sym::parse("384*s"), 1}}));
}

TEST(Layout, ReshapeOfAStridedSliceSplitsOnlyWithinRuns) {
  EXPECT_EQ(
      text(layout_of("input %x : f32[b, 8]\n%h = aten.slice.Tensor(%x, dim=1, start=0, end=4, step=1) : f32[b, 4]\n"
                     "%r = aten.reshape(%h, shape=[b, 2, 2]) : f32[b, 2, 2]\n",
                     "r")),
      text(Layout{0, {8, 2, 1}}));
  EXPECT_EQ(
      text(layout_of("input %x : f32[b, 8]\n%h = aten.slice.Tensor(%x, dim=1, start=0, end=4, step=1) : f32[b, 4]\n"
                     "%r = aten.reshape(%h, shape=[4*b]) : f32[4*b]\n",
                     "r")),
      "copy");
}

}  // namespace
}  // namespace kpt

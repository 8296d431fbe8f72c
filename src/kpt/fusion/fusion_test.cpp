// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/fusion.h"

#include <gtest/gtest.h>

#include "kpt/fusion/pattern.h"
#include "kpt/ir/text.h"

namespace kpt {
namespace {

Verdict always(const Graph&, Match&) { return yes(); }

Fusion fusion(const std::string& name, const std::string& pattern, int order = 0,
              std::function<Verdict(const Graph&, Match&)> when = always) {
  Fusion f;
  f.name = name;
  f.order = order;
  f.pattern = pattern;
  f.when = std::move(when);
  return f;
}

std::string error_of(const std::string& pattern) {
  FusionRegistry registry;
  try {
    registry.add(fusion("bad", pattern));
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_input);
    return e.what();
  }
  return "no error";
}

// Runs one fusion over a graph of f32[4] values given by its statements.
std::string rewrite(const std::string& pattern, const std::string& body,
                    std::function<Verdict(const Graph&, Match&)> when = always, PassContext* context = nullptr) {
  FusionRegistry registry;
  registry.add(fusion("f", pattern, 0, std::move(when)));
  Graph graph = parse("kpt.graph 1\n" + body);
  PassContext own;
  run_fusions(graph, context ? *context : own, registry);
  verify_or_throw(graph, "f");
  return print(graph).substr(12);
}

TEST(PatternText, MalformedPatternsNameLineAndCause) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "got no '=>'"},
      {"%y = aten.relu(%x)", "got no '=>'"},
      {"=>\n%y = aten.relu(%x)", "got no statement before '=>'"},
      {"%y = aten.relu(%x)\n=>", "got no statement behind '=>'"},
      {"%y = aten.relu(%x)\n=>\n=>\n%y = aten.abs(%x)", "got a second '=>'"},
      {"%y = aten.relu(%x\n=>\n%y = aten.abs(%x)", "line 1, column 18: got the end of the line, want ','"},
      {"y = aten.relu(%x)\n=>\n%y = aten.abs(%x)", "line 1, column 1: got 'y', want '%'"},
      {"%y = relu(%x)\n=>\n%y = aten.abs(%x)", "got operator 'relu'"},
      {"%y = aten.relu(%x) junk\n=>\n%y = aten.abs(%x)", "got 'j' behind the statement"},
      {"%y = aten.relu(%x, a=wrong)\n=>\n%y = aten.abs(%x)", "got 'wrong', want %value"},
      {"%y = aten.relu(%x, a=1.2.3)\n=>\n%y = aten.abs(%x)", "got '1.2.3', want %value"},
      {"%y = aten.relu(%x, a=\"open)\n=>\n%y = aten.abs(%x)", "got no closing"},
      {"%y = aten.relu(a=1, %x)\n=>\n%y = aten.abs(%x)", "got a positional argument behind a named one"},
      {"%y = aten.relu(%x) : f32, f32\n=>\n%y = aten.abs(%x)", "got more types than values"},
      {"%y = aten.relu(%x) : float\n=>\n%y = aten.abs(%x)", "got 'float', want a dtype"},
      {"%y = aten.relu(%x, a=$b)\n=>\n%y = aten.abs(%x)", "line 1: got $b before '=>'"},
      {"%y = aten.relu(%x)\n=>\n%z = aten.abs(%x)", "does not define %y"},
      {"%y = aten.relu(%x)\n=>\n%y = aten.abs(%z)", "line 3: got %z, which nothing defines"},
      {"%h = aten.exp(%x)\n%y = aten.relu(%h)\n=>\n%y = aten.abs(%h)", "got %h, which the rewrite removes"},
      {"%y = aten.relu(%x)\n=>\n%x = aten.abs(%x)\n%y = aten.abs(%x)", "%x is an input of the pattern"},
      {"%h = aten.exp(%x)\n%y = aten.relu(%x)\n=>\n%y = aten.abs(%x)", "line 1: %h is not used by a later line"},
      {"%y = aten.relu(%h)\n%h = aten.exp(%y)\n=>\n%h = aten.abs(%y)", "%h is used before it is defined"},
      {"%h = aten.exp(%x)\n%h = aten.relu(%h)\n=>\n%h = aten.abs(%x)", "%h is defined twice"},
      {"? %y = aten.relu(%x)\n=>\n%y = aten.abs(%x)", "got '? ' on the last line"},
      {"? %h = aten.exp(1)\n%y = aten.relu(%h)\n=>\n%y = aten.abs(1)", "without a %value as first operand"},
      {"%h = aten.exp(%x)\n? %k = aten.add.Tensor(%h, %m)\n%y = aten.relu(%k)\n=>\n%y = aten.add.Tensor(%x, %m)",
       "got %m, which only a '? ' line binds: want %m?"},
      {"? %h = aten.exp(%x)\n%y = aten.relu(%h)\n=>\n%y, %h = aten.abs(%x)", "whose value is defined behind '=>' too"},
      {"%y = aten.relu([[[[[[[[[[[%x]]]]]]]]]]])\n=>\n%y = aten.abs(%x)", "got lists nested deeper"},
  };
  for (const auto& [pattern, message] : cases) {
    const std::string got = error_of(pattern);
    EXPECT_NE(got.find("[fusion.bad] line "), std::string::npos) << pattern << "\n" << got;
    EXPECT_NE(got.find(message), std::string::npos) << pattern << "\n" << got;
  }
}

TEST(Registry, OrderThenNameAndNoDoubles) {
  FusionRegistry registry;
  const std::string p = "%y = aten.relu(%x)\n=>\n%y = aten.abs(%x)\n";
  registry.add(fusion("b", p, 2));
  registry.add(fusion("c", p, 1));
  registry.add(fusion("a", p, 2));
  std::string names;
  for (const Fusion& f : registry.ordered()) names += f.name;
  EXPECT_EQ(names, "cab");
  EXPECT_THROW(registry.add(fusion("a", p)), Error);
  registry.remove("c");
  registry.remove("unknown");
  EXPECT_EQ(registry.ordered().size(), 2u);
}

TEST(Registry, AFusionNeedsAWhen) {
  FusionRegistry registry;
  EXPECT_THROW(registry.add(fusion("a", "%y = aten.relu(%x)\n=>\n%y = aten.abs(%x)\n", 0, nullptr)), Error);
}

TEST(Registry, ManifestHoldsThePatternsOnceAndLargerOnesFirst) {
  const std::string order =
      "gelu_forms silu_forms rms_norm rotary linear_view attention attention_gqa attention_layout swiglu linear_act "
      "linear_residual add_norm ";
  std::string names;  // new leaf folders may stand between these
  for (const Fusion& f : fusion_registry().ordered())
    if (order.find(f.name + " ") != std::string::npos) names += f.name + " ";
  EXPECT_EQ(names, order);
}

TEST(Matcher, CommutingOperandsBacktrack) {
  // The first order binds %a to the exp, and fails only two lines later.
  EXPECT_EQ(rewrite("%a = aten.exp(%x)\n%b = aten.exp(%z)\n%c = aten.abs(%b)\n%y = aten.add.Tensor(%a, %c)\n=>\n%y = "
                    "aten.sub.Tensor(%x, %z)\n",
                    "input %x : f32[4]\ninput %z : f32[4]\n%b = aten.exp(%z) : f32[4]\n%c = aten.abs(%b) : f32[4]\n"
                    "%a = aten.exp(%x) : f32[4]\n%y = aten.add.Tensor(%c, %a) : f32[4]\nreturn %y\n"),
            "input %x : f32[4]\ninput %z : f32[4]\n%y = aten.sub.Tensor(%x, %z) : f32[4]\nreturn %y\n");
}

TEST(Matcher, SubDoesNotCommute) {
  const std::string body = "input %x : f32[4]\n%y = aten.sub.Tensor(1, %x) : f32[4]\nreturn %y\n";
  EXPECT_EQ(rewrite("%y = aten.sub.Tensor(%x, 1)\n=>\n%y = aten.neg(%x)\n", body), body);
}

TEST(Matcher, TheSameNameIsTheSameValue) {
  const std::string pattern = "%y = aten.mul.Tensor(%x, %x)\n=>\n%y = aten.abs(%x)\n";
  const std::string other = "input %x : f32[4]\ninput %z : f32[4]\n%y = aten.mul.Tensor(%x, %z) : f32[4]\nreturn %y\n";
  EXPECT_EQ(rewrite(pattern, other), other);
  EXPECT_EQ(rewrite(pattern, "input %x : f32[4]\n%y = aten.mul.Tensor(%x, %x) : f32[4]\nreturn %y\n"),
            "input %x : f32[4]\n%y = aten.abs(%x) : f32[4]\nreturn %y\n");
}

TEST(Matcher, LiteralsByValueListsByLengthDtypesByName) {
  const std::string body =
      "input %x : f32[4]\ninput %z : f32[4]\n%c = aten.cat([%x, %z], dim=0) : f32[8]\n"
      "%y = aten.mul.Tensor(%c, 2.0) : f32[8]\nreturn %y\n";
  EXPECT_NE(rewrite("%c = aten.cat([%a, %b], dim=0)\n%y = aten.mul.Tensor(%c, 2)\n=>\n%y = aten.cat([%b, %a], dim=0)\n",
                    body),
            body);
  EXPECT_EQ(rewrite("%c = aten.cat([%a], dim=0)\n%y = aten.mul.Tensor(%c, 2)\n=>\n%y = aten.relu(%a)\n", body), body);
  EXPECT_EQ(rewrite("%y = aten.mul.Tensor(%c, 3)\n=>\n%y = aten.relu(%c)\n", body), body);
  EXPECT_EQ(rewrite("%y = aten.mul.Tensor(%c, 2) : bf16\n=>\n%y = aten.relu(%c)\n", body), body);
  EXPECT_NE(rewrite("%y = aten.mul.Tensor(%c, 2) : f32\n=>\n%y = aten.relu(%c)\n", body), body);
}

TEST(Matcher, LinesThatMayBeMissing) {
  const std::string pattern =
      "? %a = aten.exp(%x)\n? %b = aten.add.Tensor(%a, %m)\n%y = aten.relu(%b)\n=>\n%y = kpt.made(%x, %m?)\n";
  const auto run = [&](const std::string& body) {
    return rewrite(pattern, "input %x : f32[4]\ninput %z : f32[4]\n" + body + "return %y\n");
  };
  const auto want = [](const std::string& made) {
    return "input %x : f32[4]\ninput %z : f32[4]\n%y = kpt.made(" + made + ") : f32[4]\nreturn %y\n";
  };
  EXPECT_EQ(run("%a = aten.exp(%x) : f32[4]\n%b = aten.add.Tensor(%a, %z) : f32[4]\n%y = aten.relu(%b) : f32[4]\n"),
            want("%x, %z"));
  EXPECT_EQ(run("%a = aten.exp(%x) : f32[4]\n%y = aten.relu(%a) : f32[4]\n"), want("%x, none"));
  EXPECT_EQ(run("%b = aten.add.Tensor(%x, %z) : f32[4]\n%y = aten.relu(%b) : f32[4]\n"), want("%x, %z"));
  EXPECT_EQ(run("%y = aten.relu(%x) : f32[4]\n"), want("%x, none"));
}

TEST(Matcher, AnAttributeBoundTwiceMustBeEqual) {
  const std::string pattern = "%a = aten.mul.Tensor(%x, ?c)\n%y = aten.add.Tensor(%a, ?c)\n=>\n%y = aten.relu(%x)\n";
  const std::string body =
      "input %x : f32[4]\n%a = aten.mul.Tensor(%x, 2) : f32[4]\n%y = aten.add.Tensor(%a, 3) : f32[4]\nreturn %y\n";
  EXPECT_EQ(rewrite(pattern, body), body);
}

TEST(Rewriter, ReportsValuesSourceAndReason) {
  PassContext context;
  rewrite(
      "%a = aten.exp(%x)\n%y = aten.relu(%a)\n=>\n%n = aten.neg(%x)\n%y = aten.abs(%n)\n",
      "input %x : f32[4]\n%a = aten.exp(%x) : f32[4]\n%b = aten.relu(%a) : f32[4]  @ \"net.act\" \"m.py:3 f\"\n"
      "%c = aten.exp(%b) : f32[4]\n%d = aten.relu(%c) : f32[4]\nreturn %d, %c\n",
      [](const Graph&, Match& m) {
        m.types["n"] = m.root()->type;
        return yes();
      },
      &context);
  ASSERT_EQ(context.rewrites.size(), 2u);
  const Rewrite &done = context.rewrites[0], &left = context.rewrites[1];
  EXPECT_EQ(done.key, "f@b");
  EXPECT_EQ(done.where, "net.act");
  EXPECT_EQ(done.values, (std::vector<std::string>{"n_b", "b"}));
  EXPECT_FALSE(left.applied);
  EXPECT_EQ(left.key, "f@d");
  EXPECT_EQ(left.why, "%c is an output of the graph");
}

TEST(Rewriter, ASecondReaderBeforeTheInputsBlocks) {
  // %s may be recomputed only behind %w, but %early reads it before.
  PassContext context;
  const std::string body =
      "input %x : f32[4]\ninput %v : f32[4]\n%s = aten.exp(%x) : f32[4]\n%early = aten.abs(%s) : f32[4]\n"
      "%w = aten.neg(%v) : f32[4]\n%y = aten.mul.Tensor(%s, %w) : f32[4]\nreturn %y, %early\n";
  EXPECT_EQ(rewrite("%s = aten.exp(%x)\n%y = aten.mul.Tensor(%s, %w)\n=>\n%y, %s = kpt.pair(%x, %w)\n", body, always,
                    &context),
            body);
  ASSERT_EQ(context.rewrites.size(), 1u);
  EXPECT_EQ(context.rewrites[0].why, "%w is computed behind %early, which uses a value that this replaces");
}

TEST(Rewriter, AMissingTypeOrAttributeIsAFaultOfTheFusion) {
  const std::string body = "input %x : f32[4]\n%y = aten.relu(%x) : f32[4]\nreturn %y\n";
  EXPECT_THROW(rewrite("%y = aten.relu(%x)\n=>\n%n = aten.neg(%x)\n%y = aten.abs(%n)\n", body), Error);
  EXPECT_THROW(rewrite("%y = aten.relu(%x)\n=>\n%y = aten.elu(%x, alpha=$alpha)\n", body), Error);
}

TEST(Rewriter, FusionsThatUndoEachOtherAreStopped) {
  FusionRegistry registry;
  registry.add(fusion("there", "%y = aten.relu(%x)\n=>\n%y = aten.abs(%x)\n"));
  registry.add(fusion("back", "%y = aten.abs(%x)\n=>\n%y = aten.relu(%x)\n"));
  Graph graph = parse("kpt.graph 1\ninput %x : f32[4]\n%y = aten.relu(%x) : f32[4]\nreturn %y\n");
  PassContext context;
  EXPECT_THROW(run_fusions(graph, context, registry), Error);
}

TEST(Rewriter, DisabledFusionsDoNothing) {
  const std::string body = "input %x : f32[4]\n%y = aten.relu(%x) : f32[4]\nreturn %y\n";
  PassContext context;
  context.disabled.insert("f");
  EXPECT_EQ(rewrite("%y = aten.relu(%x)\n=>\n%y = aten.abs(%x)\n", body, always, &context), body);
  EXPECT_TRUE(context.rewrites.empty());
}

}  // namespace
}  // namespace kpt

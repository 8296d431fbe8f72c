// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/graph.h"

#include <gtest/gtest.h>

#include "kpt/ir/text.h"

namespace kpt {
namespace {

constexpr std::string_view kText = R"(kpt.graph 1
sym s in [1, 512] hint 128
input %x : f32[s, 4]
weight %w "w" : f32[4, 4]
weight %u "u" : f32[4]
%a = aten.mm(%x, %w) : f32[s, 4]  @ "m" "f.py:1 f"
%b = aten.add.Tensor(%a, %a) : f32[s, 4]
%c = aten.relu(%b) : f32[s, 4]
return %c, %b
)";

TEST(Graph, CloneIsEqualAndIndependent) {
  Graph g = parse(kText);
  Graph copy = g.clone();
  EXPECT_EQ(print(copy), kText);
  EXPECT_EQ(verify(copy).reason, "");
  EXPECT_EQ(copy.find("b")->producer->line, 7);
  EXPECT_NE(copy.find("a"), g.find("a"));
  copy.replace_uses(copy.find("c"), copy.find("a"));
  copy.erase(copy.find("c")->producer);
  EXPECT_EQ(print(g), kText);
  EXPECT_EQ(verify(g).reason, "");
}

TEST(Graph, CloneGivesLaterNodesTheSameNames) {
  Graph g = parse(kText);
  const auto grow = [](Graph& graph) {
    for (const char* name : {"", "a", "a", ""}) {
      NodeSpec spec{.op = "aten.neg"};
      spec.names = {name};
      graph.add_node(spec.tensor(graph.find("x")).type(DType::f32, {Sym::symbol("s"), 4}));
    }
  };
  grow(g);
  g.erase(g.find("a_2")->producer);  // its name is free, but spent
  Graph copy = g.clone();
  grow(g);
  grow(copy);
  EXPECT_EQ(print(copy), print(g));
  EXPECT_EQ(g.find("a_2"), nullptr);
  EXPECT_NE(g.find("a_4"), nullptr);
}

TEST(Graph, MoveKeepsEverything) {
  Graph g = parse(kText);
  Graph moved = std::move(g);
  EXPECT_EQ(print(moved), kText);
  moved.erase(moved.add_node(NodeSpec{.op = "aten.neg"}.tensor(moved.find("x")).type(DType::f32, {4})));
  EXPECT_EQ(print(moved), kText);
}

TEST(Graph, ReplaceUsesMovesEveryUse) {
  Graph g = parse(kText);
  g.replace_uses(g.find("b"), g.find("a"));
  EXPECT_EQ(g.outputs()[1], g.find("a"));
  EXPECT_EQ(g.use_count(g.find("a")), 4u);  // twice by %b itself, by %c, and the graph
  EXPECT_EQ(g.use_count(g.find("b")), 0u);
  EXPECT_EQ(verify(g).reason, "");
  g.erase(g.find("b")->producer);
  EXPECT_EQ(g.find("b"), nullptr);
  EXPECT_EQ(g.find("c")->producer->operand(0), g.find("a"));
}

TEST(Graph, ReplaceUsesInTouchesOneUser) {
  Graph g = parse(kText);
  g.replace_uses_in(g.find("b")->producer, g.find("a"), g.find("x"));
  EXPECT_EQ(print(*g.find("b")->producer), "%b = aten.add.Tensor(%x, %x) : f32[s, 4]");
  EXPECT_TRUE(g.find("a")->users.empty());
  EXPECT_EQ(verify(g).reason, "");
}

TEST(Graph, InsertsAndMovesWithinTheOrder) {
  Graph g = parse(kText);
  Node* b = g.find("b")->producer;
  Node* n = g.add_node(NodeSpec{.op = "aten.neg"}.tensor(g.find("a")).type(DType::f32, {Sym::symbol("s"), 4}), b);
  EXPECT_TRUE(g.precedes(n, b));
  EXPECT_FALSE(g.precedes(b, n));
  EXPECT_FALSE(g.precedes(b, b));
  g.move_before(n, nullptr);
  EXPECT_TRUE(g.precedes(g.find("c")->producer, n));
  g.move_before(n, g.find("a")->producer);
  EXPECT_NE(verify(g).reason.find("got %a, which is not defined before this line"), std::string::npos);
  EXPECT_EQ(print(g.clone()), print(g));  // clone does not ask for a valid graph
}

TEST(Graph, NamesAreMadeUnique) {
  Graph g = parse(kText);
  const auto add = [&](std::string name) {
    NodeSpec spec{.op = "aten.neg"};
    spec.names = {std::move(name)};
    return g.add_node(spec.tensor(g.find("x")).type(DType::f32, {Sym::symbol("s"), 4}))->out();
  };
  EXPECT_EQ(add("a")->name, "a_1");
  EXPECT_EQ(add("a")->name, "a_2");
  EXPECT_EQ(add("")->name, "0");
  EXPECT_EQ(add("0")->name, "1");
  EXPECT_THROW(add("a b"), Error);
  EXPECT_THROW(g.rename(g.find("a_1"), "a_2"), Error);
  g.rename(g.find("a_1"), "z");
  EXPECT_EQ(g.find("a_1"), nullptr);
}

TEST(Graph, TakeNameSwapsInTheRewrittenValue) {
  Graph g = parse(kText);
  Value *b = g.find("b"), *c = g.find("c");
  g.take_name(b, c);
  EXPECT_EQ(b->name, "c");
  EXPECT_EQ(g.find("c"), b);
  EXPECT_EQ(g.find(c->name), c);
  EXPECT_EQ(verify(g).reason, "");
}

TEST(Graph, EraseRefusesWhatIsUsed) {
  Graph g = parse(kText);
  EXPECT_THROW(g.erase(g.find("a")->producer), Error);
  EXPECT_THROW(g.erase(g.find("c")->producer), Error);
  EXPECT_EQ(print(g), kText);
}

TEST(Graph, EraseDeadIsTransitiveAndCounts) {
  Graph g = parse(kText);
  EXPECT_EQ(erase_dead(g), 0u);
  g.set_outputs({g.find("x")});
  EXPECT_EQ(erase_dead(g), 3u);
  EXPECT_EQ(g.size(), 0u);
  EXPECT_TRUE(g.find("x")->users.empty());
  EXPECT_EQ(g.drop_unused_weights(), (std::vector<std::string>{"w", "u"}));
  EXPECT_EQ(print(g), "kpt.graph 1\nsym s in [1, 512] hint 128\ninput %x : f32[s, 4]\nreturn %x\n");
}

TEST(Graph, DropUnusedWeightsKeepsUsedOnes) {
  Graph g = parse(kText);
  EXPECT_EQ(g.drop_unused_weights(), std::vector<std::string>{"u"});
  EXPECT_NE(g.find("w"), nullptr);
  EXPECT_EQ(g.find("u"), nullptr);
}

TEST(Graph, AddNodeRefusesArgumentsWithoutInput) {
  Graph g = parse(kText);
  NodeSpec spec{.op = "aten.neg"};
  spec.arg(In{0}).type(DType::f32, {4});
  EXPECT_THROW(g.add_node(spec), Error);
  Graph other = parse(kText);
  EXPECT_THROW(g.add_node(NodeSpec{.op = "aten.neg"}.tensor(other.find("x")).type(DType::f32, {4})), Error);
}

}  // namespace
}  // namespace kpt

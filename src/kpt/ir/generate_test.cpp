// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/generate.h"

#include <gtest/gtest.h>

#include <set>

#include "kpt/ir/ops.h"
#include "kpt/ir/text.h"

namespace kpt {
namespace {

TEST(Generate, ThousandsOfGraphsVerifyAndComeBackByteForByte) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    GenerateOptions options;
    options.nodes = 1 + static_cast<int>(seed % 60);
    options.symbolic = seed % 5 != 0;
    const Graph g = generate_graph(seed, options);
    const std::string text = print(g);
    ASSERT_EQ(verify(g).reason, "") << text;
    const Graph back = parse(text);
    ASSERT_EQ(verify(back).reason, "") << text;
    ASSERT_EQ(print(back), text);
    ASSERT_EQ(print(g.clone()), text);
  }
}

TEST(Generate, SameSeedSameGraphOtherSeedOtherGraph) {
  EXPECT_EQ(print(generate_graph(7)), print(generate_graph(7)));
  EXPECT_NE(print(generate_graph(7)), print(generate_graph(8)));
}

TEST(Generate, CoversItsOperatorsAndOnlyCanonicalOnes) {
  std::set<std::string> seen;
  size_t many_outputs = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Graph g = generate_graph(seed);
    EXPECT_GE(g.size(), 24u);
    many_outputs += g.outputs().size() > 1;
    for (const Node* n : g.nodes()) {
      EXPECT_NE(op_info(n->op), nullptr) << n->op;
      seen.insert(n->op);
    }
  }
  EXPECT_GT(many_outputs, 100u);
  EXPECT_EQ(seen.size(), 54u);  // every operator the generator knows
}

TEST(Generate, OptionsSwitchFamiliesOff) {
  GenerateOptions options;
  options.views = options.reductions = options.norms = options.matmuls = options.symbolic = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Graph g = generate_graph(seed, options);
    EXPECT_TRUE(g.symbols.empty());
    for (const Node* n : g.nodes()) EXPECT_TRUE(is_pointwise(n->op) || n->op == "kpt.constant") << n->op;
  }
}

}  // namespace
}  // namespace kpt

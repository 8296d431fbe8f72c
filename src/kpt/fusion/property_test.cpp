// SPDX-License-Identifier: Apache-2.0
// Fusions and grouping over thousands of generated graphs: what they leave verifies, and a second run finds nothing.
#include <gtest/gtest.h>

#include "kpt/fusion/fusion.h"
#include "kpt/ir/generate.h"
#include "kpt/ir/text.h"

namespace kpt {
namespace {

struct Totals {
  size_t fused = 0, grouped = 0, before = 0, after = 0;
};

void fuse_and_group(const Graph& source, Totals& totals) {
  const std::string text = print(source);
  Graph graph = source.clone();
  const std::vector<Value*> outputs = graph.outputs();
  PassContext context;
  run_fusions(graph, context, fusion_registry());
  ASSERT_EQ(verify(graph).reason, "") << text << "\nbecame\n" << print(graph);
  totals.fused += context.rewrites.size();
  group_pointwise(graph, context);
  ASSERT_EQ(verify(graph).reason, "") << text << "\nbecame\n" << print(graph);
  ASSERT_EQ(print(parse(print(graph))), print(graph));

  // The interface is as it was: types and order of the outputs.
  ASSERT_EQ(graph.outputs().size(), source.outputs().size());
  for (size_t i = 0; i < graph.outputs().size(); ++i)
    ASSERT_EQ(graph.outputs()[i]->type, source.outputs()[i]->type) << text;

  const std::string once = print(graph);
  PassContext again;
  group_pointwise(graph, again);
  ASSERT_EQ(print(graph), once);
  totals.grouped += context.rewrites.size();
  totals.before += source.size();
  totals.after += graph.size();
}

TEST(Property, GeneratedGraphsVerifyAndShrink) {
  Totals totals;
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    GenerateOptions options;
    options.nodes = 2 + static_cast<int>(seed % 70);
    options.symbolic = seed % 4 != 0;
    options.views = seed % 3 != 0;
    fuse_and_group(generate_graph(seed, options), totals);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(totals.grouped, 3000u);
  EXPECT_LT(totals.after, totals.before);
}

// Pointwise and row operators alone: dense groups, many outputs, many shared values.
TEST(Property, DensePointwiseGraphsVerifyAndShrink) {
  Totals totals;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    GenerateOptions options;
    options.nodes = 90;
    options.views = options.matmuls = false;
    options.norms = seed % 2 == 0;
    fuse_and_group(generate_graph(seed, options), totals);
    if (HasFatalFailure()) return;
  }
  EXPECT_LT(totals.after * 10, totals.before * 9);
}

}  // namespace
}  // namespace kpt

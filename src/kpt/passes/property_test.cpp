// SPDX-License-Identifier: Apache-2.0
// All passes over generated graphs: the result verifies after each pass, keeps inputs and output types, and running all
// of them again changes nothing.
#include <gtest/gtest.h>

#include <algorithm>

#include "kpt/ir/generate.h"
#include "kpt/ir/text.h"
#include "kpt/passes/pass.h"

namespace kpt {
namespace {

TEST(Passes, GeneratedGraphsStayValidAndSettle) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    GenerateOptions options;
    options.nodes = 8 + static_cast<int>(seed % 40);
    options.symbolic = seed % 3 != 0;
    Graph graph = generate_graph(seed, options);
    std::vector<TensorType> types;
    for (const Value* v : graph.outputs()) types.push_back(v->type);
    const size_t inputs = graph.inputs().size();
    PassContext context;
    context.device = seed % 2 ? "cuda" : "cpu";
    ASSERT_NO_THROW(run_passes(graph, context, pass_registry().ordered())) << "seed " << seed;
    ASSERT_EQ(graph.inputs().size(), inputs) << "seed " << seed;
    ASSERT_EQ(graph.outputs().size(), types.size()) << "seed " << seed;
    for (size_t i = 0; i < types.size(); ++i) ASSERT_EQ(graph.outputs()[i]->type, types[i]) << "seed " << seed;
    const std::string once = print(graph);
    PassContext again;
    again.device = context.device;
    run_passes(graph, again, pass_registry().ordered());
    ASSERT_EQ(print(graph), once) << "seed " << seed;
  }
}

// What each needs of those before it; a pass that is new may stand anywhere between them.
TEST(Passes, AreOrderedByTheirNumber) {
  const std::vector<std::string> order = {
      "canonicalise", "fold_constants", "cse",           "useless_casts", "recognise_masks",
      "fold_conv_bn", "patches",        "channels_last", "merge_linears", "dce"};
  std::vector<std::string> names;
  for (const Pass& pass : pass_registry().ordered())
    if (std::find(order.begin(), order.end(), pass.name) != order.end()) names.push_back(pass.name);
  EXPECT_EQ(names, order);
}

TEST(Passes, RegistryRefusesASecondPassOfOneName) {
  PassRegistry registry;
  registry.add({"a", 1, "", {}});
  EXPECT_THROW(registry.add({"a", 2, "", {}}), Error);
  EXPECT_EQ(registry.find("b"), nullptr);
}

TEST(Passes, DisabledPassesDoNotRunAndDumpSeesOnlyChanges) {
  const std::string text =
      "kpt.graph 1\ninput %x : f32[4]\n%a = aten.relu(%x) : f32[4]\n%y = aten.relu(%x) : f32[4]\nreturn %y\n";
  Graph graph = parse(text);
  PassContext context;
  context.disabled = {"canonicalise", "fold_constants", "recognise_masks", "cse", "useless_casts"};
  std::vector<std::string> dumped;
  const auto timings = run_passes(graph, context, pass_registry().ordered(),
                                  [&](std::string_view pass, const std::string&) { dumped.emplace_back(pass); });
  EXPECT_EQ(dumped, std::vector<std::string>{"dce"});
  ASSERT_EQ(timings.size(), pass_registry().ordered().size() - context.disabled.size());
  EXPECT_EQ(timings.back().nodes_before, 2u);
  EXPECT_EQ(timings.back().nodes_after, 1u);
}

TEST(Passes, ABrokenPassIsNamed) {
  Graph graph = parse("kpt.graph 1\ninput %x : f32[4]\n%y = aten.relu(%x) : f32[4]\nreturn %y\n");
  PassContext context;
  const Pass breaks{"breaks", 1, "", [](Graph& g, PassContext&) { g.outputs()[0]->type.sizes[0] = 5; }};
  try {
    run_passes(graph, context, {breaks});
    FAIL() << "a wrong graph passed";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::internal);
    EXPECT_NE(std::string(e.what()).find("breaks"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/passes/rewriter.h"

namespace kpt {
namespace {

void dce(Graph& graph, PassContext& context) {
  const int nodes = sweep_dead(graph);
  const size_t weights = graph.drop_unused_weights().size();
  if (!nodes && !weights) return;
  context.applied(
      {"dce@graph", "dce", cat("dce: ", nodes, " nodes, ", weights, " weights"), "", "nobody reads them", true, {}});
}

}  // namespace

void register_dce(PassRegistry& registry) {
  registry.add({"dce", 90, "Drops nodes and weights that nobody reads.", dce});
}

}  // namespace kpt

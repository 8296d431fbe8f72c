// SPDX-License-Identifier: Apache-2.0
#include "kpt/passes/pass.h"

#include <algorithm>
#include <chrono>

#include "kpt/ir/text.h"

namespace kpt {

void register_all_passes(PassRegistry& registry);  // generated manifest

void PassRegistry::add(Pass pass) {
  KPT_CHECK(!find(pass.name), "passes.registry", "got a second pass named ", pass.name, ", want one, try another name");
  auto after = std::upper_bound(passes_.begin(), passes_.end(), pass, [](const Pass& a, const Pass& b) {
    return a.order != b.order ? a.order < b.order : a.name < b.name;
  });
  passes_.insert(after, std::move(pass));
}

const Pass* PassRegistry::find(std::string_view name) const {
  for (const Pass& pass : passes_)
    if (pass.name == name) return &pass;
  return nullptr;
}

const PassRegistry& pass_registry() {
  static const PassRegistry registry = [] {
    PassRegistry r;
    register_all_passes(r);
    return r;
  }();
  return registry;
}

std::vector<PassTiming> run_passes(Graph& graph, PassContext& context, const std::vector<Pass>& passes,
                                   const std::function<void(std::string_view, const std::string&)>& dump) {
  std::vector<PassTiming> timings;
  std::string text = dump ? print(graph) : "";
  for (const Pass& pass : passes) {
    if (context.disabled.count(pass.name)) continue;
    PassTiming timing{pass.name, 0, graph.size(), 0};
    const auto start = std::chrono::steady_clock::now();
    pass.run(graph, context);
    timing.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    timing.nodes_after = graph.size();
    verify_or_throw(graph, pass.name);
    if (dump) {
      std::string now = print(graph);
      if (now != text) dump(pass.name, now);
      text = std::move(now);
    }
    timings.push_back(std::move(timing));
  }
  return timings;
}

}  // namespace kpt

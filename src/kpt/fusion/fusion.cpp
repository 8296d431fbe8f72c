// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/fusion.h"

#include <algorithm>
#include <set>

#include "kpt/fusion/pattern.h"

namespace kpt {

void register_all_fusions(FusionRegistry& registry);  // generated: cmake/room.cmake

void FusionRegistry::add(Fusion fusion) {
  fusion.parsed = std::make_shared<const Pattern>(parse_pattern(fusion.pattern, fusion.name));
  KPT_CHECK(fusion.when, cat("fusion.", fusion.name), "got no `when`, want a condition; `yes()` if there is none");
  const std::lock_guard lock(mutex_);
  for (const Fusion& f : fusions_)
    KPT_CHECK(f.name != fusion.name, "fusion.registry", "got a second fusion '", fusion.name, "', want another name");
  const auto behind = [](const Fusion& a, const Fusion& b) {
    return std::tie(a.order, a.name) < std::tie(b.order, b.name);
  };
  fusions_.insert(std::upper_bound(fusions_.begin(), fusions_.end(), fusion, behind), std::move(fusion));
}

void FusionRegistry::remove(std::string_view name) {
  const std::lock_guard lock(mutex_);
  std::erase_if(fusions_, [&](const Fusion& f) { return f.name == name; });
}

std::vector<Fusion> FusionRegistry::ordered() const {
  const std::lock_guard lock(mutex_);
  return fusions_;
}

FusionRegistry& fusion_registry() {
  static FusionRegistry& registry = []() -> FusionRegistry& {
    static FusionRegistry r;
    register_all_fusions(r);
    return r;
  }();
  return registry;
}

namespace {

class Run {
 public:
  Run(Graph& graph, PassContext& context) : graph_(graph), context_(context), limit_(4 * graph.size() + 64) {}

  // One walk from the last node to the first. True if the graph changed.
  bool sweep(const Fusion& fusion) {
    bool changed = false;
    std::vector<Node*> nodes = graph_.nodes();
    for (size_t behind = 0; behind < nodes.size();) {
      if (!rewrite_at(fusion, nodes[nodes.size() - 1 - behind])) {
        ++behind;
        continue;
      }
      changed = true;
      KPT_ASSERT(++applied_ <= limit_, cat("fusion.", fusion.name), "got ", applied_,
                 " rewrites and no end: fusions undo each other");
      nodes = graph_.nodes();  // what stands behind the root is as it was
    }
    return changed;
  }

  // Reasons are reported once, for the values that stayed.
  void report_declined() {
    for (Rewrite& r : declined_) {
      const bool known = std::any_of(context_.rewrites.begin(), context_.rewrites.end(),
                                     [&](const Rewrite& o) { return o.key == r.key && (o.applied || o.why == r.why); });
      if (!known) context_.declined(std::move(r));
    }
  }

 private:
  bool rewrite_at(const Fusion& fusion, Node* root) {
    const std::string key = cat(fusion.name, "@", root->out()->name);
    const Rewrite about{key, "fusion", fusion.name, root->loc.scope, fusion.summary, true, {}};
    std::string reason;
    const auto refuse = [&](const std::string& why) {
      if (reason.empty()) reason = why;
      return false;
    };
    for (const Alternative& alternative : fusion.parsed->alternatives) {
      const auto accept = [&](Match& m) {
        if (!context_.allowed(key)) return refuse("put back");
        m.device = context_.device;
        if (const Verdict v = fusion.when(graph_, m); !v) return refuse(v.reason);
        Rewrite done = about;
        if (const Verdict v = apply_rewrite(graph_, alternative, m, fusion.name, done.values); !v)
          return refuse(v.reason);
        context_.applied(std::move(done));
        return true;
      };
      if (match_at(alternative, root, accept)) return true;
    }
    if (!reason.empty()) remember(about, reason);
    return false;
  }

  void remember(Rewrite r, const std::string& reason) {
    r.why = reason;
    const auto it = std::find_if(declined_.begin(), declined_.end(), [&](const Rewrite& o) { return o.key == r.key; });
    if (it == declined_.end()) {
      declined_.push_back(std::move(r));
    } else {
      *it = std::move(r);
    }
  }

  Graph& graph_;
  PassContext& context_;
  std::vector<Rewrite> declined_;
  size_t applied_ = 0, limit_;
};

}  // namespace

void run_fusions(Graph& graph, PassContext& context, const FusionRegistry& registry) {
  const std::vector<Fusion> fusions = registry.ordered();
  Run run(graph, context);
  for (bool changed = true; changed;) {
    changed = false;
    for (const Fusion& fusion : fusions)
      if (!context.disabled.count(fusion.name)) changed |= run.sweep(fusion);
  }
  run.report_declined();
}

}  // namespace kpt

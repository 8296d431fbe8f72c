// SPDX-License-Identifier: Apache-2.0
// The processor itself: every kernel registered for device "cpu", in the registry's order of preference.
#include "kpt/backends/backend.h"

namespace kpt {

namespace {

bool is_fallback(const Kernel& kernel) { return kernel.provider == "aten" || kernel.provider == "reference"; }

class CpuBackend final : public Backend {
 public:
  std::string_view device() const override { return "cpu"; }
  Verdict available() const override { return yes(); }

  std::vector<Candidate> candidates(const Node& node, const Problem& sample,
                                    const SelectOptions& options) const override {
    std::vector<Candidate> out;
    for (auto& kernel : kernel_registry().find(node.op, "cpu")) {
      if (!options.providers.empty() && !options.providers.count(kernel->provider)) continue;
      Verdict verdict = judge(*kernel, node, sample, options);
      out.push_back({std::move(kernel), std::move(verdict)});
    }
    return out;
  }

 private:
  static Verdict judge(const Kernel& kernel, const Node& node, const Problem& sample, const SelectOptions& options) {
    if (!options.allow_fallback && is_fallback(kernel)) return no("fallbacks are not allowed (strict mode)");
    for (const Value* out : node.outputs)
      if (options.ban.count(cat(kernel.name, "@", out->name))) return no("put back: validation found it wrong here");
    return kernel.supports(sample);
  }
};

}  // namespace

void register_cpu(BackendRegistry& registry) { registry.add(std::make_unique<CpuBackend>()); }

}  // namespace kpt

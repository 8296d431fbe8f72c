// SPDX-License-Identifier: Apache-2.0
// The processor itself: every kernel registered for device "cpu", in the registry's order of preference.
#include "kpt/backends/backend.h"

namespace kpt {

namespace {

class CpuBackend final : public Backend {
 public:
  std::string_view device() const override { return "cpu"; }
  Verdict available() const override { return yes(); }
  std::vector<Candidate> candidates(const Node& node, const Problem& sample,
                                    const SelectOptions& options) const override {
    return registry_candidates("cpu", node, sample, options);
  }
};

}  // namespace

void register_cpu(BackendRegistry& registry) { registry.add(std::make_unique<CpuBackend>()); }

}  // namespace kpt

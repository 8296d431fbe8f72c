// SPDX-License-Identifier: Apache-2.0
#include "kpt/backends/backend.h"

#include <cstring>

#include "kpt/tensor/tensor.h"

namespace kpt {

void register_all_backends(BackendRegistry& registry);

namespace {

// Host memory: everything has happened when a call returns.
class HostDevice final : public Device {
 public:
  Memory allocate(int64_t bytes, void*) const override { return Tensor::empty(DType::u8, {bytes}).owner; }
  void copy(void* to, const void* from, int64_t bytes, void*) const override {
    if (bytes) std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void wait(void*) const override {}
};

bool is_fallback(const Kernel& kernel) { return kernel.provider == "aten" || kernel.provider == "reference"; }

Verdict judge(const Kernel& kernel, const Node& node, const Problem& sample, const SelectOptions& options) {
  if (!options.allow_fallback && is_fallback(kernel)) return no("fallbacks are not allowed (strict mode)");
  for (const Value* out : node.outputs)
    if (options.ban.count(cat(kernel.name, "@", out->name))) return no("put back: validation found it wrong here");
  return kernel.supports(sample);
}

}  // namespace

std::shared_ptr<const Device> Backend::open(int index) const {
  KPT_CHECK(index == 0, "backends", "got device ", device(), ":", index, ", want ", device(), ":0");
  static const auto host = std::make_shared<HostDevice>();
  return host;
}

std::vector<Candidate> registry_candidates(std::string_view device, const Node& node, const Problem& sample,
                                           const SelectOptions& options) {
  std::vector<Candidate> out;
  for (auto& kernel : kernel_registry().find(node.op, device)) {
    if (!options.providers.empty() && !options.providers.count(kernel->provider)) continue;
    Verdict verdict = judge(*kernel, node, sample, options);
    out.push_back({std::move(kernel), std::move(verdict)});
  }
  return out;
}

void BackendRegistry::add(std::unique_ptr<Backend> backend) {
  KPT_CHECK(!find(backend->device()), "backends", "got a second backend for device ", backend->device(),
            ", want one for each device");
  backends_.push_back(std::move(backend));
}

const Backend* BackendRegistry::find(std::string_view device) const {
  for (const auto& b : backends_)
    if (b->device() == device) return b.get();
  return nullptr;
}

std::vector<const Backend*> BackendRegistry::all() const {
  std::vector<const Backend*> out;
  for (const auto& b : backends_) out.push_back(b.get());
  return out;
}

const BackendRegistry& backend_registry() {
  static const BackendRegistry* registry = [] {
    auto* r = new BackendRegistry;  // lives as long as the process
    register_all_backends(*r);
    return r;
  }();
  return *registry;
}

}  // namespace kpt

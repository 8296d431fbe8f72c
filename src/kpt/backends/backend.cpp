// SPDX-License-Identifier: Apache-2.0
#include "kpt/backends/backend.h"

namespace kpt {

void register_all_backends(BackendRegistry& registry);

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

// SPDX-License-Identifier: Apache-2.0
// A device that computes nothing: graphs are planned, counted and printed on any machine; outputs stay undefined.
#include "kpt/backends/backend.h"

namespace kpt {

namespace {

class Nothing final : public Launch {
 public:
  void run(const RunArgs&) const override {}
  std::string config() const override { return "null"; }
};

class NullBackend final : public Backend {
 public:
  std::string_view device() const override { return "null"; }
  Verdict available() const override { return yes(); }
  bool executes() const override { return false; }

  std::vector<Candidate> candidates(const Node&, const Problem&, const SelectOptions&) const override {
    static const auto kernel = std::make_shared<const Kernel>(
        Kernel{"*", "kpt", "null", "null", 0, [](const Problem&) { return yes(); },
               [](const Problem&) -> std::unique_ptr<Launch> { return std::make_unique<Nothing>(); }});
    return {{kernel, yes()}};
  }
};

}  // namespace

void register_null(BackendRegistry& registry) { registry.add(std::make_unique<NullBackend>()); }

}  // namespace kpt

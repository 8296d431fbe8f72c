// SPDX-License-Identifier: Apache-2.0
#include "kpt/tensor/weight_source.h"

#include <vector>

namespace kpt {

namespace {

class HeldWeights final : public WeightSource {
 public:
  explicit HeldWeights(std::map<std::string, Tensor> tensors) {
    for (auto& [name, tensor] : tensors) {
      names_.push_back(name);
      tensors_.push_back(std::move(tensor));
    }
  }
  size_t size() const override { return names_.size(); }
  const std::string& fqn(size_t i) const override { return names_[i]; }
  Tensor tensor(size_t i) const override { return tensors_[i]; }
  uint64_t version(size_t) const override { return 0; }
  std::optional<uint64_t> generation() const override { return 0; }

 private:
  std::vector<std::string> names_;
  std::vector<Tensor> tensors_;
};

}  // namespace

std::shared_ptr<WeightSource> make_weights(std::map<std::string, Tensor> tensors) {
  return std::make_shared<HeldWeights>(std::move(tensors));
}

}  // namespace kpt

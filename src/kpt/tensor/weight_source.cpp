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
  uint64_t generation() const override { return 0; }

 private:
  std::vector<std::string> names_;
  std::vector<Tensor> tensors_;
};

}  // namespace

// FNV-1a over words: two states that differ in one version never meet.
uint64_t WeightSource::generation() const {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < size(); ++i) hash = (hash ^ version(i)) * 0x100000001b3u;
  return hash;
}

std::shared_ptr<WeightSource> make_weights(std::map<std::string, Tensor> tensors) {
  return std::make_shared<HeldWeights>(std::move(tensors));
}

}  // namespace kpt

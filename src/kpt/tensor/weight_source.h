// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "kpt/tensor/tensor.h"

namespace kpt {

// Where a model's weights live. The runtime never copies them while dtypes agree: it borrows the pointers, so an edit
// in place is seen at once. What it derived from weights (merged, folded) is made again when `version(i)` changed.
// Implementations must be thread-safe for concurrent reads.
class KPT_API WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual size_t size() const = 0;
  virtual const std::string& fqn(size_t i) const = 0;
  virtual Tensor tensor(size_t i) const = 0;  // borrowed; contiguous or strided
  // Must differ from every earlier answer whenever the contents, the pointer or the strides may have changed.
  virtual uint64_t version(size_t i) const = 0;
  // For sources that can tell more cheaply: differs from every earlier answer whenever some version(i) does. A call
  // asks this first; without an answer it asks for each version.
  virtual std::optional<uint64_t> generation() const { return std::nullopt; }
};

// Weights by name, held here; versions never change.
KPT_API std::shared_ptr<WeightSource> make_weights(std::map<std::string, Tensor> tensors);

}  // namespace kpt

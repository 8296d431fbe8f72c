// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <string>

#include "kpt/tensor/tensor.h"

namespace kpt::bridge {

// The dtype of the text form for torch's, and back. Null where the core has none (complex, float8, quantised).
std::optional<DType> from_torch(at::ScalarType type);
at::ScalarType to_torch(DType dtype);

// The same memory as a Tensor of the core; no owner unless `keep`, which shares the storage. `what` names it in errors.
// Throws Error: bad_input where it is not on `device`, unsupported where dtype, layout or rank is not ours.
Tensor borrow(const at::Tensor& tensor, const std::string& what, at::Device device = at::kCPU, bool keep = false);

// Memory of the core as an at::Tensor without an owner: valid as long as the pointer is.
at::Tensor wrap(const TensorDesc& desc, void* data, at::Device device = at::kCPU);

// A tensor of the core that owns its memory, handed to torch.
at::Tensor give(const Tensor& tensor, at::Device device = at::kCPU);

}  // namespace kpt::bridge

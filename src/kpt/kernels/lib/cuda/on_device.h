// SPDX-License-Identifier: Apache-2.0
// For tests: a host tensor's copy on the current GPU.
#pragma once
#include <algorithm>

#include "kpt/cuda/driver.h"
#include "kpt/tensor/tensor.h"

namespace kpt {

class OnDevice {
 public:
  explicit OnDevice(const Tensor& t) : tensor_(t) {
    CUdeviceptr at = 0;
    cuda_check(cuda().cuMemAlloc(&at, std::max<size_t>(t.desc.bytes(), 1)), "on_device");
    tensor_.owner = {reinterpret_cast<void*>(at), [](void* p) { cuda().cuMemFree(reinterpret_cast<CUdeviceptr>(p)); }};
    tensor_.data = tensor_.owner.get();
    cuda_check(cuda().cuMemcpyHtoDAsync(at, t.data, t.desc.bytes(), nullptr), "on_device");
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  Tensor tensor_;
};

}  // namespace kpt

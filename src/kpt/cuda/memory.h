// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "kpt/base/error.h"

namespace kpt {

// What the device says now: other processes count.
struct CudaMemory {
  int64_t free_bytes = 0, total_bytes = 0;
};
KPT_API CudaMemory cuda_memory(int device);

// Device memory on that stream's order; freed with the last owner. Inside Torch its caching allocator is set here, so
// that both draw on one pool. Throws Error{resource} with what was asked for and what is free.
using CudaAllocator = std::function<std::shared_ptr<void>(int64_t bytes, int device, void* stream)>;
KPT_API void set_cuda_allocator(CudaAllocator allocator);  // empty: cuMemAlloc
KPT_API std::shared_ptr<void> cuda_allocate(int64_t bytes, int device, void* stream);

}  // namespace kpt

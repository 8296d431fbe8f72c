// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/memory.h"

#include <algorithm>
#include <mutex>

#include "kpt/cuda/driver.h"

namespace kpt {
namespace {

std::mutex allocator_mutex;
CudaAllocator allocator;

std::shared_ptr<void> plain_allocate(int64_t bytes, int device) {
  const CudaGuard guard(device);
  CUdeviceptr pointer = 0;
  const CUresult result = cuda().cuMemAlloc(&pointer, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    const CudaMemory now = cuda_memory(device);
    throw_error(ErrorKind::resource, "cuda.memory",
                cat("got no ", bytes, " bytes on cuda:", device, ", which has ", now.free_bytes, " free of ",
                    now.total_bytes, ", try a smaller batch or ending other processes on it"));
  }
  cuda_check(result, "cuda.memory");
  return {reinterpret_cast<void*>(pointer), [device](void* p) {
            try {
              const CudaGuard in(device);
              cuda().cuMemFree(reinterpret_cast<CUdeviceptr>(p));
            } catch (const Error&) {
              // The context is lost: its memory went with it, the next call says so, and a deleter cannot throw.
            }
          }};
}

}  // namespace

CudaMemory cuda_memory(int device) {
  const CudaGuard guard(device);
  size_t free_bytes = 0, total = 0;
  cuda_check(cuda().cuMemGetInfo(&free_bytes, &total), "cuda.memory");
  return {static_cast<int64_t>(free_bytes), static_cast<int64_t>(total)};
}

void set_cuda_allocator(CudaAllocator wanted) {
  const std::lock_guard<std::mutex> lock(allocator_mutex);
  allocator = std::move(wanted);
}

std::shared_ptr<void> cuda_allocate(int64_t bytes, int device, void* stream) {
  CudaAllocator own;
  {
    const std::lock_guard<std::mutex> lock(allocator_mutex);
    own = allocator;
  }
  return own ? own(bytes, device, stream) : plain_allocate(bytes, device);
}

}  // namespace kpt

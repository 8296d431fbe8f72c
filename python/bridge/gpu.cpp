// SPDX-License-Identifier: Apache-2.0
#include "gpu.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <nlohmann/json.hpp>

#include "kpt/cuda/driver.h"
#include "kpt/cuda/memory.h"
#include "kpt/cuda/nvrtc.h"
#include "tensors.h"

namespace kpt::bridge {

void* current_stream(at::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
}

void share_allocator() {
  set_cuda_allocator([](int64_t bytes, int index, void* stream) -> std::shared_ptr<void> {
    const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    const c10::OptionalDeviceGuard guard(device);
    // Freed blocks come back in the order of torch's current stream. For another stream (the prologue's) that order
    // is made by waiting.
    if (stream != current_stream(device)) c10::impl::VirtualGuardImpl(at::kCUDA).getStream(device).synchronize();
    try {
      const auto tensor = std::make_shared<at::Tensor>(at::empty({bytes}, at::TensorOptions(at::kByte).device(device)));
      return {tensor, tensor->mutable_data_ptr()};
    } catch (const c10::OutOfMemoryError& e) {
      const CudaMemory now = cuda_memory(index);
      throw_error(ErrorKind::resource, "bridge",
                  cat("got no ", bytes, " bytes on cuda:", index, ", which has ", now.free_bytes, " free of ",
                      now.total_bytes, ": ", e.what_without_backtrace()));
    }
  });
}

Distance device_distance(const at::Tensor& x, const at::Tensor& reference) {
  const at::Tensor a = x.contiguous(), b = reference.contiguous();
  return cuda_distance(borrow(a, "x", a.device()), borrow(b, "reference", a.device()), a.device().index(),
                       current_stream(a.device()));
}

Checksum device_checksum(const at::Tensor& x) {
  at::Tensor t = x.contiguous();
  if (reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 8 != 0) t = t.clone();
  return cuda_checksum(borrow(t, "x", t.device()), t.device().index(), current_stream(t.device()));
}

std::string gpus_json() {
  nlohmann::json all = nlohmann::json::array();
  for (const CudaDevice& d : cuda_devices())
    all.push_back({{"index", d.index},
                   {"name", d.name},
                   {"uuid", d.uuid},
                   {"arch", d.arch},
                   {"multiprocessors", d.multiprocessors},
                   {"memory_bytes", d.memory_bytes},
                   {"l2_bytes", d.l2_bytes},
                   {"clock_khz", d.clock_khz},
                   {"memory_clock_khz", d.memory_clock_khz},
                   {"bus_bits", d.bus_bits},
                   {"driver", d.driver_version}});
  return nlohmann::json{{"devices", all},
                        {"here", cuda_here().ok},
                        {"reason", cuda_here().reason},
                        {"nvrtc", nvrtc_here().reason},
                        {"nvrtc_version", nvrtc_version()}}
      .dump();
}

}  // namespace kpt::bridge

// SPDX-License-Identifier: Apache-2.0
#include "gpu.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "kpt/cuda/driver.h"
#include "kpt/cuda/memory.h"
#include "kpt/cuda/nvrtc.h"

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
  KPT_CHECK(x.sizes() == reference.sizes(), "validation.distance", "got other sizes than the reference's");
  Distance out;
  out.elements = x.numel();
  if (out.elements == 0) return out;
  const at::Tensor a = x.reshape({-1}), b = reference.reshape({-1});
  const bool real = at::isFloatingType(x.scalar_type());
  constexpr int64_t kPiece = 16 << 20;
  double error2 = 0, reference2 = 0, x2 = 0, dot = 0, max_abs = 0;
  int64_t nonfinite = 0, unequal = 0;
  for (int64_t at = 0; at < out.elements; at += kPiece) {
    const int64_t end = std::min(out.elements, at + kPiece);
    const at::Tensor p = a.slice(0, at, end).to(at::kDouble), q = b.slice(0, at, end).to(at::kDouble);
    const at::Tensor same = at::logical_or(p == q, at::logical_and(p.isnan(), q.isnan()));
    const at::Tensor finite = at::logical_and(p.isfinite(), q.isfinite());
    unequal += at::logical_not(same).sum().item<int64_t>();
    nonfinite += at::logical_and(at::logical_not(finite), at::logical_not(same)).sum().item<int64_t>();
    const at::Tensor zero = at::zeros({}, p.options());
    const at::Tensor u = at::where(finite, p, zero), v = at::where(finite, q, zero), d = u - v;
    error2 += at::dot(d, d).item<double>();
    reference2 += at::dot(v, v).item<double>();
    x2 += at::dot(u, u).item<double>();
    dot += at::dot(u, v).item<double>();
    max_abs = std::max(max_abs, d.abs().max().item<double>());
  }
  constexpr double kInf = std::numeric_limits<double>::infinity();
  out.nonfinite = nonfinite;
  out.max_abs = nonfinite ? kInf : max_abs;
  if (!real) {
    out.rel_rmse = static_cast<double>(unequal) / static_cast<double>(out.elements);
    out.cosine = unequal ? 0 : 1;
    return out;
  }
  const bool lost = nonfinite > 0;
  out.rel_rmse = lost ? kInf : reference2 > 0 ? std::sqrt(error2 / reference2) : x2 > 0 ? kInf : 0;
  const double norms = std::sqrt(x2) * std::sqrt(reference2);
  out.cosine = lost ? 0 : norms > 0 ? std::clamp(dot / norms, -1.0, 1.0) : x2 == reference2 ? 1 : 0;
  return out;
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

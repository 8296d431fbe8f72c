// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/checksum.h"

#include <algorithm>

#include "kpt/cuda/function.h"
#include "kpt/cuda/memory.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

constexpr int64_t kThreads = 256, kBlocksPerMultiprocessor = 8;

static_assert(sizeof(Checksum) == 16);  // checksum.cu's Pair

}  // namespace

CudaProgram checksum_program() { return {"lib/cuda/checksum.cu", cuda_text("lib/cuda/checksum.cu"), {}, "checksum"}; }

Checksum cuda_checksum(const Tensor& x, int device, void* stream) {
  const void* from = x.data;
  KPT_ASSERT(x.desc.is_contiguous() && reinterpret_cast<uintptr_t>(from) % 8 == 0, "kernels.checksum",
             "want a contiguous tensor at an address that 8 divides");
  Checksum out;
  auto bytes = static_cast<int64_t>(x.desc.bytes());
  if (bytes == 0) return out;
  const CudaGuard guard(device);
  const int64_t most = kBlocksPerMultiprocessor * cuda_devices().at(static_cast<size_t>(device)).multiprocessors;
  const int64_t blocks = std::min(most, (bytes / 8 + kThreads) / kThreads);
  std::vector<Checksum> sums(static_cast<size_t>(blocks));
  const int64_t room = blocks * static_cast<int64_t>(sizeof(Checksum));
  const std::shared_ptr<void> memory = cuda_allocate(room, device, stream);
  void* to = memory.get();
  void* params[] = {&from, &to, &bytes};
  CudaShape shape;
  shape.grid[0] = static_cast<uint32_t>(blocks);
  shape.block[0] = kThreads;
  auto* const on = static_cast<CUstream>(stream);
  cuda_launch(cuda_function(checksum_program(), device), shape, params, on, "kernels.checksum");
  const auto address = reinterpret_cast<CUdeviceptr>(to);
  cuda_check(cuda().cuMemcpyDtoHAsync(sums.data(), address, static_cast<size_t>(room), on), "kernels.checksum");
  cuda_check(cuda().cuStreamSynchronize(on), "kernels.checksum");
  for (const Checksum& block : sums) out.add(block);
  return out;
}

}  // namespace kpt

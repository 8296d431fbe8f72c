// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/distance.h"

#include "kpt/cuda/function.h"
#include "kpt/cuda/memory.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

constexpr int64_t kThreads = 256, kBlocksPerMultiprocessor = 4;

static_assert(sizeof(DistanceSums) == 56);  // distance.cu's Sums
static_assert(static_cast<int>(DType::f64) == 0 && static_cast<int>(DType::bf16) == 3 &&
              static_cast<int>(DType::i64) == 4 && static_cast<int>(DType::u8) == 8);  // distance.cu's element()

}  // namespace

void DistanceSums::add(const DistanceSums& more) {
  error2 += more.error2;
  reference2 += more.reference2;
  x2 += more.x2;
  dot += more.dot;
  max_abs = std::max(max_abs, more.max_abs);
  nonfinite += more.nonfinite;
  unequal += more.unequal;
}

CudaProgram distance_program() { return {"lib/cuda/distance.cu", cuda_text("lib/cuda/distance.cu"), {}, "distance"}; }

DistanceSums cuda_distance_sums(const Tensor& x, const Tensor& reference, int device, void* stream) {
  KPT_ASSERT(x.desc.numel() == reference.desc.numel() && x.desc.is_contiguous() && reference.desc.is_contiguous(),
             "kernels.distance", "want contiguous tensors of as many elements");
  DistanceSums out;
  int64_t count = x.desc.numel();
  if (count == 0) return out;
  const CudaGuard guard(device);
  const int64_t most = kBlocksPerMultiprocessor * cuda_devices().at(static_cast<size_t>(device)).multiprocessors;
  const int64_t blocks = std::min(most, (count + kThreads - 1) / kThreads);
  std::vector<DistanceSums> sums(static_cast<size_t>(blocks));
  const int64_t bytes = blocks * static_cast<int64_t>(sizeof(DistanceSums));
  const std::shared_ptr<void> memory = cuda_allocate(bytes, device, stream);
  const void* from = x.data;
  const void* truth = reference.data;
  void* to = memory.get();
  int type_x = static_cast<int>(x.desc.dtype), type_reference = static_cast<int>(reference.desc.dtype);
  void* params[] = {&from, &truth, &to, &count, &type_x, &type_reference};
  CudaShape shape;
  shape.grid[0] = static_cast<uint32_t>(blocks);
  shape.block[0] = kThreads;
  auto* const on = static_cast<CUstream>(stream);
  cuda_launch(cuda_function(distance_program(), device), shape, params, on, "kernels.distance");
  const auto address = reinterpret_cast<CUdeviceptr>(to);
  cuda_check(cuda().cuMemcpyDtoHAsync(sums.data(), address, static_cast<size_t>(bytes), on), "kernels.distance");
  cuda_check(cuda().cuStreamSynchronize(on), "kernels.distance");
  for (const DistanceSums& block : sums) out.add(block);
  return out;
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/graph_copies.h"

#include <algorithm>

namespace kpt {
namespace {

constexpr unsigned kThreads = 256;
// Bytes that a thread has on their way at a time: four words of 16.
constexpr size_t kAtOnce = 64;

const char* const kText = R"(
typedef unsigned long long u64;
struct Ranges {
  u64 from[16], to[16], bytes[16];
};

// Words [0, count) of T.
template <class T>
__device__ inline void copy(u64 from, u64 to, u64 count) {
  const T* const x = reinterpret_cast<const T*>(from);
  T* const y = reinterpret_cast<T*>(to);
  const u64 step = (u64)gridDim.x * blockDim.x;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += 4 * step) {
    T held[4];
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (i + k * step < count) held[k] = x[i + k * step];
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (i + k * step < count) y[i + k * step] = held[k];
  }
}

extern "C" __global__ void __launch_bounds__(256) copy_ranges(const __grid_constant__ Ranges r) {
#if __CUDA_ARCH__ >= 900  // the next kernel may be set up; what the one before wrote is waited for
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  const u64 from = r.from[blockIdx.y], to = r.to[blockIdx.y], bytes = r.bytes[blockIdx.y];
  const u64 all = from | to | bytes;
  if (all % 16 == 0)
    copy<uint4>(from, to, bytes / 16);
  else if (all % 4 == 0)
    copy<unsigned>(from, to, bytes / 4);
  else
    copy<unsigned char>(from, to, bytes);
}
)";

}  // namespace

CUgraphNode last_recorded(CUstream stream) {
  CUstreamCaptureStatus status;
  cuuint64_t id = 0;
  CUgraph graph = nullptr;
  const CUgraphNode* nodes = nullptr;
  const CUgraphEdgeData* edges = nullptr;
  size_t count = 0;
  cuda_check(cuda().cuStreamGetCaptureInfo(stream, &status, &id, &graph, &nodes, &edges, &count), "cuda.graph");
  KPT_ASSERT(count <= 1, "cuda.graph", count, " nodes wait at the end of a capture on one stream");
  return count ? nodes[0] : nullptr;
}

CudaProgram CudaGraphCopies::program() { return {"cuda/graph_copies", kText, {}, "copy_ranges"}; }

CudaGraphCopies::CudaGraphCopies(Way way, int device)
    : way_(way),
      kernel_(&cuda_function(program(), device)),
      // A few blocks for each multiprocessor keep the memory busy; more would only take turns.
      most_blocks_(4 * static_cast<unsigned>(cuda_devices()[static_cast<size_t>(device)].multiprocessors)) {}

void CudaGraphCopies::record(const std::vector<CudaGraphPlace>& places, CUstream stream) {
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i].bytes == 0) continue;
    if (batches_.empty() || batches_.back()->index.size() == kMost) batches_.push_back(std::make_unique<Batch>());
    Batch& batch = *batches_.back();
    const size_t k = batch.index.size();
    batch.ranges.from[k] = batch.ranges.to[k] = reinterpret_cast<uintptr_t>(places[i].place);
    batch.ranges.bytes[k] = places[i].bytes;
    batch.index.push_back(i);
  }
  for (const auto& batch : batches_) {
    const uint64_t longest = *std::max_element(batch->ranges.bytes, batch->ranges.bytes + batch->index.size());
    const uint64_t blocks = (longest + kThreads * kAtOnce - 1) / (kThreads * kAtOnce);
    batch->shape.grid = {static_cast<uint32_t>(std::min<uint64_t>(blocks, most_blocks_)),
                         static_cast<uint32_t>(batch->index.size()), 1};
    batch->shape.block = {kThreads, 1, 1};
    batch->shape.overlap = true;
    void* params[] = {&batch->ranges};
    cuda_launch(*kernel_, batch->shape, params, stream, "cuda.graph");
    batch->node = last_recorded(stream);
  }
}

void CudaGraphCopies::set(CUgraphExec exec, const void* const* others) {
  for (const auto& batch : batches_) {
    uint64_t* const ends = way_ == Way::in ? batch->ranges.from : batch->ranges.to;
    for (size_t k = 0; k < batch->index.size(); ++k) {
      const auto at = reinterpret_cast<uint64_t>(others[batch->index[k]]);
      batch->untold = batch->untold || ends[k] != at;
      ends[k] = at;
    }
    if (!batch->untold) continue;
    void* params[] = {&batch->ranges};
    CUDA_KERNEL_NODE_PARAMS launch{};
    launch.func = kernel_->handle;
    launch.gridDimX = batch->shape.grid[0];
    launch.gridDimY = batch->shape.grid[1];
    launch.gridDimZ = 1;
    launch.blockDimX = kThreads;
    launch.blockDimY = launch.blockDimZ = 1;
    launch.kernelParams = params;
    cuda_check(cuda().cuGraphExecKernelNodeSetParams(exec, batch->node, &launch), "cuda.graph");
    batch->untold = false;
  }
}

}  // namespace kpt

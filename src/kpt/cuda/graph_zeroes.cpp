// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/graph_zeroes.h"

#include "kpt/cuda/function.h"

namespace kpt {
namespace {

// What one launch of the kernel takes: its parameters may be 4 KiB.
constexpr size_t kMost = 256;
// A block clears a range: larger ones would keep one busy for longer than a memset takes.
constexpr size_t kMostBytes = 64 << 10;

struct Ranges {
  uint64_t at[kMost];
  uint32_t words[kMost];  // of 4 bytes
};

const char* const kText = R"(
struct Ranges {
  unsigned long long at[256];
  unsigned words[256];
};
extern "C" __global__ void zero_ranges(const __grid_constant__ Ranges r) {
  unsigned* const to = reinterpret_cast<unsigned*>(r.at[blockIdx.x]);
  for (unsigned i = threadIdx.x; i < r.words[blockIdx.x]; i += blockDim.x) to[i] = 0;
}
)";

struct Memset {
  CUgraphNode node;
  CUgraphNode before;
  std::vector<CUgraphNode> after;
  uint64_t at;
  size_t bytes;
};

std::vector<CUgraphNode> followers(CUgraphNode node) {
  size_t count = 0;
  cuda_check(cuda().cuGraphNodeGetDependentNodes(node, nullptr, nullptr, &count), "cuda.graph");
  std::vector<CUgraphNode> out(count);
  std::vector<CUgraphEdgeData> edges(count);
  if (count) cuda_check(cuda().cuGraphNodeGetDependentNodes(node, out.data(), edges.data(), &count), "cuda.graph");
  return out;
}

// Is the node a memset to zero of whole words inside `own`, which something follows?
bool clears(CUgraphNode node, const CudaGraphPlace& own, Memset* out) {
  CUgraphNodeType type;
  cuda_check(cuda().cuGraphNodeGetType(node, &type), "cuda.graph");
  if (type != CU_GRAPH_NODE_TYPE_MEMSET) return false;
  CUDA_MEMSET_NODE_PARAMS p{};
  cuda_check(cuda().cuGraphMemsetNodeGetParams(node, &p), "cuda.graph");
  const auto start = reinterpret_cast<uint64_t>(own.place);
  const size_t bytes = p.width * p.elementSize;
  if (p.value != 0 || p.height != 1 || bytes % 4 || p.dst % 4 || bytes > kMostBytes) return false;
  if (p.dst < start || p.dst + bytes > start + own.bytes) return false;
  out->node = node;
  out->after = followers(node);
  out->at = p.dst;
  out->bytes = bytes;
  return !out->after.empty();
}

void link(CUgraph graph, CUgraphNode from, CUgraphNode to) {
  cuda_check(cuda().cuGraphAddDependencies(graph, &from, &to, nullptr, 1), "cuda.graph");
}

}  // namespace

size_t gather_zeroes(CUgraph graph, const std::vector<CudaGraphPlace>& own, const std::vector<CUgraphNode>& before,
                     int device) {
  std::vector<Memset> found;
  for (size_t i = 0; i < own.size() && found.size() < kMost; ++i) {
    if (own[i].bytes == 0 || !before[i]) continue;
    const std::vector<CUgraphNode> first = followers(before[i]);
    Memset m{};
    if (first.size() != 1 || !clears(first[0], own[i], &m)) continue;
    if (i + 1 < before.size() && before[i + 1] == m.node) continue;  // all of its piece: the next one hangs on it
    m.before = before[i];
    found.push_back(m);
  }
  if (found.empty()) return 0;

  size_t count = 1;
  CUgraphNode root = nullptr;  // a capture on one stream has one
  cuda_check(cuda().cuGraphGetRootNodes(graph, &root, &count), "cuda.graph");
  const CudaFunction& kernel = cuda_function({"cuda/graph_zeroes", kText, {}, "zero_ranges"}, device);
  Ranges ranges{};
  for (size_t i = 0; i < found.size(); ++i) {
    ranges.at[i] = found[i].at;
    ranges.words[i] = static_cast<uint32_t>(found[i].bytes / 4);
  }
  void* params[] = {&ranges};
  CUDA_KERNEL_NODE_PARAMS launch{};
  launch.func = kernel.handle;
  launch.gridDimX = static_cast<unsigned>(found.size());
  launch.gridDimY = launch.gridDimZ = launch.blockDimY = launch.blockDimZ = 1;
  launch.blockDimX = 256;
  launch.kernelParams = params;
  CUgraphNode node = nullptr;
  cuda_check(cuda().cuGraphAddKernelNode(&node, graph, nullptr, 0, &launch), "cuda.graph");
  link(graph, node, root);
  for (const Memset& m : found) {
    for (CUgraphNode next : m.after) link(graph, m.before, next);
    cuda_check(cuda().cuGraphDestroyNode(m.node), "cuda.graph");
  }
  return found.size();
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/kernels/gather/gather_problem.h"
#include "kpt/kernels/lib/cuda/joint.h"

namespace kpt {
namespace {

constexpr int64_t kMostThreads = 256, kFlight = 4;

// As gather.cu's Gather.
struct Gather {
  CudaJoint<3> at;
  int64_t size = 0, step = 0;
  uint32_t count = 0, share = 0;
  int32_t element = 0;
};

Verdict supports(const Problem& p) {
  int dim;
  if (Verdict v = read_gather(p, dim); !v) return v;
  return p.outputs[0].numel() <= kCudaMostUnits ? yes() : no("more than 2^31 elements");
}

CudaWork plan(const Problem& p) {
  int dim;
  const Verdict v = read_gather(p, dim);
  KPT_CHECK(v.ok, "kernels.gather", "got ", p.str(), ": ", v.reason);
  const TensorDesc &x = *p.operand(0), &index = *p.operand(1), &y = p.outputs[0];
  const int64_t count = y.numel(), element = static_cast<int64_t>(size_of(y.dtype));
  if (count == 0) return {};
  Dims kept = x.strides;
  kept[dim] = 0;
  Gather g;
  g.at = cuda_joint<3>(joint_dims<3>(y.sizes, {kept, index.strides, y.strides}), {element, 8, element});
  g.size = x.sizes[dim];
  g.step = x.strides[dim] * element;
  g.count = static_cast<uint32_t>(count);
  g.element = static_cast<int32_t>(element);
  // Four elements a thread where there are enough of them for two blocks on each multiprocessor.
  const int64_t chips = std::max(1, p.gpu.multiprocessors);
  int64_t threads = kMostThreads, share = kMostThreads * kFlight;
  if (count < 2 * chips * share) {
    while (threads > 64 && count < chips * threads) threads /= 2;
    share = threads;
  }
  g.share = static_cast<uint32_t>(share);
  CudaCall call;
  call.program = {"gather/gather.cu", cuda_text("gather/gather.cu"), {}, "gather"};
  call.shape.grid[0] = cuda_blocks(count, share);
  call.shape.block[0] = static_cast<uint32_t>(threads);
  call.shape.overlap = true;
  call.params = {value_param(g), in_param(p.operand_index(0)), in_param(p.operand_index(1)), out_param(0)};
  return {{call}, 0, cat(share / threads, " elements a thread, blocks of ", threads)};
}

}  // namespace

void register_gather_cuda(KernelRegistry& registry) { add_cuda(registry, "aten.gather", "gather", supports, plan); }

}  // namespace kpt

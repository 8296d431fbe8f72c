// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/kernels/cumsum/cumsum_problem.h"
#include "kpt/kernels/lib/cuda/joint.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {
namespace {

constexpr int64_t kThreads = 256;  // as cumsum.cu

// As cumsum.cu.
struct Scan {
  CudaJoint<2> rows;
  int64_t steps[2];
  uint32_t count = 0, length = 0, group = 0;
  int32_t in = 0, out = 0;
};

Verdict supports(const Problem& p) {
  if (Verdict v = cumsum_supports(p); !v) return v;
  return p.operand(0)->numel() <= kCudaMostUnits / kThreads ? yes() : no("more than 2^23 elements");
}

// Threads for a row. One where rows side by side in memory are many: they are then read side by side. A warp where the
// rows are short or many.
int64_t group_of(int64_t rows, int64_t length, bool side_by_side, int64_t chips) {
  if (length <= 4 || (side_by_side && rows >= chips * 32)) return 1;
  return length <= 1024 || rows >= chips * 8 ? 32 : kThreads;
}

CudaWork plan(const Problem& p) {
  const Verdict v = supports(p);
  KPT_CHECK(v.ok, "kernels.cumsum", "got ", p.str(), ": ", v.reason);
  const TensorDesc &x = *p.operand(0), &y = p.outputs[0];
  if (y.numel() == 0) return {};
  const int rank = x.sizes.rank(), dim = normal_dim(get_int(p.kwargs, "dim", 0), rank);
  Dims rows = x.sizes;
  Scan s;
  s.length = 1;
  s.steps[0] = s.steps[1] = 0;
  if (rank) {
    s.length = static_cast<uint32_t>(rows[dim]);
    s.steps[0] = x.strides[dim];
    s.steps[1] = y.strides[dim];
    rows[dim] = 1;
  }
  s.rows = cuda_joint<2>(joint_dims<2>(rows, {x.strides, y.strides}), {1, 1});
  s.count = static_cast<uint32_t>(rows.numel());
  s.in = static_cast<int32_t>(x.dtype);
  s.out = static_cast<int32_t>(y.dtype);
  const int64_t group = group_of(s.count, s.length, s.steps[0] > 1, std::max(1, p.gpu.multiprocessors));
  s.group = static_cast<uint32_t>(group);
  CudaCall call;
  call.program = {
      "cumsum/cumsum.cu", cuda_text("cumsum/cumsum.cu"), {is_float(y.dtype) ? "SUM=f64" : "SUM=i64"}, "cumsum"};
  call.shape.grid[0] = cuda_blocks(s.count, kThreads / group);
  call.shape.block[0] = kThreads;
  call.shape.overlap = true;
  call.params = {value_param(s), in_param(p.operand_index(0)), out_param(0)};
  return {{call}, 0, cat(group, " threads a row")};
}

}  // namespace

void register_cumsum_cuda(KernelRegistry& registry) { add_cuda(registry, "aten.cumsum", "cumsum", supports, plan); }

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/kernels/group_norm/group_norm_problem.h"
#include "kpt/kernels/lib/cuda/rows.h"

namespace kpt {
namespace {

constexpr int64_t kMostThreads = 512, kMostShares = 32;
constexpr int64_t kLeastShare = 16384;  // elements: below, a second launch costs more than it saves

enum Phase : int32_t { kAll, kMoments, kApply };
// As group_norm.cu's Groups and Moments.
struct Groups {
  CudaDivider shares, groups, inner;
  uint32_t width = 0, chunk = 0, channels = 0;
  int32_t phase = kAll, words = 0;
  float eps = 0;
};
constexpr int64_t kMomentsBytes = 12;

Verdict supports(const Problem& p) {
  if (Verdict v = group_norm_supports(p); !v) return v;
  return p.operand(0)->numel() <= kCudaMostUnits ? yes() : no("more than 2^31 elements");
}

CudaWork plan(const Problem& p) {
  const Verdict v = supports(p);
  KPT_CHECK(v.ok, "kernels.group_norm", "got ", p.str(), ": ", v.reason);
  const TensorDesc& x = *p.operand(0);
  if (x.numel() == 0) return {};
  const int64_t groups = get_int(p.kwargs, "num_groups", 1), rows = x.sizes[0] * groups, width = x.numel() / rows;
  const int64_t element = static_cast<int64_t>(size_of(x.dtype)), vec = 16 / element;
  const int64_t chips = std::max(1, p.gpu.multiprocessors);
  // Few large groups are shared, so that about two blocks run on each multiprocessor.
  int64_t shares = std::min({(2 * chips + rows - 1) / rows, width / kLeastShare, kMostShares});
  const int64_t chunk = (width + std::max<int64_t>(shares, 1) * vec - 1) / (std::max<int64_t>(shares, 1) * vec) * vec;
  shares = (width + chunk - 1) / chunk;
  Groups g;
  g.shares = cuda_divider(shares);
  g.groups = cuda_divider(groups);
  g.channels = static_cast<uint32_t>(x.sizes[1] / groups);
  g.inner = cuda_divider(width / g.channels);
  g.width = static_cast<uint32_t>(width);
  g.chunk = static_cast<uint32_t>(chunk);
  g.words = width % vec == 0;
  g.eps = static_cast<float>(get_float(p.kwargs, "eps", 1e-5));
  const int64_t threads = std::clamp<int64_t>(power_of_two(chunk / vec / 2), 32, kMostThreads);
  const auto operand = [&](int i) { return p.operand_index(i) < 0 ? null_param() : in_param(p.operand_index(i)); };
  CudaWork work;
  for (Phase phase : {kAll, kMoments, kApply}) {
    if ((phase == kAll) != (shares == 1)) continue;
    g.phase = phase;
    CudaCall call;
    call.program = {"group_norm/group_norm.cu",
                    cuda_text("group_norm/group_norm.cu"),
                    {cat("T=", cuda_type(x.dtype))},
                    "group_norm"};
    call.shape.grid[0] = static_cast<uint32_t>(rows * shares);
    call.shape.block[0] = static_cast<uint32_t>(threads);
    call.shape.overlap = true;
    call.params = {value_param(g), operand(0),   operand(1),
                   operand(2),     out_param(0), shares > 1 ? work_param() : null_param()};
    work.calls.push_back(std::move(call));
  }
  if (shares > 1) work.workspace_bytes = static_cast<size_t>(rows * shares * kMomentsBytes);
  work.config = cat(shares, " shares of a group, blocks of ", threads);
  return work;
}

}  // namespace

void register_group_norm_cuda(KernelRegistry& registry) {
  add_cuda(registry, "aten.group_norm", "group_norm", supports, plan);
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/embedding/pick_problem.h"
#include "kpt/kernels/lib/cuda/pick.h"

namespace kpt {
namespace {

CudaPick pick_of(const Problem& p, const Pick& k) {
  const TensorDesc& x = *p.operand(0);
  const TensorDesc& index = *p.operand(1);
  CudaPick pick;
  pick.x = k.x;
  pick.picks = index.sizes;
  for (int d = 0; d < x.sizes.rank(); ++d) {
    if (d == k.dim) continue;
    (d < k.dim ? pick.outer : pick.inner).push_back(x.sizes[d]);
    (d < k.dim ? pick.outer_strides : pick.inner_strides).push_back(x.strides[d]);
  }
  pick.by.push_back({k.index, index.strides, k.limit, x.strides[k.dim]});
  return pick;
}

Verdict supports(const Problem& p) {
  Pick k;
  if (Verdict v = read_pick(p, k); !v) return v;
  return cuda_pick_supports(p, pick_of(p, k));
}

CudaWork plan(const Problem& p) {
  Pick k;
  const Verdict v = read_pick(p, k);
  KPT_CHECK(v.ok, "kernels.embedding", "got ", p.str(), ": ", v.reason);
  return cuda_pick(p, pick_of(p, k));
}

}  // namespace

void register_embedding_cuda(KernelRegistry& registry) {
  for (const char* op : {"aten.embedding", "aten.index_select"}) add_cuda(registry, op, "embedding", supports, plan);
}

}  // namespace kpt

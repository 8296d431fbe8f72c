// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/index/index_problem.h"
#include "kpt/kernels/lib/cuda/pick.h"

namespace kpt {
namespace {

CudaPick pick_of(const Problem& p, const Index& k) {
  const TensorDesc& x = *p.operand(0);
  CudaPick pick;
  pick.x = p.operand_index(0);
  pick.outer = k.before;
  pick.outer_strides = k.before_strides;
  pick.picks = k.picks;
  pick.inner = k.after;
  pick.inner_strides = k.after_strides;
  pick.negative = true;
  for (size_t i = 0; i < k.dims.size(); ++i)
    pick.by.push_back({k.inputs[i], k.strides[i], x.sizes[k.dims[i]], x.strides[k.dims[i]]});
  return pick;
}

Verdict supports(const Problem& p) {
  Index k;
  if (Verdict v = read_index(p, k); !v) return v;
  return cuda_pick_supports(p, pick_of(p, k));
}

CudaWork plan(const Problem& p) {
  Index k;
  const Verdict v = read_index(p, k);
  KPT_CHECK(v.ok, "kernels.index", "got ", p.str(), ": ", v.reason);
  return cuda_pick(p, pick_of(p, k));
}

}  // namespace

void register_index_cuda(KernelRegistry& registry) { add_cuda(registry, "aten.index.Tensor", "index", supports, plan); }

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/batch_norm/batch_norm_problem.h"
#include "kpt/kernels/lib/cuda/pointwise.h"

namespace kpt {
namespace {

Verdict supports(const Problem& p) {
  Problem q;
  const Verdict v = batch_norm_program(p, q);
  return v ? cuda_pointwise_supports(q) : v;
}

CudaWork plan(const Problem& p) {
  Problem q;
  const Verdict v = batch_norm_program(p, q);
  KPT_CHECK(v.ok, "kernels.batch_norm", "got ", p.str(), ": ", v.reason);
  return cuda_pointwise_work(q);
}

}  // namespace

void register_batch_norm_cuda(KernelRegistry& registry) {
  add_cuda(registry, "aten.batch_norm", "batch_norm", supports, plan);
}

}  // namespace kpt

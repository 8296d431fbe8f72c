// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/pointwise.h"
#include "kpt/kernels/swiglu/swiglu_problem.h"

namespace kpt {
namespace {

Verdict supports(const Problem& p) {
  Problem q;
  const Verdict v = swiglu_program(p, q);
  return v ? cuda_pointwise_supports(q) : v;
}

CudaWork plan(const Problem& p) {
  Problem q;
  const Verdict v = swiglu_program(p, q);
  KPT_CHECK(v.ok, "kernels.swiglu", "got ", p.str(), ": ", v.reason);
  return cuda_pointwise_work(q);
}

}  // namespace

void register_swiglu_cuda(KernelRegistry& registry) { add_cuda(registry, "kpt.swiglu", "swiglu", supports, plan); }

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_cuda.h"
#include "kpt/kernels/matmul/matmul.h"

namespace kpt {

void register_matmul_cuda(KernelRegistry& registry) {
  const auto supports = [](const Problem& problem) {
    GemmCall call;
    const Verdict v = matmul_call(problem, call);
    return v ? cuda_gemm_supports(call) : v;
  };
  const auto make = [](const Problem& problem) {
    GemmCall call;
    const Verdict v = matmul_call(problem, call);
    KPT_CHECK(v.ok, "kernels.matmul", v.reason);
    call.lasting_w = call.at.w >= 0 && (problem.lasting >> call.at.w & 1) != 0;
    return make_cuda_gemm(call, problem.gpu);
  };
  for (const char* op : {"aten.matmul", "aten.bmm", "aten.mm", "aten.addmm", "aten.baddbmm"})
    registry.add({op, "vendor", "cuda", "matmul_cuda", 0, supports, make});
}

}  // namespace kpt

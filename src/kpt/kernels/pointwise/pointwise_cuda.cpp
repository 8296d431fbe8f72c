// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/pointwise.h"
#include "kpt/kernels/lib/program/program.h"

namespace kpt {

void register_pointwise_cuda(KernelRegistry& registry) {
  add_cuda(registry, "kpt.pointwise", "pointwise", cuda_pointwise_supports, cuda_pointwise_work);
  for (std::string_view op : pointwise_aten_ops())
    add_cuda(registry, std::string(op), "pointwise", cuda_pointwise_supports, cuda_pointwise_work);
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/row_program.h"

namespace kpt {

void register_row_cuda(KernelRegistry& registry) {
  add_cuda(registry, "kpt.row", "row", cuda_row_supports, cuda_row_work);
}

}  // namespace kpt

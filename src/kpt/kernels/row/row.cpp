// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/row/row.h"

#include "kpt/kernels/lib/program/launch.h"

namespace kpt {

void register_row(KernelRegistry& registry) {
  registry.add({"kpt.row", "kpt", "cpu", "row_cpu", 0, program_supports, program_make});
  registry.add({"kpt.row", "reference", "cpu", "row_reference", 0, program_reference_supports, program_reference_make});
}

}  // namespace kpt

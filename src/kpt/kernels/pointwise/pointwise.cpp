// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/pointwise/pointwise.h"

#include "kpt/kernels/lib/program/launch.h"
#include "kpt/kernels/lib/program/program.h"

namespace kpt {

void register_pointwise(KernelRegistry& registry) {
  std::vector<std::string_view> ops = {"kpt.pointwise"};
  for (std::string_view op : pointwise_aten_ops()) ops.push_back(op);
  for (std::string_view op : ops) {
    registry.add({std::string(op), "kpt", "cpu", "pointwise_cpu", 0, program_supports, program_make});
    registry.add({std::string(op), "reference", "cpu", "pointwise_reference", 0, program_reference_supports,
                  program_reference_make});
  }
}

}  // namespace kpt

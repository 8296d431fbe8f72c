// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt::bridge {

// The provider `aten`: any operator of torch's dispatcher (aten and the custom ones of this process), called boxed
// below autograd and autocast. Inputs are wrapped, not copied; results are copied into the planned memory. Last in
// preference, so that every model runs; the report names the nodes that come here. device: "cpu" or "cuda" (work goes
// to torch's current stream of the current device).
Kernel aten_kernel(const std::string& device);

}  // namespace kpt::bridge

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// kpt.swiglu(%gate, %up): silu(gate) * up. Same sizes, any strides, any float dtype; as a program of kpt.pointwise.
// In place over gate or up.

}  // namespace kpt

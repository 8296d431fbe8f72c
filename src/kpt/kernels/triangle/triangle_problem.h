// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/triangle/triangle.h"

namespace kpt {

// No with a reason where a problem breaks the contract of triangle.h, on any device.
Verdict triangle_supports(const Problem& p);

}  // namespace kpt

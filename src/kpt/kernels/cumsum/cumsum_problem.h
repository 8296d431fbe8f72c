// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/cumsum/cumsum.h"

namespace kpt {

// No with a reason where a problem breaks the contract of cumsum.h, on any device.
Verdict cumsum_supports(const Problem& p);

}  // namespace kpt

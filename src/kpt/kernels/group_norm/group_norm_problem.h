// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/group_norm/group_norm.h"

namespace kpt {

// No with a reason where a problem breaks the contract of group_norm.h, on any device.
Verdict group_norm_supports(const Problem& p);

}  // namespace kpt

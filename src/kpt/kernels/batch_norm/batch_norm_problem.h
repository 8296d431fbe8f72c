// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.batch_norm as a problem of kpt.pointwise. No with a reason where it breaks the contract of batch_norm.h.
Verdict batch_norm_program(const Problem& p, Problem& q);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// kpt.swiglu as a problem of kpt.pointwise. No with a reason where it breaks the contract of swiglu.h.
Verdict swiglu_program(const Problem& p, Problem& q);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// Kernels made of programs (program.h): of kpt.pointwise, kpt.row, and of any operator that program_of can write as
// one. `supports` says no with a reason for what the loops would not do right; `make` throws Error{bad_input} for the
// same. The reference kernels evaluate element by element in f64 (evaluate.h).
Verdict program_supports(const Problem& problem);
std::unique_ptr<Launch> program_make(const Problem& problem);
Verdict program_reference_supports(const Problem& problem);
std::unique_ptr<Launch> program_reference_make(const Problem& problem);

}  // namespace kpt

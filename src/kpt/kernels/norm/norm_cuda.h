// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/norm/norm_problem.h"

namespace kpt {

// How norm.cu shares a problem out; packs 0: norm_wide.cu does.
CudaRowShape norm_shape(const Problem& p, const Norm& n);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cpu/gemm_run.h"

namespace kpt {

// aten.linear(%x, %w, %b):                          y = x w^T + b
// kpt.linear(%x, %w, %b, %residual, act="none"):    y = act(x w^T + b) + residual
//
// x: [.., K], w: [N, K], b: [N] or none, residual: as y or none, y: [.., N]; one float type for all (f32, bf16, f16 by
// the fast kernel, f64 too by the reference). x, w and residual have any strides; b is contiguous, y row-major.
// Sizes of 0 and 1 are taken. The sum is f32, the result is rounded once. NaN and inf propagate as in the sum by hand.
// residual must not overlap y.
Verdict linear_call(const Problem& problem, GemmCall& call);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cpu/gemm_run.h"

namespace kpt {

// aten.mm(%a, %b)               [M, K] [K, N]                 -> [M, N]
// aten.bmm(%a, %b)              [B, M, K] [B, K, N]           -> [B, M, N]
// aten.matmul(%a, %b)           NumPy's rules: batch axes broadcast, a vector is a row on the left, a column on the
// right aten.addmm(%i, %a, %b, beta=1, alpha=1)     beta i + alpha a b, i broadcast to [M, N] aten.baddbmm(%i, %a, %b,
// beta=1, alpha=1)   as addmm for each of B
//
// One float type for all (f32, bf16, f16 by the fast kernel, f64 too by the reference); inputs with any strides, output
// row-major. Sizes of 0 and 1 are taken. With beta = 0, i is not read: a NaN in it is dropped, as PyTorch does.
// The sum is f32, the result is rounded once.
Verdict matmul_call(const Problem& problem, GemmCall& call);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {

// kpt.row on a GPU: one generated kernel for each program, its dtypes and a class of widths. Contract: row/row.h.
// The inputs of a row are kept in registers by a group of threads (a part of a warp up to 4 x 16 bytes a thread, then a
// block of up to 512 threads), so that a row is read once; wider rows are read again for each row instruction, from the
// caches. What follows a row instruction is computed anew from the inputs or kept, as the compiler of the kernel finds
// it cheaper. In place as on the CPU.
Verdict cuda_row_supports(const Problem& problem);
CudaWork cuda_row_work(const Problem& problem);  // throws Error{bad_input} where it is not supported

}  // namespace kpt

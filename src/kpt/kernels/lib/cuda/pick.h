// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {

// Slices of x picked by numbers, for aten.embedding, aten.index_select and aten.index.Tensor: y[o, p, i] = x[o,
// n0[p], n1[p], .., i]; y dense. Strides in elements. A number out of range reads nothing: its part of the output is
// filled with bytes of ones (NaN in every float type, -1 in integers): a GPU cannot throw.
struct CudaPick {
  struct By {
    int input = 0;                 // of the numbers, i64 or i32, in Problem::inputs
    Dims strides;                  // for the dimensions `picks`
    int64_t size = 0, stride = 0;  // of the dimension of x that they pick from
  };
  int x = 0;
  Dims outer, outer_strides, picks, inner, inner_strides;
  std::vector<By> by;
  bool negative = false;  // numbers below 0 count from the end
};

Verdict cuda_pick_supports(const Problem& p, const CudaPick& k);
CudaWork cuda_pick(const Problem& p, const CudaPick& k);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/gemm_cuda.h"

namespace kpt {

// A large product whose rows of y are no multiple of 16 bytes (a vocabulary of 50257): cuBLASLt has slow algorithms
// alone for such a y, and for such a number of columns (docs/decisions/0008-products-on-gpus.md). The columns up
// to the last multiple of 16 bytes go to padded rows, `chunk` of them at a time, few enough to stay in the L2 cache;
// the last 16 bytes of every row, the edge, are a product of their own, which overlaps them. From both y is put
// together, with bias and activation where cuBLASLt was not asked for them. A pure value.
struct PaddedGemm {
  GemmCut whole;     // as cut without padding: one item, no residual
  int64_t x_m = 0;   // elements between rows of x
  int64_t main = 0;  // columns of the padded product: all of them where the edge's rows of w are not on 16 bytes
  int64_t ld = 0;    // elements between padded rows
  int64_t chunk = 0;
  Act act = Act::none;

  bool has_edge() const { return main < whole.n; }
  int64_t edge_columns() const { return 16 / static_cast<int64_t>(size_of(whole.dtype)); }
  CudaGemm of(int64_t rows) const;  // the padded product of that many rows
  CudaGemm edge() const;            // [m][edge_columns()], of the last rows of w; neither bias nor activation
  // The workspace: padded rows, then the edge, then what the library wants.
  int64_t edge_offset() const;
  int64_t bytes() const;
};

bool pad_gemm(const GemmCall& call, PaddedGemm& out);
// What makes `rows` rows of y, from row `first` on, out of the workspace.
CudaWork plan_unpad(const PaddedGemm& padded, int64_t first, int64_t rows);
// any_address: the product for operands that start off 16 bytes (views of the user's).
std::unique_ptr<Launch> make_padded_gemm(PaddedGemm padded, std::unique_ptr<Launch> any_address);

}  // namespace kpt

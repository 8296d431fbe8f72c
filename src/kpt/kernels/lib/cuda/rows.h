// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {

// Divider of rows.cuh: n / divisor for n < 2^31. divisor in [1, 2^31).
struct CudaDivider {
  uint32_t divisor = 1, multiplier = 1, shift = 0;
  uint32_t quotient(uint32_t n) const {  // what the device computes, for tests
    return static_cast<uint32_t>((((static_cast<uint64_t>(n) * multiplier) >> 32) + n) >> shift);
  }
};
CudaDivider cuda_divider(int64_t divisor);

// Rows of rows.cuh, by value a kernel's parameter. Neighbouring dimensions are merged where strides allow.
struct CudaRows {
  int32_t rank = 0;
  CudaDivider sizes[kMaxRank];
  int64_t strides[kMaxRank] = {};
};
CudaRows cuda_rows(const Dims& sizes, const Dims& strides);
CudaRows cuda_rows(const TensorDesc& desc, int leading);  // its first dimensions

// Largest power of two, at most 16, that divides all of these (0: no bound). What one instruction may move.
int64_t common_word(std::initializer_list<int64_t> bytes);
// Bytes of an element times the strides of the leading dimensions with more than one index: distances between rows.
// The largest power of two, at most 16, that divides them all.
int64_t row_word(const TensorDesc& desc, int leading);

// Largest power of two, at most `most`, that divides the strides (in elements) of the leading dimensions with more than
// one index.
int64_t row_vec(const TensorDesc& desc, int leading, int64_t most);

// How rows are shared out where registers hold them (held.cuh).
struct CudaRowShape {
  int vec = 1;      // elements moved at once
  int packs = 0;    // of vec elements, that a thread holds; 0: rows are too wide
  int threads = 0;  // for a row, a power of two
  int block = 0;    // threads of a block: 32 to 128 with one or more rows, or one row
};
constexpr int64_t kCudaMostHeld = 16384;  // 512 threads with 32 elements each
// The fewest threads that hold a row in `held` elements each (16 or 32): fewer threads mean shorter sums, and many rows
// in flight on a multiprocessor. But a warp's lanes cost nothing: short rows use them before a second pack.
CudaRowShape cuda_row_shape(int64_t rows, int64_t width, int64_t vec, int64_t held, const GpuTraits& gpu);

// Units for the grid's x: at most 2^31 - 1, as are indices computed in 32 bits.
constexpr int64_t kCudaMostUnits = (int64_t{1} << 31) - 1;
inline uint32_t cuda_blocks(int64_t units, int64_t per_block) {
  return static_cast<uint32_t>((units + per_block - 1) / per_block);
}
// Smallest power of two that is not below n.
int64_t power_of_two(int64_t n);

}  // namespace kpt

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

// Units for the grid's x: at most 2^31 - 1, as are indices computed in 32 bits.
constexpr int64_t kCudaMostUnits = (int64_t{1} << 31) - 1;
inline uint32_t cuda_blocks(int64_t units, int64_t per_block) {
  return static_cast<uint32_t>((units + per_block - 1) / per_block);
}
// Smallest power of two that is not below n.
int64_t power_of_two(int64_t n);

}  // namespace kpt

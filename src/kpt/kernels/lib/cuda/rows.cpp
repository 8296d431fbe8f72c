// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/rows.h"

#include <algorithm>
#include <numeric>

#include "kpt/kernels/lib/cuda/joint.h"

namespace kpt {

int64_t power_of_two(int64_t n) {
  int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

CudaDivider cuda_divider(int64_t divisor) {
  KPT_ASSERT(divisor >= 1 && divisor <= kCudaMostUnits, "kernels.cuda", "divisor ", divisor);
  uint32_t shift = 0;
  while ((int64_t{1} << shift) < divisor) ++shift;
  const uint64_t d = static_cast<uint64_t>(divisor);
  const uint64_t multiplier = ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d)) / d + 1;
  return {static_cast<uint32_t>(divisor), static_cast<uint32_t>(multiplier), shift};
}

CudaRows cuda_rows(const Dims& sizes, const Dims& strides) {
  Dims merged_sizes, merged_strides;
  for (int d = 0; d < sizes.rank(); ++d) {
    if (sizes[d] == 1) continue;
    const int last = merged_sizes.rank() - 1;
    if (last >= 0 && merged_strides[last] == strides[d] * sizes[d]) {
      merged_sizes[last] *= sizes[d];
      merged_strides[last] = strides[d];
    } else {
      merged_sizes.push_back(sizes[d]);
      merged_strides.push_back(strides[d]);
    }
  }
  CudaRows rows;
  rows.rank = merged_sizes.rank();
  for (int d = 0; d < rows.rank; ++d) {
    rows.sizes[d] = cuda_divider(std::max<int64_t>(1, merged_sizes[d]));
    rows.strides[d] = merged_strides[d];
  }
  return rows;
}

CudaRows cuda_rows(const TensorDesc& desc, int leading) {
  return cuda_rows(Dims(desc.sizes.begin(), desc.sizes.begin() + leading),
                   Dims(desc.strides.begin(), desc.strides.begin() + leading));
}

std::vector<int> by_stride(const Dims& strides) {
  std::vector<int> order(static_cast<size_t>(strides.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int l, int r) { return strides[l] > strides[r]; });
  return order;
}

int64_t common_word(std::initializer_list<int64_t> bytes) {
  int64_t all = 16;
  for (int64_t b : bytes) all |= b;
  return all & -all;
}

int64_t row_word(const TensorDesc& desc, int leading) {
  int64_t all = 16;
  for (int d = 0; d < leading; ++d)
    if (desc.sizes[d] > 1) all |= desc.strides[d] * static_cast<int64_t>(size_of(desc.dtype));
  return all & -all;
}

int64_t row_vec(const TensorDesc& desc, int leading, int64_t most) {
  int64_t all = most;
  for (int d = 0; d < leading; ++d)
    if (desc.sizes[d] > 1) all |= desc.strides[d];
  return all & -all;
}

// A quarter of what a multiprocessor of sm_80 and later runs at a time.
constexpr int64_t kRowThreads = 512;

CudaRowShape cuda_row_shape(int64_t rows, int64_t width, int64_t vec, int64_t held, const GpuTraits& gpu) {
  CudaRowShape shape;
  shape.vec = static_cast<int>(vec);
  if (width > kCudaMostHeld) return shape;
  const auto groups = [&](int64_t per_thread) { return (width + per_thread - 1) / per_thread; };
  shape.threads = static_cast<int>(std::min<int64_t>(512, power_of_two(groups(held))));
  const int64_t packs = groups(vec);
  if (shape.threads < 32) shape.threads = static_cast<int>(std::min<int64_t>(32, power_of_two(packs)));
  // Few rows: the time of one row counts, so it is spread over more threads while the device has that many idle.
  const int64_t idle = kRowThreads * std::max(1, gpu.multiprocessors);
  while (shape.threads < std::min<int64_t>(512, packs) && rows * shape.threads * 2 <= idle) shape.threads *= 2;
  shape.packs = static_cast<int>((packs + shape.threads - 1) / shape.threads);
  shape.block = shape.threads;
  if (shape.threads > 32) return shape;
  // Few rows: small blocks, for all multiprocessors.
  const int64_t multiprocessors = std::max(1, gpu.multiprocessors);
  const int64_t together = power_of_two((rows + multiprocessors - 1) / multiprocessors);
  shape.block = static_cast<int>(std::clamp<int64_t>(together * shape.threads, 32, 128));
  return shape;
}

}  // namespace kpt

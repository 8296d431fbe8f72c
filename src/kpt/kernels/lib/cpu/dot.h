// SPDX-License-Identifier: Apache-2.0
// Products with few rows on one side and k contiguous on both: sums along k, nothing packed.
#pragma once
#include "kpt/kernels/lib/cpu/pairs.h"
#include "kpt/kernels/lib/cpu/tile.h"

namespace kpt::KPT_ISA {

// One side of a product: element (i, k) at p[i * i_stride + k * k].
template <class T>
struct Side {
  const T* p;
  int64_t i, k;
};

template <class T>
constexpr bool kIsBf16 = false;
template <>
constexpr bool kIsBf16<Bf16> = true;

// acc[r * L + l] += the products of rows a[r] and b[l], lane by lane.
template <int R, int L, class T>
KPT_INLINE void add_products(VecF (&acc)[kLanes], const T* const (&a)[R], const T* const (&b)[L], int64_t k_count) {
#if defined(__AVX512BF16__)
  if constexpr (kIsBf16<T>) {
    for (int64_t k = 0; k < k_count; k += 2 * kLanes) {
      VecI x[L];
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l) x[l] = load_pairs(b[l] + k, k_count - k);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const VecI w = load_pairs(a[r] + k, k_count - k);
#pragma GCC unroll 16
        for (int l = 0; l < L; ++l) acc[r * L + l] = dot_pairs(acc[r * L + l], w, x[l]);
      }
    }
    return;
  }
#endif
  int64_t k = 0;
  for (; k + kLanes <= k_count; k += kLanes) {
    VecF x[L];
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) x[l] = load(b[l] + k);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const VecF w = load(a[r] + k);
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l) acc[r * L + l] = fma(w, x[l], acc[r * L + l]);
    }
  }
  if (k < k_count) {
    const int n = static_cast<int>(k_count - k);
    VecF x[L];
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) x[l] = load_n(b[l] + k, n);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const VecF w = load_n(a[r] + k, n);
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l) acc[r * L + l] = fma(w, x[l], acc[r * L + l]);
    }
  }
}

// kLanes dot products at once: R rows by kLanes / R lanes. Rows and lanes beyond the counts repeat the last one.
template <int R, class T>
inline void dot_tile(float* out, int64_t out_row, Side<T> rows, int64_t row_count, Side<T> lanes, int64_t lane_count,
                     int64_t k_count) {
  constexpr int kL = kLanes / R;
  VecF acc[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) acc[i] = VecF{};
  const T* a[R];
  const T* b[kL];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) a[r] = rows.p + (r < row_count ? r : row_count - 1) * rows.i;
#pragma GCC unroll 16
  for (int l = 0; l < kL; ++l) b[l] = lanes.p + (l < lane_count ? l : lane_count - 1) * lanes.i;
  add_products<R, kL>(acc, a, b, k_count);
  float total[kLanes];
  store(total, sums(acc));
  for (int r = 0; r < R && r < row_count; ++r)
    for (int l = 0; l < kL && l < lane_count; ++l) out[r * out_row + l] = total[r * kL + l];
}

template <int R, class T>
inline void dot_rows(float* out, int64_t out_row, Side<T> rows, int64_t row_count, Side<T> lanes, int64_t lane_count,
                     int64_t k_count) {
  constexpr int kL = kLanes / R;
  for (int64_t r = 0; r < row_count; r += R)
    for (int64_t l = 0; l < lane_count; l += kL)
      dot_tile<R, T>(out + r * out_row + l, out_row, {rows.p + r * rows.i, rows.i, 1}, row_count - r,
                     {lanes.p + l * lanes.i, lanes.i, 1}, lane_count - l, k_count);
}

}  // namespace kpt::KPT_ISA

// SPDX-License-Identifier: Apache-2.0
// The matrix product at the bottom of linear, matmul, attention and convolution:
//
//   out[r][lane] (+)= sum over k of a(r, k) panel[k][lane]
//
// `a` stays where it is (weights, keys, values, filters), any strides: its elements are broadcast. `panel` is a small
// copy, V vectors wide, one row for each k. V is 1 to kMaxV; the tile of R rows by V vectors lives in registers: 8 x 3
// of the 32 of AVX-512, 4 x 3 of the 16 of AVX2, with one register for the broadcast and V for the panel. One pass over
// k then costs R V FMAs and R + V loads, so the FMA units and not the loads are the limit.
#pragma once
#include "kpt/kernels/lib/cpu/vec.h"

namespace kpt::KPT_ISA {

#if defined(__AVX2__)
constexpr int kMaxV = 3;
#else
constexpr int kMaxV = 2;  // without FMA the product needs a register too
#endif
constexpr int kMaxPanel = kMaxV * kLanes;  // floats in a row of a full panel

// Rows of the register tile.
template <int V>
constexpr int tile_rows() {
#if defined(__AVX512F__)
  return V == 1 ? 16 : V == 2 ? 12 : 8;
#elif defined(__AVX2__)
  return V == 1 ? 8 : V == 2 ? 6 : 4;
#else
  return 4;
#endif
}

// An operand read in place: element (r, k) is at p[r * row + k * k].
struct InPlace {
  const float* p;
  int64_t row, k;
};

// One register tile. Unit: a.k is 1. accumulate: adds to what `out` holds.
template <int R, int V, bool Unit>
KPT_INLINE void tile(float* out, int64_t out_row, InPlace a, const float* panel, int64_t panel_k, int64_t k_count,
                     bool accumulate) {
  VecF acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[r][v] = VecF{};
  const float* row[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) row[r] = a.p + r * a.row;
  const int64_t step = Unit ? 1 : a.k;
  for (int64_t k = 0; k < k_count; ++k) {
    VecF x[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) x[v] = load(panel + v * kLanes);
    panel += panel_k;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const VecF w = splat(row[r][k * step]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[r][v] = fma(x[v], w, acc[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      float* o = out + r * out_row + v * kLanes;
      store(o, accumulate ? load(o) + acc[r][v] : acc[r][v]);
    }
}

// Sums longer than this are taken in blocks, added up in `out`: the rounding error of one running sum grows with its
// length. At k = 1,536 (AVX-512, normal numbers) the RMSE against f64 is 2.9e-7 in blocks and 7.0e-7 in one sum; the
// additions are 1 in 256.
constexpr int64_t kSumBlock = 256;

template <int R, int V, bool Unit>
KPT_INLINE void tile_in_blocks(float* out, int64_t out_row, InPlace a, const float* panel, int64_t panel_k,
                               int64_t k_count, bool accumulate) {
  const int64_t blocks = (k_count + kSumBlock - 1) / kSumBlock;
  const int64_t block = blocks > 1 ? (k_count + blocks - 1) / blocks : k_count;
  do {
    const int64_t count = k_count < block ? k_count : block;
    tile<R, V, Unit>(out, out_row, a, panel, panel_k, count, accumulate);
    accumulate = true;
    a.p += count * a.k;
    panel += count * panel_k;
    k_count -= count;
  } while (k_count > 0);
}

template <int R, int V, bool Unit>
KPT_INLINE void rest_of_rows(float* out, int64_t out_row, InPlace a, int64_t rows, const float* panel, int64_t panel_k,
                             int64_t k_count, bool accumulate) {
  if constexpr (R >= 1) {
    while (rows >= R) {
      tile_in_blocks<R, V, Unit>(out, out_row, a, panel, panel_k, k_count, accumulate);
      out += R * out_row;
      a.p += R * a.row;
      rows -= R;
    }
    if (rows) rest_of_rows<(R > 4 ? 4 : R / 2), V, Unit>(out, out_row, a, rows, panel, panel_k, k_count, accumulate);
  }
}

// All rows. panel_k: floats from one row of the panel to the next.
template <int V>
__attribute__((noinline)) void multiply_v(float* out, int64_t out_row, InPlace a, int64_t rows, const float* panel,
                                          int64_t panel_k, int64_t k_count, bool accumulate) {
  constexpr int kR = tile_rows<V>();
  if (a.k == 1)
    rest_of_rows<kR, V, true>(out, out_row, a, rows, panel, panel_k, k_count, accumulate);
  else
    rest_of_rows<kR, V, false>(out, out_row, a, rows, panel, panel_k, k_count, accumulate);
}

KPT_INLINE void multiply(int v, float* out, int64_t out_row, InPlace a, int64_t rows, const float* panel,
                         int64_t panel_k, int64_t k_count, bool accumulate = false) {
  if (v == 1) return multiply_v<1>(out, out_row, a, rows, panel, panel_k, k_count, accumulate);
  if (v == 2) return multiply_v<2>(out, out_row, a, rows, panel, panel_k, k_count, accumulate);
  if constexpr (kMaxV >= 3) multiply_v<3>(out, out_row, a, rows, panel, panel_k, k_count, accumulate);
}

// a and b of a transposition step over distance D: rows i and i + D exchange their off-diagonal D x D blocks.
template <int D>
KPT_INLINE VecF merge_low(VecF a, VecF b) {
#if defined(__AVX512F__)
  if constexpr (D == 8)
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
  else if constexpr (D == 4)
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
  else if constexpr (D == 2)
    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
  else
    return __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
#elif defined(__AVX2__)
  if constexpr (D == 4)
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
  else if constexpr (D == 2)
    return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
  else
    return __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14);
#else
  if constexpr (D == 2)
    return __builtin_shufflevector(a, b, 0, 1, 4, 5);
  else
    return __builtin_shufflevector(a, b, 0, 4, 2, 6);
#endif
}
template <int D>
KPT_INLINE VecF merge_high(VecF a, VecF b) {
#if defined(__AVX512F__)
  if constexpr (D == 8)
    return __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  else if constexpr (D == 4)
    return __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  else if constexpr (D == 2)
    return __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  else
    return __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
#elif defined(__AVX2__)
  if constexpr (D == 4)
    return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  else if constexpr (D == 2)
    return __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  else
    return __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
#else
  if constexpr (D == 2)
    return __builtin_shufflevector(a, b, 2, 3, 6, 7);
  else
    return __builtin_shufflevector(a, b, 1, 5, 3, 7);
#endif
}

template <int D>
KPT_INLINE void transpose_step(VecF (&m)[kLanes]) {
  if constexpr (D >= 1) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      if (!(i & D)) {
        const VecF a = m[i], b = m[i + D];
        m[i] = merge_low<D>(a, b);
        m[i + D] = merge_high<D>(a, b);
      }
    transpose_step<D / 2>(m);
  }
}
// m[i][j] <-> m[j][i], in registers.
KPT_INLINE void transpose(VecF (&m)[kLanes]) { transpose_step<kLanes / 2>(m); }

// Lane i of the result is the sum of the lanes of m[i]. Destroys m.
template <int D = kLanes / 2>
KPT_INLINE VecF sums(VecF (&m)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < D; ++i) m[i] = merge_low<D>(m[i], m[i + D]) + merge_high<D>(m[i], m[i + D]);
  if constexpr (D > 1)
    return sums<D / 2>(m);
  else
    return m[0];
}

}  // namespace kpt::KPT_ISA

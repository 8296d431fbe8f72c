// SPDX-License-Identifier: Apache-2.0
// The matrix product of tile.h on bf16 by AVX512_BF16: one instruction adds two products to each of 16 sums, twice the
// rate of f32. Panels hold pairs, panel[k / 2][lane] = (k, k + 1), the lower k in the lower half; an odd k_count is
// filled up with 0. The operand in place has k contiguous: a pair is one 32-bit broadcast. vdpbf16ps takes subnormal
// inputs and sums as 0 and rounds to nearest even. Only the avx512bf16 build has this.
#pragma once
#include "kpt/kernels/lib/cpu/tile.h"

#if defined(__AVX512BF16__)
namespace kpt::KPT_ISA {

KPT_INLINE VecF dot_pairs(VecF sum, VecI a, VecI b) {
  return (VecF)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

// Up to 2 kLanes elements from p; the others are 0.
KPT_INLINE VecI load_pairs(const Bf16* p, int64_t count) {
  if (count >= 2 * kLanes) return load_as<VecI>(p);
  return (VecI)_mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << count) - 1), p);
}

inline void pack_pairs(float* panel, int width, const Bf16* src, int64_t lane_stride, int64_t k_stride, int lanes,
                       int64_t k_count) {
  const int64_t pairs = (k_count + 1) / 2;
  if (k_stride == 1) {
    for (int lane = 0; lane < width; lane += kLanes)
      for (int64_t k = 0; k < pairs; k += kLanes) {
        const Bf16* from = src + lane * lane_stride + 2 * k;
        VecF m[kLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i)
          m[i] = lane + i < lanes ? (VecF)load_pairs(from + i * lane_stride, k_count - 2 * k) : VecF{};
        transpose(m);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i)
          if (k + i < pairs) store(panel + (k + i) * width + lane, m[i]);
      }
    return;
  }
  for (int64_t k = 0; k < pairs; ++k)
    for (int lane = 0; lane < width; lane += kLanes) {
      const Bf16* low = src + lane * lane_stride + 2 * k * k_stride;
      const bool both = 2 * k + 1 < k_count;
      const int n = lanes - lane < 0 ? 0 : lanes - lane < kLanes ? lanes - lane : kLanes;
      VecH a = {}, b = {};
      if (lane_stride == 1) {
        a = load_half_n(low, n);
        if (both) b = load_half_n(low + k_stride, n);
      } else {
        for (int i = 0; i < n; ++i) {
          a[i] = low[i * lane_stride].bits;
          if (both) b[i] = low[i * lane_stride + k_stride].bits;
        }
      }
      store_as(panel + k * width + lane, __builtin_convertvector(a, VecU) | (__builtin_convertvector(b, VecU) << 16));
    }
}

// One register tile over `pairs` pairs, then a last single where `odd`.
template <int R, int V>
KPT_INLINE void pair_tile(float* out, int64_t out_row, const Bf16* a, int64_t a_row, const float* panel, int64_t pairs,
                          bool odd, bool accumulate) {
  VecF acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[r][v] = VecF{};
  const Bf16* row[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) row[r] = a + r * a_row;
  VecI x[V];
  for (int64_t k = 0; k < pairs; ++k) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) x[v] = load_as<VecI>(panel + v * kLanes);
    panel += V * kLanes;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const VecI w = splat(load_as<int32_t>(row[r] + 2 * k));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[r][v] = dot_pairs(acc[r][v], x[v], w);
    }
  }
  if (odd) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) x[v] = load_as<VecI>(panel + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const VecI w = splat(static_cast<int32_t>(row[r][2 * pairs].bits));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[r][v] = dot_pairs(acc[r][v], x[v], w);
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

template <int R, int V>
KPT_INLINE void pair_rows(float* out, const Bf16* a, int64_t a_row, int64_t rows, const float* panel, int64_t k_count) {
  constexpr int64_t kOutRow = V * kLanes;
  for (; rows >= R; rows -= R, out += R * kOutRow, a += R * a_row) {
    int64_t k = 0;  // blocks as in tile.h: two products a step, so as many steps
    do {
      const int64_t count = k_count - k < 2 * kSumBlock ? k_count - k : 2 * kSumBlock;
      pair_tile<R, V>(out, kOutRow, a + k, a_row, panel + k / 2 * kOutRow, count / 2, count % 2, k > 0);
      k += count;
    } while (k < k_count);
  }
  if constexpr (R > 1) {
    if (rows) pair_rows<(R > 4 ? 4 : R / 2), V>(out, a, a_row, rows, panel, k_count);
  }
}

template <int V>
__attribute__((noinline)) void multiply_pairs_v(float* out, const Bf16* a, int64_t a_row, int64_t rows,
                                                const float* panel, int64_t k_count) {
  pair_rows<tile_rows<V>(), V>(out, a, a_row, rows, panel, k_count);
}

// As multiply: out[r][lane], rows v vectors long.
KPT_INLINE void multiply_pairs(int v, float* out, const Bf16* a, int64_t a_row, int64_t rows, const float* panel,
                               int64_t k_count) {
  if (v == 1) return multiply_pairs_v<1>(out, a, a_row, rows, panel, k_count);
  if (v == 2) return multiply_pairs_v<2>(out, a, a_row, rows, panel, k_count);
  multiply_pairs_v<3>(out, a, a_row, rows, panel, k_count);
}

}  // namespace kpt::KPT_ISA
#endif

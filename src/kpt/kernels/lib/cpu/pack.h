// SPDX-License-Identifier: Apache-2.0
// Copies a block of up to kMaxPanel vectors of length k_count into a panel: panel[k][lane], rows `width` floats apart,
// width a multiple of kLanes. Elements become float. Lanes from `lanes` on are zero.
#pragma once
#include "kpt/kernels/lib/cpu/tile.h"

namespace kpt::KPT_ISA {

// Source element (lane, k) at src[lane * stride + k]: transposed in registers, kLanes x kLanes at a time.
template <class T>
inline void pack_transposed(float* panel, int width, const T* src, int64_t stride, int lanes, int64_t k_count) {
  for (int first_lane = 0; first_lane < width; first_lane += kLanes) {
    const int valid = lanes - first_lane < 0 ? 0 : lanes - first_lane < kLanes ? lanes - first_lane : kLanes;
    for (int64_t k = 0; k < k_count; k += kLanes) {
      const int count = k_count - k < kLanes ? static_cast<int>(k_count - k) : kLanes;
      const T* from = src + first_lane * stride + k;
      VecF m[kLanes];
      if (valid == kLanes && count == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) m[i] = load(from + i * stride);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) m[i] = i < valid ? load_n(from + i * stride, count) : VecF{};
      }
      transpose(m);
      float* to = panel + k * width + first_lane;
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i)
        if (i < count) store(to + i * width, m[i]);
    }
  }
}

// Source element (lane, k) at src[lane + k * stride]: rows are copied.
template <class T>
inline void pack_rows(float* panel, int64_t width, const T* src, int64_t stride, int64_t lanes, int64_t k_count) {
  for (int64_t k = 0; k < k_count; ++k, panel += width, src += stride)
    for (int64_t first_lane = 0; first_lane < width; first_lane += kLanes) {
      const int64_t valid = lanes - first_lane;
      store(panel + first_lane, valid >= kLanes ? load(src + first_lane)
                                : valid > 0     ? load_n(src + first_lane, static_cast<int>(valid))
                                                : VecF{});
    }
}

// Any strides.
template <class T>
inline void pack(float* panel, int width, const T* src, int64_t lane_stride, int64_t k_stride, int lanes,
                 int64_t k_count) {
  if (k_stride == 1) return pack_transposed(panel, width, src, lane_stride, lanes, k_count);
  if (lane_stride == 1) return pack_rows(panel, width, src, k_stride, lanes, k_count);
  for (int64_t k = 0; k < k_count; ++k, panel += width)
    for (int lane = 0; lane < width; ++lane)
      panel[lane] = lane < lanes ? load1(src + lane * lane_stride + k * k_stride) : 0.f;
}

// Rows of any element type as contiguous floats: to[r * k_count + k].
template <class T>
inline void widen_rows(float* to, const T* src, int64_t row_stride, int64_t k_stride, int64_t rows, int64_t k_count) {
  for (int64_t r = 0; r < rows; ++r, src += row_stride, to += k_count) {
    if (k_stride != 1) {
      for (int64_t k = 0; k < k_count; ++k) to[k] = load1(src + k * k_stride);
      continue;
    }
    int64_t k = 0;
    for (; k + kLanes <= k_count; k += kLanes) store(to + k, load(src + k));
    if (k < k_count) store_n(to + k, load_n(src + k, static_cast<int>(k_count - k)), static_cast<int>(k_count - k));
  }
}

}  // namespace kpt::KPT_ISA

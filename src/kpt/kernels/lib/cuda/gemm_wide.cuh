// SPDX-License-Identifier: Apache-2.0
#pragma once
// What gemm_wide.cu and its planner agree on, the same text for the host and the device.
#ifndef __CUDACC_RTC__
namespace kpt {
#endif

constexpr int kWideX = 128, kWideW = 256, kWideDepth = 64;  // rows of x and w, and depth, of a block's step
constexpr unsigned kWideStages = 4;

struct WideArguments {
  long long y_row;           // elements from a row of y to the next
  int rows, columns, tiles;  // tiles of a cluster, 256 x 256 or 128 x 512: along m, along n, both
  int steps;                 // of depth
  int band;                  // rows of tiles that are walked column by column, so that their x stays in the L2 cache
  int m, n;                  // m: rows of a class
  // The copy engine stores rows that lie a multiple of 16 bytes apart. Where y's rows do not, every classes-th row
  // does: rows r, r + classes, ... are a class, and a tile has rows of one class. Else 1.
  int classes;
  int x_row;  // elements from a row of x to the next, where there are classes
};

struct WideTile {
  int row, column;  // in tiles
};
// Which tile comes at that place of the walk: a band of rows column by column, then the next band.
inline WideTile wide_tile(const WideArguments& a, int place) {
  const int of_band = a.band * a.columns, band = place / of_band, rest = place - band * of_band;
  const int left = a.rows - band * a.band, rows = left < a.band ? left : a.band, column = rest / rows;
  return {band * a.band + rest - column * rows, column};
}

struct WidePlace {
  int row, column, of_class;  // the first row of its class, the first column
};
// Of a block's tile; `rank`: which of the cluster. With classes the tiles of a row but the first begin on 16 bytes of
// y, and none goes beyond the row, since the next one follows at once: neighbours may have columns in common, and write
// the same numbers there.
template <bool CLASSES>
inline WidePlace wide_place(const WideArguments& a, int place, int rank) {
  const WideTile t = wide_tile(a, place);
  if (!CLASSES) return {(2 * t.row + rank) * kWideX, t.column * kWideW, 0};
  const int alike = a.rows / a.classes, of_class = t.row / alike;
  int column = t.column * kWideW;
  if (t.column > 0) column -= of_class * (int)(a.y_row & 7) & 7;
  if (column > a.n - kWideW) column = a.n - kWideW;
  return {(2 * (t.row - of_class * alike) + rank) * kWideX, column, of_class};
}

#ifndef __CUDACC_RTC__
}  // namespace kpt
#endif

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
  int m, n;
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

#ifndef __CUDACC_RTC__
}  // namespace kpt
#endif

// SPDX-License-Identifier: Apache-2.0
// What a library's matrix product leaves undone, in place:
//
//   y[i][m][n] = act(y[i][m][n] + bias[n]) + beta * residual[i * residual_step + m * residual_m + n * residual_n]
//
// y[i][m][n] stands at i * y_step + m * width + n. bias, residual: null where absent. Defines: T (element type), ACT
// (kpt::Act). A block is 256 threads: 2^shift along a row, the others on rows of their own; a thread has `deep` rows of
// one vector, all of whose loads are in flight at once. Blocks: x over rows, y over columns.
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/types.cuh"

#define ROWS 2

struct Numbers {
  i64 rows, width, rows_of_item;  // rows: of all items
  i64 y_step, residual_step, residual_m, residual_n;
  float beta;
  int shift, deep, wide;  // deep: 1 to ROWS
};

struct Tail : Numbers {
  T* y;
  const T* bias;
  const T* residual;

  i64 first_column() const { return (i64)blockIdx.y << shift | (threadIdx.x & ((1 << shift) - 1)); }
  i64 first_row() const { return (i64)blockIdx.x * (256 >> shift) * deep + (threadIdx.x >> shift); }
  i64 item(i64 row) const { return rows == rows_of_item ? 0 : row / rows_of_item; }
  T* y_row(i64 row) const {
    const i64 i = item(row);
    return y + i * y_step + (row - i * rows_of_item) * width;
  }
  const T* residual_row(i64 row) const {
    const i64 i = item(row);
    return residual + i * residual_step + (row - i * rows_of_item) * residual_m;
  }
};

// Vectors of 16 bytes.
inline void run_wide(const Tail& t) {
  constexpr int V = 16 / sizeof(T);
  typedef Pack<T, V> Vector;
  const i64 column = t.first_column() * V, first = t.first_row(), step = 256 >> t.shift;
  if (column >= t.width) return;
  Vector bias = {}, sum[ROWS], add[ROWS] = {};
  if (t.bias) bias = *(const Vector*)(t.bias + column);
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const i64 row = first + r * step;
    if (r >= t.deep || row >= t.rows) continue;
    sum[r] = *(const Vector*)(t.y_row(row) + column);
    if (t.residual) add[r] = *(const Vector*)(t.residual_row(row) + column);
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const i64 row = first + r * step;
    if (r >= t.deep || row >= t.rows) continue;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      float x = to_float(sum[r].e[v]);
      if (t.bias) x += to_float(bias.e[v]);
      x = act<ACT, sizeof(T)>(x);
      if (t.residual) x += t.beta * to_float(add[r].e[v]);
      sum[r].e[v] = from_float<T>(x);
    }
    *(Vector*)(t.y_row(row) + column) = sum[r];
  }
}

// Anything: a thread does `vector` neighbouring elements one by one (the grid is made for that many); neighbours share
// lines, so the cache makes up for most of it.
inline void run_narrow(const Tail& t, int vector) {
  const i64 column = t.first_column() * vector;
  for (int r = 0; r < t.deep; ++r) {
    const i64 row = t.first_row() + (i64)r * (256 >> t.shift);
    if (row >= t.rows) return;
    T* const to = t.y_row(row);
    const T* const from = t.residual_row(row);
    for (i64 n = column; n < column + vector && n < t.width; ++n) {
      float x = to_float(to[n]);
      if (t.bias) x += to_float(t.bias[n]);
      x = act<ACT, sizeof(T)>(x);
      if (t.residual) x += t.beta * to_float(from[n * t.residual_n]);
      to[n] = from_float<T>(x);
    }
  }
}

// `wide`: sizes and strides allow vectors, and the grid is made for them; whether the addresses do shows here, since a
// view may start anywhere.
extern "C" __global__ void __launch_bounds__(256) gemm_tail(T* y, const T* bias, const T* residual, Numbers numbers) {
  grid_release();
  grid_wait();
  const Tail t{{numbers}, y, bias, residual};
  const u64 addresses = (u64)y | (u64)bias | (u64)residual;
  if (t.wide && addresses % 16 == 0)
    run_wide(t);
  else
    run_narrow(t, t.wide ? 16 / sizeof(T) : 1);
}

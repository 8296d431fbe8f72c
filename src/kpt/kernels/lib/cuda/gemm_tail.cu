// SPDX-License-Identifier: Apache-2.0
// What a library's matrix product leaves undone, in place:
//
//   y[i][m][n] = act(y[i][m][n] + bias[n]) + beta * residual[i * residual_step + m * residual_m + n * residual_n]
//
// y[i][m][n] stands at i * y_step + m * width + n. Defines: T (f32, bf16, f16), ACT (kpt::Act), BIAS, RESIDUAL (0 where
// absent). A block is 256 threads: 2^shift along a row, the others on rows of their own; a thread has one vector of 1
// or kRows rows, all of whose loads are in flight at once. Blocks: along a row first. The last rows come first: they
// are what the product has left in the L2 cache, and the next kernel finds the first ones there.
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/words.cuh"

constexpr int kRows = 2, kVector = 16 / sizeof(T);

struct Numbers {
  i64 rows, y_step, residual_step, residual_m, residual_n;  // rows: of an item
  u32 width, blocks_of_row, row_blocks;                     // row_blocks: of an item
  float beta;
  int shift, deep, wide;  // deep: 1 or kRows
};

// One item.
struct Tail : Numbers {
  T* y;
  const T* bias;
  const T* residual;
};

// COUNT rows, `step` apart: one vector of 16 bytes of each.
template <int COUNT>
inline void run_wide(const Tail& t, i64 row, u32 step, u32 column) {
  T* at[COUNT];
  Words sum[COUNT], add[COUNT], bias;
  if (BIAS) bias = load_words(t.bias + column);
#pragma unroll
  for (int r = 0; r < COUNT; ++r) {
    at[r] = t.y + (row + r * step) * t.width + column;
    sum[r] = load_words(at[r]);
    if (RESIDUAL) add[r] = load_words(t.residual + (row + r * step) * t.residual_m + column);
  }
  // To save registers the compiler would put off the later loads, even behind the first store. `nothing` is 0, which it
  // does not know: the first row waits for all of them.
  u32 nothing = 0;
#pragma unroll
  for (int r = 1; r < COUNT; ++r) nothing |= RESIDUAL ? sum[r].w[0] & add[r].w[0] : sum[r].w[0];
  nothing &= t.wide >> 8;
#pragma unroll
  for (int i = 0; i < 4; ++i) sum[0].w[i] |= nothing;
#pragma unroll
  for (int r = 0; r < COUNT; ++r) {
    float x[kVector], b[kVector], a[kVector];
    unpack<T>(sum[r], x);
    if (BIAS) unpack<T>(bias, b);
    if (RESIDUAL) unpack<T>(add[r], a);
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      x[v] = act<ACT, sizeof(T)>(BIAS ? x[v] + b[v] : x[v]);
      if (RESIDUAL) x[v] += t.beta * a[v];
    }
    store_words(at[r], pack<T>(x));
  }
}

// Anything: `vector` neighbouring elements of a row one by one (the grid is made for that many); neighbours share
// lines, so the cache makes up for most of it.
inline void run_narrow(const Tail& t, i64 row, u32 column, u32 vector) {
  T* const to = t.y + row * t.width;
#pragma unroll 1
  for (u32 n = column; n < column + vector && n < t.width; ++n) {
    float x = to_float(to[n]);
    if (BIAS) x += to_float(t.bias[n]);
    x = act<ACT, sizeof(T)>(x);
    if (RESIDUAL) x += t.beta * to_float(t.residual[row * t.residual_m + n * t.residual_n]);
    to[n] = from_float<T>(x);
  }
}

// `wide`: sizes and strides allow vectors, and the grid is made for them; whether the addresses do shows here, since a
// view may start anywhere.
extern "C" __global__ void __launch_bounds__(256) gemm_tail(T* y, const T* bias, const T* residual, Numbers numbers) {
  grid_release();
  Tail t{{numbers}, y, bias, residual};
  const u32 block = gridDim.x - 1 - blockIdx.x, block_row = block / t.blocks_of_row, item = block_row / t.row_blocks;
  const u32 vector = t.wide ? kVector : 1, step = 256u >> t.shift;
  const u32 column =
      (((block - block_row * t.blocks_of_row) << t.shift) + (threadIdx.x & ((1u << t.shift) - 1))) * vector;
  const i64 row = (i64)(block_row - item * t.row_blocks) * (step * t.deep) + (threadIdx.x >> t.shift);
  t.y += item * t.y_step;
  if (RESIDUAL) t.residual += item * t.residual_step;
  grid_wait();
  if (column >= t.width) return;
  const bool wide = t.wide && ((u64)y | (u64)bias | (u64)residual) % 16 == 0;
  if (wide && t.deep == kRows && row + (kRows - 1) * step < t.rows) return run_wide<kRows>(t, row, step, column);
#pragma unroll 1
  for (int r = 0; r < t.deep && row + r * step < t.rows; ++r) {
    if (wide)
      run_wide<1>(t, row + r * step, step, column);
    else
      run_narrow(t, row + r * step, column, vector);
  }
}

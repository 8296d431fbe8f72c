// SPDX-License-Identifier: Apache-2.0
// Products with up to 16 rows of x (decoding), where reading the weights once is all the work: rows of w are the 16
// rows of mma.sync, rows of x its 8 columns; bf16 or f16, sums in f32.
//
//   -D ELEM=bf16|f16   TILES: of 16 rows of w, in a block;  STAGES: of a warp's ring;  ROWS_X: 8 or 16
//
// The 8 warps of a block share out the depth in chunks of 64 that lie side by side. Each streams its chunks through a
// ring of its own in shared memory (cp.async), so no warp waits for another before the end. A thread takes 16 bytes of
// a row at once, elements 8 t to 8 t + 7 of a half chunk: not the order of depth that the instruction names, but x is
// taken in the same order, and a sum does not care. The warps' sums meet in shared memory and are added in the warps'
// order: the same bits at every run. Weights that last are fetched before the kernel waits for its predecessor.
#ifndef KPT_EMULATED
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/gemm_skinny.cuh"
#include "kpt/kernels/lib/cuda/warp.cuh"

inline float activated(int act_number, float x) {
  switch (act_number) {
    case 1: return act<1, 2>(x);
    case 2: return act<2, 2>(x);
    case 3: return act<3, 2>(x);
    case 4: return act<4, 2>(x);
    case 5: return act<5, 2>(x);
    case 6: return act<6, 2>(x);
    default: return x;
  }
}
#endif

constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kRows = 16 * TILES, kColumns = ROWS_X / 8;  // rows of w; groups of 8 rows of x
constexpr int kChunk = 64, kRowBytes = kChunk * 2, kStage = kRows * kRowBytes;
constexpr int kPitch = kRows + 4;  // floats of a row of sums: the 32 lanes of a store fall on 32 banks

struct alignas(16) Eight {
  u32 e[4];
};

// Pieces of 16 bytes change places in every second row, so that the eight lanes of a load meet all banks.
inline int piece_at(int row, int piece) { return row * kRowBytes + (piece ^ row % 2 * 4) * 16; }

inline void load_w(const SkinnyArguments& a, const char* w, u32 to, int row0, int k, int lane) {
#pragma unroll
  for (int i = 0; i < kRows / 4; ++i) {
    const int row = i * 4 + lane / 8, piece = lane % 8, n = row0 + row, depth = k + piece * 8;
    const bool whole = n < a.n && depth < a.k;
    copy_async(to + piece_at(row, piece), whole ? w + n * a.w_step + depth * 2 : w, whole);
  }
}

using Taken = Eight[2][kColumns];  // of x: halves of a chunk, groups of rows

inline void load_x(const SkinnyArguments& a, const char* x, Taken& taken, int k, int lane) {
#pragma unroll
  for (int h = 0; h < 2; ++h)
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      const int m = 8 * i + lane / 4, depth = k + 32 * h + lane % 4 * 8;
      Eight v = {};
      if (m < a.m && depth < a.k) v = *(const Eight*)(x + m * a.x_m + depth * 2);
      taken[h][i] = v;
    }
}

using Sums = float[TILES][kColumns][4];

inline void multiply_chunk(Sums& sums, const unsigned char* w, const Taken& x, int lane) {
#pragma unroll
  for (int h = 0; h < 2; ++h)
#pragma unroll
    for (int r = 0; r < TILES; ++r) {
      const int row = 16 * r + lane / 4, piece = 4 * h + lane % 4;
      const Eight low = *(const Eight*)(w + piece_at(row, piece)), high = *(const Eight*)(w + piece_at(row + 8, piece));
#pragma unroll
      for (int s = 0; s < 4; s += 2) {
        const u32 rows[4] = {low.e[s], high.e[s], low.e[s + 1], high.e[s + 1]};
#pragma unroll
        for (int i = 0; i < kColumns; ++i) multiply_add(sums[r][i], rows, x[h][i].e[s], x[h][i].e[s + 1], ELEM{});
      }
    }
}

// sums[warp][row of x][row of w]
inline void leave_sums(const Sums& sums, float* to, int lane) {
#pragma unroll
  for (int r = 0; r < TILES; ++r)
#pragma unroll
    for (int i = 0; i < kColumns; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        to[(8 * i + lane % 4 * 2 + j % 2) * kPitch + 16 * r + lane / 4 + 8 * (j / 2)] = sums[r][i][j];
}

inline void finish(const SkinnyArguments& a, const float* sums, const ELEM* bias, const char* residual, char* y,
                   int row0) {
#pragma unroll 1
  for (int item = (int)threadIdx.x; item < kRows * a.m; item += kThreads) {
    const int m = item / kRows, column = item % kRows, n = row0 + column;
    if (n >= a.n) continue;
    float value = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) value += sums[(warp * ROWS_X + m) * kPitch + column];
    value = activated(a.act, bias ? value + to_float(bias[n]) : value);
    if (residual) value = fmaf(a.beta, to_float(((const ELEM*)(residual + m * a.residual_m))[n]), value);
    ((ELEM*)(y + m * a.y_m))[n] = from_float<ELEM>(value);
  }
}

KERNEL void __launch_bounds__(kThreads, TILES == 4 ? 1 : 2)
    gemm_skinny(const char* x, const char* w, const ELEM* bias, const char* residual, char* y,
                const SkinnyArguments a) {
  grid_release();
  SHARED_MEMORY(memory);
  const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, row0 = (int)blockIdx.x * kRows;
  const int chunks = (a.k + kChunk - 1) / kChunk, steps = chunks > warp ? (chunks - warp + kWarps - 1) / kWarps : 0;
  unsigned char* const ring = memory + warp * STAGES * kStage;
  const u32 at = shared_address(ring);
  const auto depth = [&](int step) { return (warp + kWarps * step) * kChunk; };

  if (!a.early) grid_wait();
#pragma unroll
  for (int s = 0; s < STAGES - 1; ++s) {
    if (s < steps) load_w(a, w, at + s * kStage, row0, depth(s), lane);
    copy_commit();
  }
  if (a.early) grid_wait();

  Taken next;
  load_x(a, x, next, depth(0), lane);
  Sums sums = {};
  int stage = 0;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    copy_wait<STAGES - 2>();
    __syncwarp();
    const int ahead = step + STAGES - 1, free_stage = stage == 0 ? STAGES - 1 : stage - 1;
    if (ahead < steps) load_w(a, w, at + free_stage * kStage, row0, depth(ahead), lane);
    copy_commit();
    Taken now;
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int i = 0; i < kColumns; ++i) now[h][i] = next[h][i];
    load_x(a, x, next, depth(step + 1), lane);
    multiply_chunk(sums, ring + stage * kStage, now, lane);
    stage = stage == STAGES - 1 ? 0 : stage + 1;
  }

  copy_wait<0>();
  __syncthreads();  // the rings are free: the sums take their place
  float* const shared_sums = (float*)memory;
  leave_sums(sums, shared_sums + warp * ROWS_X * kPitch, lane);
  __syncthreads();
  finish(a, shared_sums, bias, residual, y, row0);
}

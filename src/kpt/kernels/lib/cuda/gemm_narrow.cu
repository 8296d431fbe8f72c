// SPDX-License-Identifier: Apache-2.0
// y[m][n] = act(sum over k of x[m][k] w[n][k] + bias[n]) + beta residual[m][n] for some tens to hundreds of rows, where
// a product takes a few microseconds and waiting is most of it. sm_90a, bf16 or f16, sums in f32.
//
//   -D ELEM=bf16|f16   ACT: kpt::Act   GROUPS: of 64 rows of x, in a block   SPLIT: blocks of a cluster: 1, 2, 4
//   W_ALONG_DEPTH: w's depth contiguous (1) or its rows' index (0)
//
// A block has 64 rows of w, GROUPS warpgroups with 64 rows of x each, and one warp that asks the copy engine for steps
// of 64 of the depth, into a ring that most often holds all of the block's steps: nothing waits for room. Weights that
// last are fetched before the kernel waits for its predecessor. The blocks of a cluster share out the depth and then
// the tile's rows: each sends its sums to the blocks whose rows they are, which add them in the blocks' order: the same
// bits at every run.
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/gemm_narrow.cuh"
#include "kpt/kernels/lib/cuda/warp.cuh"
#include "kpt/kernels/lib/cuda/warpgroup.cuh"

constexpr int kThreads = GROUPS * 128;  // that multiply
constexpr u32 kX = GROUPS * 64 * kNarrowDepth * 2, kStep = kX + kNarrowColumns * kNarrowDepth * 2;
constexpr int kRows = GROUPS * 64 / SPLIT;  // of the tile, that a block finishes

struct Block {
  u32 steps, sums, full, empty, met;  // shared memory: ring, sums [split][rows][kNarrowPitch], barriers
  u32 rank;
  int first, count;  // steps of this block
  int row, column;   // of the tile
};

inline void load_w(const Block& at, const TensorMap& w, int step, u32 stage) {
  const u32 to = at.steps + stage * kStep + kX, full = at.full + stage * 8;
  const int depth = (at.first + step) * kNarrowDepth;
  box_load(to, w, full, W_ALONG_DEPTH ? depth : at.column, W_ALONG_DEPTH ? at.column : depth);
}
inline void load_x(const Block& at, const TensorMap& x, int step, u32 stage) {
  box_load(at.steps + stage * kStep, x, at.full + stage * 8, (at.first + step) * kNarrowDepth, at.row);
}

// The rest of the loads, by one thread: the first `ahead` steps have their w under way.
inline void produce(const NarrowArguments& a, const Block& at, const TensorMap& x, const TensorMap& w, int ahead) {
  grid_wait();
  for (int i = 0; i < ahead; ++i) load_x(at, x, i, i);
  u32 stage = 0, parity = 0;
  for (int i = ahead; i < at.count; ++i) {
    barrier_wait(at.empty + stage * 8, parity);
    barrier_expect(at.full + stage * 8, kStep);
    load_w(at, w, i, stage);
    load_x(at, x, i, stage);
    if (++stage == (u32)a.stages) stage = 0, parity ^= 1;
  }
}

// Products of the block's steps; the sums go to the blocks whose rows they are.
inline void multiply(const NarrowArguments& a, const Block& at) {
  float sums[kNarrowColumns / 2];
  const int group = (int)threadIdx.x / 128, lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  u32 stage = 0, parity = 0;
#pragma unroll 1
  for (int i = 0; i < at.count; ++i) {
    barrier_wait(at.full + stage * 8, parity);
    const u32 from = at.steps + stage * kStep;
    const u64 x = matrix_at(from + group * (kX / GROUPS));
    const u64 w = W_ALONG_DEPTH ? matrix_at(from + kX) : matrix_across_at(from + kX, 64 * kNarrowDepth * 2);
    products_begin();
#pragma unroll
    for (int j = 0; j < kNarrowDepth / 16; ++j)
      product<W_ALONG_DEPTH>(sums, x + 2 * j, w + (W_ALONG_DEPTH ? 2 : 128) * j, i > 0 || j > 0 ? 1 : 0, ELEM{});
    products_commit();
    if (i + a.stages < at.count) {  // this place is wanted again
      products_wait<0>();
      if (lane == 0) barrier_arrive(at.empty + stage * 8, at.rank);
    }
    if (++stage == (u32)a.stages) stage = 0, parity ^= 1;
  }
  if (SPLIT > 1) cluster_wait();  // the others' barriers are there
  products_wait<0>();
  const int low = warp * 16 + lane / 4, high = low + 8;
  const int low_rank = low / kRows, high_rank = high / kRows;
  const u32 part = at.sums + (at.rank * kRows * kNarrowPitch + lane % 4 * 2) * 4;
  const u32 low_to = part + low % kRows * kNarrowPitch * 4, high_to = part + high % kRows * kNarrowPitch * 4;
#pragma unroll
  for (int j = 0; j < kNarrowColumns / 8; ++j) {
    if (SPLIT == 1) {
      store_two(low_to + j * 32, sums[4 * j], sums[4 * j + 1]);
      store_two(high_to + j * 32, sums[4 * j + 2], sums[4 * j + 3]);
      continue;
    }
    send_two(low_to + j * 32, at.met, low_rank, sums[4 * j], sums[4 * j + 1]);
    send_two(high_to + j * 32, at.met, high_rank, sums[4 * j + 2], sums[4 * j + 3]);
  }
}

struct alignas(8) Quad {
  ELEM e[4];
};

constexpr int kQuads = kNarrowColumns / 4;        // of a row
constexpr int kMine = kRows * kQuads / kThreads;  // quads of a thread

// Four columns of a row, and what is added to them.
struct Part {
  int r, c;  // r: among the block's rows
  bool inside;
  Quad bias, residual;
};

// Both are read while the products are under way: one by one at the end, each would take as long as a small product.
inline void prepare(const NarrowArguments& a, const Block& at, const ELEM* bias, const ELEM* residual,
                    Part (&parts)[kMine]) {
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    const int quad = (int)threadIdx.x + i * kThreads, r = quad / kQuads, c = quad % kQuads * 4;
    const int row = at.row + (int)at.rank * kRows + r, column = at.column + c;
    parts[i] = {r, c, row < a.m && column < a.n, {}, {}};
    if (parts[i].inside && bias) parts[i].bias = *(const Quad*)(bias + column);
    if (parts[i].inside && residual) parts[i].residual = *(const Quad*)(residual + row * a.residual_m + column);
  }
}

inline void finish(const NarrowArguments& a, const Block& at, const Part& p, ELEM* y) {
  float v[4] = {};
#pragma unroll
  for (int i = 0; i < SPLIT; ++i) add_quad(v, at.sums + ((i * kRows + p.r) * kNarrowPitch + p.c) * 4);
  Quad out;
#pragma unroll
  for (int j = 0; j < 4; ++j)
    out.e[j] = from_float<ELEM>(act<ACT, 2>(v[j] + to_float(p.bias.e[j])) + a.beta * to_float(p.residual.e[j]));
  if (p.inside) *(Quad*)(y + (at.row + (int)at.rank * kRows + p.r) * a.y_m + at.column + p.c) = out;
}

extern "C" __global__ void __launch_bounds__(kThreads + 32)
    gemm_narrow(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, const ELEM* bias,
                const ELEM* residual, ELEM* y, NarrowArguments a) {
  extern __shared__ __align__(1024) unsigned char memory[];
  __shared__ u64 barriers[2 * kNarrowStages + 1];
  Block at;
  at.steps = (shared_address(memory) + 1023) / 1024 * 1024;
  at.sums = at.steps + a.stages * kStep;
  at.full = shared_address(barriers);
  at.empty = at.full + kNarrowStages * 8;
  at.met = at.empty + kNarrowStages * 8;
  at.rank = blockIdx.x % SPLIT;
  at.column = (int)(blockIdx.x / SPLIT) * kNarrowColumns;
  at.row = (int)blockIdx.y * GROUPS * 64;
  at.first = a.steps * (int)at.rank / SPLIT;
  at.count = a.steps * ((int)at.rank + 1) / SPLIT - at.first;
  const int ahead = min(a.stages, at.count);
  if (threadIdx.x == kThreads) {
    fetch_map(x);
    for (int i = 0; i < ahead; ++i) {
      barrier_init(at.full + i * 8, 1);
      barrier_init(at.empty + i * 8, GROUPS * 4);
    }
    barrier_init(at.met, 1);
    barrier_init_fence();
    if (!a.early) grid_wait();
    for (int i = 0; i < ahead; ++i) {
      barrier_expect(at.full + i * 8, kStep);
      load_w(at, w, i, i);
    }
    barrier_expect(at.met, GROUPS * 64 * kNarrowColumns * 4);
  }
  grid_release();
  __syncthreads();
  if (SPLIT > 1) cluster_arrive();
  if (threadIdx.x >= kThreads) {
    if (threadIdx.x == kThreads) produce(a, at, x, w, ahead);
    __syncwarp();
    if (SPLIT > 1) cluster_wait();
    return;
  }
  grid_wait();
  Part parts[kMine];
  prepare(a, at, bias, residual, parts);
  multiply(a, at);
  if (SPLIT == 1)
    some_threads_sync(1, kThreads);
  else
    barrier_wait(at.met, 0);
#pragma unroll
  for (int i = 0; i < kMine; ++i) finish(a, at, parts[i], y);
}

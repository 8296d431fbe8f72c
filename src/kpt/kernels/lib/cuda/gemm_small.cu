// SPDX-License-Identifier: Apache-2.0
// Products with few rows of x (a sentence, an image) on tensor cores (mma.sync), bf16 or f16, sums in f32: there the
// library's kernels, made for large tiles, wait for memory more than they compute. Small tiles of y, the depth cut into
// the SPLIT blocks of a cluster, which add up through each other's shared memory; x and w stream through STAGES
// buffers (cp.async). Weights that last are fetched before the kernel waits for its predecessor.
//
//   -D ELEM=bf16|f16   BM (32 a warp row), BN = 64: the tile of y;  STAGES;  SPLIT: 1, 2, 4, 8 (sm_90 on)
//      W_ROWS          1: depth is contiguous in w; 0: the columns of y are
//
// Sums are added in the order of the blocks: the same bits at every run.
#ifndef KPT_EMULATED
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/gemm_small.cuh"
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

constexpr int kDepth = 64;  // of a stage
constexpr int kWarpsN = BN / 32;
constexpr int kThreads = BM / 32 * kWarpsN * 32;
constexpr int kPitchX = kDepth * 2 + 16;  // bytes: rows of ldmatrix fall on different banks
constexpr int kRowsW = W_ROWS ? BN : kDepth, kChunksW = (W_ROWS ? kDepth : BN) / 8, kPitchW = kChunksW * 16 + 16;
constexpr int kBytesX = BM * kPitchX, kStage = kBytesX + kRowsW * kPitchW;
constexpr int kPitchY = BN + 4;  // floats

#if SPLIT > 1
inline void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
inline float4 of_block(u32 address, int block) {
  u32 there;
  float4 x;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(block));
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(there)
               : "memory");
  return x;
}
#endif

// One block's part: rows from row0, columns from column0, depth [begin, end).
struct Part {
  int row0, column0, begin, end;
};

inline void load_x(const SmallGemmArguments& a, const Part& p, const char* x, u32 to, int k) {
#pragma unroll
  for (int i = 0; i < BM * 8 / kThreads; ++i) {
    const int item = i * kThreads + (int)threadIdx.x, row = item / 8, chunk = item % 8;
    const bool whole = p.row0 + row < a.m && k + chunk * 8 < p.end;
    copy_async(to + row * kPitchX + chunk * 16, whole ? x + (p.row0 + row) * a.x_m + (k + chunk * 8) * 2 : x, whole);
  }
}
inline void load_w(const SmallGemmArguments& a, const Part& p, const char* w, u32 to, int k) {
#pragma unroll
  for (int i = 0; i < kRowsW * kChunksW / kThreads; ++i) {
    const int item = i * kThreads + (int)threadIdx.x, row = item / kChunksW, chunk = item % kChunksW;
    const int n = p.column0 + (W_ROWS ? row : chunk * 8), depth = k + (W_ROWS ? chunk * 8 : row);
    const bool whole = n < a.n && depth < p.end;
    const long long at = W_ROWS ? n * a.w_step + depth * 2 : depth * a.w_step + n * 2;
    copy_async(to + row * kPitchW + chunk * 16, whole ? w + at : w, whole);
  }
}

using Sums = float[2][4][4];

inline void multiply_stage(Sums& sums, u32 x_at, u32 w_at) {
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k) {
    u32 x[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) load_matrices(x[m], x_at + m * 16 * kPitchX + k * 32);
#pragma unroll
    for (int n = 0; n < 4; n += 2) {
      u32 w[4];
      if (W_ROWS)
        load_matrices(w, w_at + n * 8 * kPitchW + k * 32);
      else
        load_matrices_transposed(w, w_at + k * 16 * kPitchW + n * 16);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        multiply_add(sums[m][n], x[m], w[0], w[1], ELEM{});
        multiply_add(sums[m][n + 1], x[m], w[2], w[3], ELEM{});
      }
    }
  }
}

inline void leave_sums(const Sums& sums, float* tile, int row0, int column0, int lane) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int n = 0; n < 4; ++n)
        *(float2*)(tile + (row0 + 16 * m + 8 * h + lane / 4) * kPitchY + column0 + n * 8 + lane % 4 * 2) =
            make_float2(sums[m][n][2 * h], sums[m][n][2 * h + 1]);
}

// Chunks of eight columns of the tile, every SPLIT-th one of this block.
inline void finish(const SmallGemmArguments& a, const Part& p, const float* tile, const ELEM* bias,
                   const char* residual, char* y, int block) {
#pragma unroll 1
  for (int item = block * kThreads + (int)threadIdx.x; item < BM * BN / 8; item += kThreads * SPLIT) {
    const int row = item / (BN / 8), chunk = item % (BN / 8), r = p.row0 + row, n = p.column0 + chunk * 8;
    if (r >= a.m || n >= a.n) continue;
    Pack<ELEM, 8> add = {}, rest = {}, out;
    if (bias) add = *(const Pack<ELEM, 8>*)(bias + n);
    if (residual) rest = *(const Pack<ELEM, 8>*)(residual + r * a.residual_m + n * 2);
    float x[8] = {};
    const float* from = tile + row * kPitchY + chunk * 8;
#if SPLIT > 1
#pragma unroll
    for (int b = 0; b < SPLIT; ++b) {
      const float4 low = of_block(shared_address(from), b), high = of_block(shared_address(from + 4), b);
      x[0] += low.x, x[1] += low.y, x[2] += low.z, x[3] += low.w;
      x[4] += high.x, x[5] += high.y, x[6] += high.z, x[7] += high.w;
    }
#else
    const float4 low = *(const float4*)from, high = *(const float4*)(from + 4);
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
    x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
#endif
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float value = activated(a.act, x[i] + to_float(add.e[i]));
      if (residual) value = fmaf(a.beta, to_float(rest.e[i]), value);
      out.e[i] = from_float<ELEM>(value);
    }
    *(Pack<ELEM, 8>*)(y + r * a.y_m + n * 2) = out;
  }
}

KERNEL void __launch_bounds__(kThreads, 2)
#if SPLIT > 1
    __cluster_dims__(SPLIT, 1, 1)
#endif
        gemm_small(const char* x, const char* w, const ELEM* bias, const char* residual, char* y,
                   const SmallGemmArguments a) {
  grid_release();
  SHARED_MEMORY(memory);
  const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
  const int warp_row = warp / kWarpsN * 32, warp_column = warp % kWarpsN * 32;
  const int block = (int)blockIdx.x % SPLIT, tile = (int)blockIdx.x / SPLIT;
  const int begin = block * a.k_part;
  const Part p{tile % a.tiles_m * BM, tile / a.tiles_m * BN, begin, min(a.k, begin + a.k_part)};
  const int steps = p.end > p.begin ? (p.end - p.begin + kDepth - 1) / kDepth : 0;
  const u32 at = shared_address(memory);

  if (a.early)
#pragma unroll
    for (int s = 0; s < STAGES - 1; ++s)
      if (s < steps) load_w(a, p, w, at + s * kStage + kBytesX, p.begin + s * kDepth);
  grid_wait();
#pragma unroll
  for (int s = 0; s < STAGES - 1; ++s) {
    if (s < steps) {
      load_x(a, p, x, at + s * kStage, p.begin + s * kDepth);
      if (!a.early) load_w(a, p, w, at + s * kStage + kBytesX, p.begin + s * kDepth);
    }
    copy_commit();
  }

  const u32 x_at = at + (warp_row + lane % 16) * kPitchX + lane / 16 * 16;
  const u32 w_at = at + kBytesX +
                   (W_ROWS ? (warp_column + lane % 8 + lane / 16 * 8) * kPitchW + lane / 8 % 2 * 16
                           : lane % 16 * kPitchW + warp_column * 2 + lane / 16 * 16);
  Sums sums;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[m][n][i] = 0;
  int stage = 0;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    const int ahead = step + STAGES - 1, free_stage = stage == 0 ? STAGES - 1 : stage - 1;
    if (ahead < steps) {
      load_x(a, p, x, at + free_stage * kStage, p.begin + ahead * kDepth);
      load_w(a, p, w, at + free_stage * kStage + kBytesX, p.begin + ahead * kDepth);
    }
    copy_commit();
    multiply_stage(sums, x_at + stage * kStage, w_at + stage * kStage);
    stage = stage == STAGES - 1 ? 0 : stage + 1;
  }

  copy_wait<0>();
  __syncthreads();  // the buffers are free: the sums take their place
  float* const shared_sums = (float*)memory;
  leave_sums(sums, shared_sums, warp_row, warp_column, lane);
#if SPLIT > 1
  cluster_barrier();
#else
  __syncthreads();
#endif
  finish(a, p, shared_sums, bias, residual, y, block);
#if SPLIT > 1
  cluster_barrier();  // others still read this block's sums
#endif
}

// SPDX-License-Identifier: Apache-2.0
// y = softmax(q k^T scale + mask) v of f32 with f32 products (FMA, no tf32). The walk is that of attention.cu; 16 lanes
// share ROWS / 8 rows, each computes every 16th score of them, and the weights go through shared memory to become
// factors of the values.
//
//   -D ELEM=f32           HEAD     size of a head, rounded up to 32, 64 or 128; the rest is zeros
//      ROWS               of a block: 16, 32 or 64
//      BLOCK_N, STAGES    keys in a block of them, and blocks in flight
//      MASK, ADDED, SPLIT, MIN_BLOCKS    as in attention.cu
#ifndef KPT_EMULATED
#include "kpt/kernels/attention/arguments.cuh"
#include "kpt/kernels/lib/cuda/warp.cuh"
#endif

constexpr int kWarps = 4;
constexpr int kThreads = 128;
constexpr int kRows = ROWS;
constexpr int kPitch = HEAD * 4 + 16;  // bytes: 8 rows fall on different banks
constexpr int kChunks = HEAD / 4;
constexpr int kHalfStage = BLOCK_N * kPitch;
constexpr int kMine = ROWS / 8;                      // rows of a thread
constexpr int kScores = BLOCK_N / 16;                // scores of a thread in each of them
constexpr int kVector = HEAD >= 64 ? 4 : HEAD / 16;  // columns side by side
constexpr int kVectors = HEAD / 16 / kVector;        // 16 kVector columns apart
constexpr int kWeightPitch = BLOCK_N + 4;            // floats

#include "kpt/kernels/attention/common.cuh"

using Scores = float[kMine][kScores];
using Output = float[kMine][kVectors][kVector];

// The thread's first row, and its place among the 16 lanes that share it.
struct Place {
  int row, lane;
};

inline void score(Scores& s, const float* q, const float* k, Place at) {
#pragma unroll
  for (int i = 0; i < kMine; ++i)
#pragma unroll
    for (int j = 0; j < kScores; ++j) s[i][j] = 0;
#pragma unroll 2
  for (int d = 0; d < HEAD; d += 4) {
    float4 x[kScores];
#pragma unroll
    for (int j = 0; j < kScores; ++j) x[j] = *(const float4*)(k + (at.lane + 16 * j) * (kPitch / 4) + d);
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const float4 y = *(const float4*)(q + (at.row + i) * (kPitch / 4) + d);
#pragma unroll
      for (int j = 0; j < kScores; ++j) {
        float& sum = s[i][j];
        sum = fmaf(y.x, x[j].x, sum);
        sum = fmaf(y.y, x[j].y, sum);
        sum = fmaf(y.z, x[j].z, sum);
        sum = fmaf(y.w, x[j].w, sum);
      }
    }
  }
}

inline void add_values(Output& o, const float* weights, const float* v, Place at) {
#pragma unroll 2
  for (int key = 0; key < BLOCK_N; key += 4) {
    Pack<float, 4> w[kMine];
#pragma unroll
    for (int i = 0; i < kMine; ++i) w[i] = *(const Pack<float, 4>*)(weights + (at.row + i) * kWeightPitch + key);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int c = 0; c < kVectors; ++c) {
        const float* from = v + (key + n) * (kPitch / 4) + (c * 16 + at.lane) * kVector;
        const Pack<float, kVector> x = *(const Pack<float, kVector>*)from;
#pragma unroll
        for (int i = 0; i < kMine; ++i)
#pragma unroll
          for (int e = 0; e < kVector; ++e) o[i][c][e] = fmaf(w[i].e[n], x.e[e], o[i][c][e]);
      }
    }
  }
}

inline void hide(Scores& s, const AttentionArguments& a, const Tile& t, const u32* bits, Place at, int key) {
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    const int end = limit(a, t, t.row0 + at.row + i);
#pragma unroll
    for (int j = 0; j < kScores; ++j) {
      const int column = key + at.lane + 16 * j;
      const bool keep = column < end && (MASK != 1 || (bits[column >> 5] >> (column & 31) & 1));
      if (!keep) s[i][j] = minus_inf();
    }
  }
}

#if MASK >= 2
// Hides scores, or adds to them: then they are in units of log2 afterwards.
inline void apply_mask(Scores& s, const Masked* mask, const AttentionArguments& a, const Tile& t, Place at, int key) {
  mask += t.batch * a.mask_b + (i64)t.unit * a.pack * a.mask_h;
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    const int row = min(t.row0 + at.row + i, a.rows - 1), query = a.pack == 1 ? row : row / a.pack;
    const Masked* line = mask + (row - query * a.pack) * a.mask_h + query * a.mask_s;
#pragma unroll
    for (int j = 0; j < kScores; ++j) {
      const int column = key + at.lane + 16 * j;
      Masked x = {};
      if (column < t.end) x = line[column * a.mask_t];
#if MASK == 2
      if (!x.bits) s[i][j] = minus_inf();
#else
      s[i][j] = fmaf(s[i][j], a.scale, mask_in_log2(to_float(x)));
#endif
    }
  }
}
#endif

inline float most_of_16(float x) {
#pragma unroll
  for (int step = 8; step; step >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}
inline float sum_of_16(float x) {
#pragma unroll
  for (int step = 8; step; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

// Scores become weights 2^((score - maximum) scale) in shared memory; what was summed is brought to the new maximum.
inline void soften(const Scores& s, float* weights, Output& o, float (&top)[kMine], float (&sum)[kMine], float scale,
                   Place at) {
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    float most = s[i][0];
#pragma unroll
    for (int j = 1; j < kScores; ++j) most = fmaxf(most, s[i][j]);
    most = fmaxf(top[i], most_of_16(most));
    const float shift = most == minus_inf() ? 0.0f : most * scale;
    const float factor = exp2_of(fmaf(top[i], scale, -shift));
    top[i] = most;
    float total = 0;
#pragma unroll
    for (int j = 0; j < kScores; ++j) {
      const float w = exp2_of(fmaf(s[i][j], scale, -shift));
      weights[(at.row + i) * kWeightPitch + at.lane + 16 * j] = w;
      total += w;
    }
    sum[i] = fmaf(sum[i], factor, total);
#pragma unroll
    for (int c = 0; c < kVectors; ++c)
#pragma unroll
      for (int e = 0; e < kVector; ++e) o[i][c][e] *= factor;
  }
}

inline void store(const AttentionArguments& a, const Tile& t, char* out, float2* stats, const Output& o,
                  const float (&top)[kMine], const float (&sum)[kMine], float scale, Place at) {
#if !SPLIT
  const bool wide = a.y_wide && ((u64)out & 15) == 0;
#endif
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    const float total = sum_of_16(sum[i]);
    const int row = t.row0 + at.row + i;
    if (row >= a.rows) continue;
#if SPLIT
    const i64 place = ((i64)t.split * a.units_total + (i64)t.batch * a.units + t.unit) * a.rows + row;
    float* to = (float*)out + place * HEAD;
    if (at.lane == 0) stats[place] = make_float2(top[i] * scale, total);
#else
    const float factor = divisor(total);
    float* to = (float*)output_row(a, t, out, row);
#endif
#pragma unroll
    for (int c = 0; c < kVectors; ++c) {
      const int column = (c * 16 + at.lane) * kVector;
      Pack<float, kVector> x;
#if SPLIT
#pragma unroll
      for (int e = 0; e < kVector; ++e) x.e[e] = o[i][c][e];
      *(Pack<float, kVector>*)(to + column) = x;
#else
#pragma unroll
      for (int e = 0; e < kVector; ++e) x.e[e] = o[i][c][e] * factor;
      if (wide && column < a.e) *(Pack<float, kVector>*)(to + column) = x;
      if (!wide) {
#pragma unroll
        for (int e = 0; e < kVector; ++e)
          if (column + e < a.e) to[column + e] = x.e[e];
      }
#endif
    }
  }
}

KERNEL void __launch_bounds__(kThreads, MIN_BLOCKS)
    attention(const char* q, const char* k, const char* v, const void* mask, char* out, float2* stats,
              const AttentionArguments a) {
  grid_release();
  SHARED_MEMORY(memory);
  unsigned char* pipeline = memory + kRows * kPitch;
  float* weights = (float*)(pipeline + STAGES * 2 * kHalfStage);
  u32* bits = (u32*)(weights + kRows * kWeightPitch);
  Tile t = this_tile(a);
  const int key_head = t.unit * a.pack / a.group;
  k += t.batch * a.k_b + key_head * a.k_h;
  v += t.batch * a.v_b + key_head * a.v_h;
  q += t.batch * a.q_b + (i64)t.unit * a.pack * a.q_h;
  const bool k_wide = a.k_wide && ((u64)k & 15) == 0, v_wide = a.v_wide && ((u64)v & 15) == 0;
  grid_wait();

  load_queries(a, t, q, memory);
  if (MASK == 1) read_key_mask(a, (const u8*)mask + t.batch * a.mask_b, bits, t);
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; ++stage) {
    const int key = t.begin + stage * BLOCK_N;
    if (key < t.end) load_keys(a, t, k, v, bits, key, pipeline + stage * 2 * kHalfStage, k_wide, v_wide);
    copy_commit();
  }
  const Place at{(int)threadIdx.x / 16 * kMine, (int)threadIdx.x % 16};
  Output o;
  float top[kMine], sum[kMine];
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    top[i] = minus_inf();
    sum[i] = 0;
#pragma unroll
    for (int c = 0; c < kVectors; ++c)
#pragma unroll
      for (int e = 0; e < kVector; ++e) o[i][c][e] = 0;
  }
  const float scale = MASK == 3 ? 1.0f : a.scale;  // of the scores when they are softened

  int stage = 0;
#pragma unroll 1
  for (int key = t.begin; key < t.end; key += BLOCK_N) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    const int ahead = key + (STAGES - 1) * BLOCK_N;
    const int free_stage = stage == 0 ? STAGES - 1 : stage - 1;
    if (ahead < t.end) load_keys(a, t, k, v, bits, ahead, pipeline + free_stage * 2 * kHalfStage, k_wide, v_wide);
    copy_commit();
    const float* keys = (const float*)(pipeline + stage * 2 * kHalfStage);
    Scores s;
    score(s, (const float*)memory, keys, at);
#if MASK >= 2
    apply_mask(s, (const Masked*)mask, a, t, at, key);
#endif
    if (MASK == 1 || a.causal || key + BLOCK_N > t.end) hide(s, a, t, bits, at, key);
    soften(s, weights, o, top, sum, scale, at);
    __syncwarp();  // a row's weights are written and read by the same 16 lanes
    add_values(o, weights, keys + kHalfStage / 4, at);
    __syncwarp();
    stage = stage == STAGES - 1 ? 0 : stage + 1;
  }
  copy_wait<0>();
  store(a, t, out, stats, o, top, sum, scale, at);
}

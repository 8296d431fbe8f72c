// SPDX-License-Identifier: Apache-2.0
// y = softmax(q k^T scale + mask) v of bf16 or f16 on tensor cores (mma.sync), scores and sums in f32. FlashAttention-2
// (Dao 2023): a block keeps a tile of queries and walks the keys, a running maximum and sum for each row; scores never
// leave registers, keys and values come through shared memory, STAGES
// blocks of them in flight (cp.async).
//
//   -D ELEM=bf16|f16      HEAD     size of a head, rounded up to a multiple of 16; the rest is zeros
//      WARPS_M, WARPS_N   warps along the queries, and along the keys of a block of BLOCK_N
//      M_TILES            16-row tiles of a warp: rows of a block = 16 M_TILES WARPS_M
//      MASK               0 none, 1 key, 2 bool, 3 add (of type ADDED)
//      SPLIT              1: writes sums of one part of the keys, which attention_join puts together (flash-decoding)
//      STAGES, MIN_BLOCKS buffers for keys and values; blocks that shall fit one multiprocessor
//
// Without SPLIT `stats` is null or i32 [batch]: entries that are not 0 are left alone, another kernel wrote them.
//
// Warps along the keys keep maxima and sums of their own and meet once, at the end: few queries still fill a block.
#ifndef KPT_EMULATED
#include "kpt/kernels/attention/arguments.cuh"
#include "kpt/kernels/lib/cuda/warp.cuh"
#endif

constexpr int kWarps = WARPS_M * WARPS_N;
constexpr int kThreads = 32 * kWarps;
constexpr int kRows = 16 * M_TILES * WARPS_M;
constexpr int kPitch = HEAD * 2 + 16;  // bytes of a row in shared memory: rows of ldmatrix fall on different banks
constexpr int kChunks = HEAD / 8;      // of 16 bytes in a row
constexpr int kColumns = HEAD / 8;     // 8-column tiles of a row of the output
constexpr int kWarpKeys = BLOCK_N / WARPS_N;
constexpr int kKeyTiles = kWarpKeys / 8;
constexpr int kHalfStage = BLOCK_N * kPitch;  // keys, then as much of values
constexpr int kQueryBytes = kRows * kPitch;
constexpr bool kQueriesStay = HEAD * M_TILES <= 64;  // in registers; else they are read again for each block of keys
constexpr int kJoinPitch = HEAD + 4;                 // floats

#include "kpt/kernels/attention/common.cuh"

// The rows of a warp: row [m][h] of a thread is first + 16 m + 8 h + lane / 4.
struct Rows {
  int first;
  int least, most;  // keys that all rows see come before `least`; from `most` on no row sees any
};

inline Rows these_rows(const AttentionArguments& a, const Tile& t, int first) {
  Rows r{first, t.end, t.end};
  if (a.causal) {
    r.least = min(t.end, first / a.pack + 1);
    r.most = min(t.end, (min(first + 16 * M_TILES, a.rows) - 1) / a.pack + 1);
  }
  if (first >= a.rows) r.most = 0;
  return r;
}

using Scores = float[M_TILES][kKeyTiles][4];
using Output = float[M_TILES][kColumns][4];
using Queries = u32[M_TILES][kQueriesStay ? HEAD / 16 : 1][4];

inline void score(Scores& s, const Queries& queries, u32 q_at, u32 k_at) {
#pragma unroll
  for (int m = 0; m < M_TILES; ++m)
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[m][n][i] = 0;
#pragma unroll
  for (int d = 0; d < HEAD / 16; ++d) {
    u32 q[M_TILES][4];
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
      if (kQueriesStay) {
#pragma unroll
        for (int i = 0; i < 4; ++i) q[m][i] = queries[m][kQueriesStay ? d : 0][i];
      } else {
        load_matrices(q[m], q_at + m * 16 * kPitch + d * 32);
      }
    }
#pragma unroll
    for (int n = 0; n < kKeyTiles; n += 2) {
      u32 k[4];
      load_matrices(k, k_at + n * 8 * kPitch + d * 32);
#pragma unroll
      for (int m = 0; m < M_TILES; ++m) {
        multiply_add(s[m][n], q[m], k[0], k[1], ELEM{});
        multiply_add(s[m][n + 1], q[m], k[2], k[3], ELEM{});
      }
    }
  }
}

inline void add_values(Output& o, const Scores& p, u32 v_at) {
#pragma unroll
  for (int k = 0; k < kKeyTiles / 2; ++k) {
    u32 w[M_TILES][4];
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
      w[m][0] = pack_pair(p[m][2 * k][0], p[m][2 * k][1], ELEM{});
      w[m][1] = pack_pair(p[m][2 * k][2], p[m][2 * k][3], ELEM{});
      w[m][2] = pack_pair(p[m][2 * k + 1][0], p[m][2 * k + 1][1], ELEM{});
      w[m][3] = pack_pair(p[m][2 * k + 1][2], p[m][2 * k + 1][3], ELEM{});
    }
#pragma unroll
    for (int n = 0; n < kColumns; n += 2) {
      u32 v[4];
      load_matrices_transposed(v, v_at + k * 16 * kPitch + n * 16);
#pragma unroll
      for (int m = 0; m < M_TILES; ++m) {
        multiply_add(o[m][n], w[m], v[0], v[1], ELEM{});
        multiply_add(o[m][n + 1], w[m], v[2], v[3], ELEM{});
      }
    }
  }
}

// Scores whose first column is key `column` of the thread, whose first row is `row`.
inline void hide_bounds(Scores& s, const AttentionArguments& a, const Tile& t, int row, int column) {
#pragma unroll
  for (int m = 0; m < M_TILES; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int end = limit(a, t, row + 16 * m + 8 * h);
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j)
          if (column + n * 8 + j >= end) s[m][n][2 * h + j] = minus_inf();
    }
}

// Does the mask hide any of the warp's keys from `first` on?
inline bool hides(const u32* bits, int first) {
  constexpr u32 kAll = kWarpKeys >= 32 ? ~0u : (1u << kWarpKeys % 32) - 1;
  bool any = false;
#pragma unroll
  for (int w = 0; w < (kWarpKeys + 31) / 32; ++w) any |= (~(bits[(first >> 5) + w] >> (first & 31)) & kAll) != 0;
  return any;
}

inline void hide_keys(Scores& s, const u32* bits, int column) {
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
    const int key = column + n * 8;
    const u32 keep = bits[key >> 5] >> (key & 31);  // key is even: its neighbour is in the same word
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (!(keep >> (i & 1) & 1)) s[m][n][i] = minus_inf();
  }
}

#if MASK >= 2
// Hides scores, or adds to them: then they are in units of log2 afterwards.
inline void apply_mask(Scores& s, const Masked* mask, const AttentionArguments& a, const Tile& t, int row, int column) {
  const bool pairs = a.mask_pairs && ((u64)mask & (2 * sizeof(Masked) - 1)) == 0;
  mask += t.batch * a.mask_b + (i64)t.unit * a.pack * a.mask_h;
#pragma unroll
  for (int m = 0; m < M_TILES; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = min(row + 16 * m + 8 * h, a.rows - 1), query = a.pack == 1 ? r : r / a.pack;
      const Masked* line = mask + (r - query * a.pack) * a.mask_h + query * a.mask_s + column * a.mask_t;
      const int left = t.end - column;
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
        Pack<Masked, 2> x = {};
        if (pairs) {
          if (n * 8 < left) x = *(const Pack<Masked, 2>*)(line + n * 8);  // the row has an even number of keys
        } else {
          if (n * 8 < left) x.e[0] = line[n * 8 * a.mask_t];
          if (n * 8 + 1 < left) x.e[1] = line[(n * 8 + 1) * a.mask_t];
        }
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& score = s[m][n][2 * h + j];
#if MASK == 2
          if (!x.e[j].bits) score = minus_inf();
#else
          score = fmaf(score, a.scale, mask_in_log2(to_float(x.e[j])));
#endif
        }
      }
    }
}
#endif

// Scores become weights 2^((score - maximum) scale); what was summed before is brought to the new maximum.
inline void soften(Scores& s, Output& o, float (&top)[M_TILES][2], float (&sum)[M_TILES][2], float scale) {
#pragma unroll
  for (int m = 0; m < M_TILES; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float most = top[m][h];
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) most = fmaxf(most, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
      const float shift = most == minus_inf() ? 0.0f : most * scale;
      const float factor = exp2_of(fmaf(top[m][h], scale, -shift));
      top[m][h] = most;
      float total = 0;
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& x = s[m][n][2 * h + j];
          x = exp2_of(fmaf(x, scale, -shift));
          total += x;
        }
      sum[m][h] = fmaf(sum[m][h], factor, total);
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j) o[m][n][2 * h + j] *= factor;
    }
}

// A warp's rows through shared memory of its own (its queries', which only it reads), then out in whole chunks.
inline void store_rows(const AttentionArguments& a, const Tile& t, char* y, Output& o, const float (&sum)[M_TILES][2],
                       unsigned char* at, int row0, int lane) {
#pragma unroll
  for (int m = 0; m < M_TILES; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float factor = divisor(sum[m][h]);
      unsigned char* row = at + (16 * m + 8 * h + lane / 4) * kPitch + lane % 4 * 4;
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
        *(u32*)(row + n * 16) = pack_pair(o[m][n][2 * h] * factor, o[m][n][2 * h + 1] * factor, ELEM{});
    }
  __syncwarp();
  const bool wide = a.y_wide && ((u64)y & 15) == 0;
#pragma unroll
  for (int i = 0; i < M_TILES * kChunks / 2; ++i) {
    const int item = i * 32 + lane, row = item / kChunks, chunk = item % kChunks;
    if (row0 + row < a.rows)
      store_chunk(a, output_row(a, t, y, row0 + row), chunk, *(const Pack<ELEM, 8>*)(at + row * kPitch + chunk * 16),
                  wide);
  }
}

// Sums of the warps along the keys meet in shared memory.
struct Meeting {
  float2* stats;  // [WARPS_N][kRows]: maximum in units of log2, sum
  float* sums;    // [WARPS_N][kRows][kJoinPitch]
};
inline Meeting meeting(unsigned char* memory) {
  return {(float2*)memory, (float*)(memory + WARPS_N * kRows * sizeof(float2))};
}

inline void leave_sums(const Meeting& meet, const Output& o, const float (&top)[M_TILES][2],
                       const float (&sum)[M_TILES][2], float scale, int warp_n, int row0, int lane) {
#pragma unroll
  for (int m = 0; m < M_TILES; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp_n * kRows + row0 + 16 * m + 8 * h + lane / 4;
      if (lane % 4 == 0) meet.stats[row] = make_float2(top[m][h] * scale, sum[m][h]);
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
        *(float2*)(meet.sums + row * kJoinPitch + n * 8 + lane % 4 * 2) =
            make_float2(o[m][n][2 * h], o[m][n][2 * h + 1]);
    }
}

// Row `row` of the block: the common maximum and sum, and what each warp's numbers are multiplied by.
inline float2 common(const Meeting& meet, int row, float (&factor)[WARPS_N]) {
  float most = minus_inf(), sum = 0;
#pragma unroll
  for (int w = 0; w < WARPS_N; ++w) most = fmaxf(most, meet.stats[w * kRows + row].x);
#pragma unroll
  for (int w = 0; w < WARPS_N; ++w) {
    const float2 one = meet.stats[w * kRows + row];
    factor[w] = one.y == 0 ? 0.0f : exp2_of(one.x - most);
    sum = fmaf(one.y, factor[w], sum);
  }
  return make_float2(most, sum);
}

// Out: y, or with SPLIT the sums [split][row of all][HEAD] and their float2 (maximum, sum).
inline void join_warps(const AttentionArguments& a, const Tile& t, char* out, float2* stats, const Meeting& meet) {
#if !SPLIT
  const bool wide = a.y_wide && ((u64)out & 15) == 0;
#endif
#pragma unroll 1
  for (int item = (int)threadIdx.x; item < kRows * kChunks; item += kThreads) {
    const int row = item / kChunks, chunk = item % kChunks;
    if (t.row0 + row >= a.rows) break;
    float factor[WARPS_N], x[8] = {};
    const float2 all = common(meet, row, factor);
#pragma unroll
    for (int w = 0; w < WARPS_N; ++w) {
      const float4* from = (const float4*)(meet.sums + (w * kRows + row) * kJoinPitch + chunk * 8);
      const float4 low = from[0], high = from[1];
      const float part[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = fmaf(part[i], factor[w], x[i]);
    }
#if SPLIT
    const i64 at = ((i64)t.split * a.units_total + (i64)t.batch * a.units + t.unit) * a.rows + t.row0 + row;
    float4* to = (float4*)((float*)out + at * HEAD + chunk * 8);
    to[0] = make_float4(x[0], x[1], x[2], x[3]);
    to[1] = make_float4(x[4], x[5], x[6], x[7]);
    if (chunk == 0) stats[at] = all;
#else
    const float inverse = divisor(all.y);
    Pack<ELEM, 8> values;
#pragma unroll
    for (int i = 0; i < 8; ++i) values.e[i] = from_float<ELEM>(x[i] * inverse);
    store_chunk(a, output_row(a, t, out, t.row0 + row), chunk, values, wide);
#endif
  }
}

KERNEL void __launch_bounds__(kThreads, MIN_BLOCKS)
    attention(const char* q, const char* k, const char* v, const void* mask, char* out, float2* stats,
              const AttentionArguments a) {
  grid_release();
  SHARED_MEMORY(memory);
  unsigned char* pipeline = memory + kQueryBytes;
  u32* bits = (u32*)(pipeline + STAGES * 2 * kHalfStage);
  const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
  const int warp_m = warp / WARPS_N, warp_n = warp % WARPS_N;
  const int warp_row0 = warp_m * 16 * M_TILES;
  Tile t = this_tile(a);
  const int key_head = t.unit * a.pack / a.group;
  k += t.batch * a.k_b + key_head * a.k_h;
  v += t.batch * a.v_b + key_head * a.v_h;
  q += t.batch * a.q_b + (i64)t.unit * a.pack * a.q_h;
  const bool k_wide = a.k_wide && ((u64)k & 15) == 0, v_wide = a.v_wide && ((u64)v & 15) == 0;
  grid_wait();
#if !SPLIT
  if (stats && ((const int*)stats)[t.batch]) return;  // done by another kernel
#endif

  load_queries(a, t, q, memory);
  if (MASK == 1) read_key_mask(a, (const u8*)mask + t.batch * a.mask_b, bits, t);
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; ++stage) {
    const int key = t.begin + stage * BLOCK_N;
    if (key < t.end) load_keys(a, t, k, v, bits, key, pipeline + stage * 2 * kHalfStage, k_wide, v_wide);
    copy_commit();
  }

  const Rows rows = these_rows(a, t, t.row0 + warp_row0);
  const u32 q_at = shared_address(memory) + (warp_row0 + lane % 16) * kPitch + lane / 16 * 16;
  const u32 k_at =
      shared_address(pipeline) + (warp_n * kWarpKeys + lane % 8 + lane / 16 * 8) * kPitch + lane / 8 % 2 * 16;
  const u32 v_at = shared_address(pipeline) + kHalfStage + (warp_n * kWarpKeys + lane % 16) * kPitch + lane / 16 * 16;
  Queries queries;
  Output o;
  float top[M_TILES][2], sum[M_TILES][2];
#pragma unroll
  for (int m = 0; m < M_TILES; ++m) {
    top[m][0] = top[m][1] = minus_inf();
    sum[m][0] = sum[m][1] = 0;
#pragma unroll
    for (int n = 0; n < kColumns; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) o[m][n][i] = 0;
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
    if (kQueriesStay && key == t.begin) {
#pragma unroll
      for (int m = 0; m < M_TILES; ++m)
#pragma unroll
        for (int d = 0; d < (kQueriesStay ? HEAD / 16 : 1); ++d)
          load_matrices(queries[m][d], q_at + m * 16 * kPitch + d * 32);
    }
    const int first = key + warp_n * kWarpKeys, column = first + lane % 4 * 2;
    if (first < rows.most) {
      Scores s;
      score(s, queries, q_at, k_at + stage * 2 * kHalfStage);
#if MASK >= 2
      apply_mask(s, (const Masked*)mask, a, t, rows.first + lane / 4, column);
#endif
      if (MASK == 1 && hides(bits, first)) hide_keys(s, bits, column);
      if (first + kWarpKeys > rows.least) hide_bounds(s, a, t, rows.first + lane / 4, column);
      soften(s, o, top, sum, scale);
      add_values(o, s, v_at + stage * 2 * kHalfStage);
    }
    stage = stage == STAGES - 1 ? 0 : stage + 1;
  }

#pragma unroll
  for (int m = 0; m < M_TILES; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sum[m][h] += __shfl_xor_sync(0xffffffffu, sum[m][h], 1);
      sum[m][h] += __shfl_xor_sync(0xffffffffu, sum[m][h], 2);
    }
  copy_wait<0>();
  __syncthreads();  // shared memory is read no more: results take its place
  if (WARPS_N == 1 && !SPLIT) {
    store_rows(a, t, out, o, sum, memory + warp_row0 * kPitch, t.row0 + warp_row0, lane);
    return;
  }
  const Meeting meet = meeting(memory);
  leave_sums(meet, o, top, sum, scale, warp_n, warp_row0, lane);
  __syncthreads();
  join_warps(a, t, out, stats, meet);
}

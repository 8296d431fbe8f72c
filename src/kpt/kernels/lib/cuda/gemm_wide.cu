// SPDX-License-Identifier: Apache-2.0
// y[m][n] = act(sum over k of x[m][k] w[n][k] + bias[n]) for many rows, sm_90a, bf16 or f16, sums in f32.
//
//   -D ELEM=bf16|f16   ACT: kpt::Act   BIAS: 0 or 1   W_ALONG_DEPTH: w's depth contiguous (1) or its rows' index (0)
//   Y_BOXES: y by the copy engine, its rows all alike (1) or in classes (2), or by threads, rows on any element (0)
//   PAIR_ROWS: which side the blocks of a cluster have apart
//   PARTS: pieces of 16 columns finished beside one step of depth, 1 or 2
//
// A block takes 128 rows of x and 256 of w. The two of a cluster have different rows of x (PAIR_ROWS 1) or of w (0) and
// the other side in common: each loads half of that for both (multicast). A block is three warpgroups: one thread of
// the first asks the copy engine for steps of 64 of the depth, four in flight; the two others have 64 rows of x each,
// sums in registers. As many blocks as multiprocessors walk over the tiles.
//
// What other products do after their last step, with the tensor cores idle, is put off here: sums are rounded, with
// their bias, to half as many registers, and the activation is computed piece by piece while the next tile's products
// are under way. Rounding comes before the activation, as where a model calls linear and activation one after the
// other. Tiles, swizzle and the split of roles: CUTLASS 3 (sm90 warp-specialised cooperative); the putting off is ours.
#include "kpt/kernels/lib/cuda/act.cuh"
#include "kpt/kernels/lib/cuda/gemm_wide.cuh"
#include "kpt/kernels/lib/cuda/warp.cuh"
#include "kpt/kernels/lib/cuda/warpgroup.cuh"

constexpr u32 kX = kWideX * kWideDepth * 2, kW = kWideW * kWideDepth * 2;  // bytes of a step
constexpr u32 kStep = kX + kW, kStore = 64 * 64 * 2;
constexpr int kChunks = 4, kPieces = 4;  // of a tile, 64 columns each; of a chunk, 16 each

struct Block {
  u32 steps, stores, bias, full, empty;  // shared memory: ring of steps, staged y, bias, barriers
  u32 rank;
  int group;  // 0 or 1: whose rows
};

constexpr bool kClasses = Y_BOXES == 2;

inline WidePlace place_of(const WideArguments& a, int tile, u32 rank) {
  if (PAIR_ROWS) return wide_place<kClasses>(a, tile, (int)rank);
  const WideTile t = wide_tile(a, tile);
  return {t.row * kWideX, (2 * t.column + (int)rank) * kWideW, 0};
}

inline void load_step(const WideArguments& a, const Block& at, const TensorMap& x, const TensorMap& w,
                      const WidePlace& place, int depth, u32 to, u32 full) {
  const int rank = (int)at.rank;
  if (PAIR_ROWS)
    box_load(to, x, full, kClasses ? depth + place.of_class * a.x_row : depth, place.row);
  else
    box_load_multicast(to + at.rank * (kX / 2), x, full, depth, place.row + rank * (kWideX / 2), 3);
  to += kX;
  if (PAIR_ROWS && W_ALONG_DEPTH) {
    box_load_multicast(to + at.rank * (kW / 2), w, full, depth, place.column + rank * (kWideW / 2), 3);
  } else if (W_ALONG_DEPTH) {
    box_load(to, w, full, depth, place.column);
  } else if (PAIR_ROWS) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int columns = 2 * rank + i;  // 64 of them
      box_load_multicast(to + columns * (kW / 4), w, full, place.column + columns * 64, depth, 3);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) box_load(to + i * (kW / 4), w, full, place.column + i * 64, depth);
  }
}

inline void produce(const WideArguments& a, const Block& at, const TensorMap& x, const TensorMap& w) {
  u32 stage = 0, parity = 1;
  for (int tile = blockIdx.x / 2; tile < a.tiles; tile += gridDim.x / 2) {
    const WidePlace place = place_of(a, tile, at.rank);
#pragma unroll 1
    for (int k = 0; k < a.steps; ++k) {
      const u32 full = at.full + stage * 8, to = at.steps + stage * kStep;
      barrier_wait(at.empty + stage * 8, parity);
      barrier_expect(full, kStep);
      load_step(a, at, x, w, place, k * kWideDepth, to, full);
      if (++stage == kWideStages) stage = 0, parity ^= 1;
    }
  }
}

struct Consumer {
  u32 stage = 0, parity = 0;
};

// Waits for a step and puts its products under way.
inline void multiply(Consumer& c, const Block& at, float (&sums)[128], bool first) {
  barrier_wait(at.full + c.stage * 8, c.parity);
  const u32 from = at.steps + c.stage * kStep;
  const u64 x = matrix_at(from + at.group * (kX / 2));
  const u64 w = W_ALONG_DEPTH ? matrix_at(from + kX) : matrix_across_at(from + kX, kW / 4);
  products_begin();
#pragma unroll
  for (int i = 0; i < kWideDepth / 16; ++i)
    product<W_ALONG_DEPTH>(sums, x + 2 * i, w + (W_ALONG_DEPTH ? 2 : 128) * i, first && i == 0 ? 0 : 1, ELEM{});
  products_commit();
  if (++c.stage == kWideStages) c.stage = 0, c.parity ^= 1;
}

// The last step that was put under way, or the one before it, is no longer read.
inline void release(const Consumer& c, const Block& at, u32 steps_ago) {
  const u32 stage = (c.stage + kWideStages - 1 - steps_ago) % kWideStages;
  if (threadIdx.x % 32 < 2) barrier_arrive(at.empty + stage * 8, threadIdx.x % 32);
}

inline u32 activated(u32 two) {
  const float low = to_float(ELEM{(unsigned short)two}), high = to_float(ELEM{(unsigned short)(two >> 16)});
  return pack_pair(act<ACT, 2>(low), act<ACT, 2>(high), ELEM{});
}

// 16 of the 64 columns that stand first in `held`: activation, and a place in shared memory.
template <int PIECE>
inline void finish(const u32 (&held)[64], u32 buffer) {
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const u32 row = warp * 16 + lane % 16, piece = PIECE * 2 + lane / 16;
  u32 v[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = ACT == 0 ? held[4 * PIECE + i] : activated(held[4 * PIECE + i]);
  store_matrices(buffer + row * 128 + (piece ^ row % 8) * 16, v[0], v[1], v[2], v[3]);
}

// 64 staged columns by threads. A warp has 16 rows, a lane two neighbours that share a word of memory: of a row that
// starts inside a word, elements 1 to 62 go so, and the two at its ends for all such rows at once, a lane each.
inline void copy_out(const WideArguments& a, u32 buffer, ELEM* y, int row0, int column0) {
  constexpr int kBatch = 8;
  const int warp = (int)threadIdx.x / 32 % 4, lane = (int)threadIdx.x % 32;
  const int left = kClasses ? 64 : a.n - column0;  // with classes no tile goes beyond its row
  const i64 y_row = kClasses ? a.classes * a.y_row : a.y_row;
  const int rows = a.m - row0 - warp * 16;
  const u32 from = buffer + warp * 16 * 128;
  ELEM* to = y + (i64)(row0 + warp * 16) * y_row + column0;
  {
    ELEM* const row = to + lane * y_row;
    const u32 odd = (u32)((u64)row >> 1 & 1), at = from + lane * 128 + lane % 8 * 16;
    const int last = min(left, 64) - 1;  // with no other beside it, where the word it opens or closes is cut
    if (lane < min(rows, 16) && last >= 0) {
      if (odd || last == 0) row[0].bits = (unsigned short)load_half(at);
      if (last > 0 && (last & 1) == odd) row[last].bits = (unsigned short)load_half(at ^ last * 2);
    }
  }
#pragma unroll 1
  for (int batch = 0; batch < 16; batch += kBatch) {
    u32 word[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) word[i] = load_word(from + (batch + i) * 128 + (lane * 4 ^ i * 16));
#pragma unroll
    for (int i = 0; i < kBatch; ++i, to += y_row) {
      const bool odd = (u64)to >> 1 & 1;
      const u32 next = __shfl_down_sync(0xffffffff, word[i], 1);
      const int first = 2 * lane + odd;
      if (batch + i < rows && first + 1 < min(left, 64))
        *(u32*)(to + first) = odd ? __funnelshift_r(word[i], next, 16) : word[i];
    }
  }
}

// 64 finished columns go to memory, and the next 64 stand first.
inline void send(const WideArguments& a, const Block& at, u32 (&held)[64], u32 buffer, const WidePlace& place,
                 int chunk, const TensorMap& y_map, ELEM* y) {
  const bool first = threadIdx.x % 128 == 0;
  const int row = place.row + at.group * 64, column = place.column + chunk * 64;
  if (Y_BOXES) {
    copy_engine_fence();
    if (first) box_stores_read();  // the other buffer is free: all behind the barrier know it
  }
  some_threads_sync(1 + at.group, 128);
  // The copy engine takes no box that starts off 16 bytes: the first and last tiles of most rows of classes.
  const bool boxed = kClasses ? column % 8 == 0 : Y_BOXES == 1;
  if (!boxed) copy_out(a, buffer, y, row, column);
  if (boxed && first) box_store(y_map, buffer, column, row);
#pragma unroll
  for (int i = 0; i < 48; ++i) held[i] = held[i + 16];
}

// Steps of a tile, and beside them, where there is one, 64 columns of the tile before.
template <int STEP>
inline void steps_beside(Consumer& c, const Block& at, float (&sums)[128], const u32 (&held)[64], u32 buffer, int chunk,
                         bool any_before) {
  if constexpr (STEP < kPieces / PARTS) {
    multiply(c, at, sums, STEP == 0 && chunk == 0);
    products_wait<1>();
    if (STEP > 0 || chunk > 0) release(c, at, 1);
    if (any_before) {
      finish<STEP * PARTS>(held, buffer);
      if constexpr (PARTS == 2) finish<STEP * PARTS + 1>(held, buffer);
    }
    steps_beside<STEP + 1>(c, at, sums, held, buffer, chunk, any_before);
  }
}

inline void consume(const WideArguments& a, const Block& at, const TensorMap& y_map, const ELEM* bias, ELEM* y) {
  float sums[128];
  u32 held[64];
  Consumer c;
  WidePlace before = {0, 0, 0};
  bool any_before = false;
#pragma unroll
  for (int i = 0; i < 64; ++i) held[i] = 0;
  for (int tile = blockIdx.x / 2; tile < a.tiles; tile += gridDim.x / 2) {
    const WidePlace place = place_of(a, tile, at.rank);
    const int column = place.column + (int)threadIdx.x % 128 * 2;
    u32 two = 0;
    if (BIAS && column < a.n) two = bias[column].bits;
    if (BIAS && column + 1 < a.n) two |= (u32)bias[column + 1].bits << 16;
#pragma unroll 1
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const u32 buffer = at.stores + chunk % 2 * kStore;
      steps_beside<0>(c, at, sums, held, buffer, chunk, any_before);
      if (any_before) send(a, at, held, buffer, before, chunk, y_map, y);
    }
    // Barriers of send() lie behind the last reads of the bias of the tile before.
    if (BIAS) store_word(at.bias + threadIdx.x % 128 * 4, two);
#pragma unroll 1
    for (int k = kChunks * kPieces / PARTS; k < a.steps; ++k) {
      multiply(c, at, sums, false);
      products_wait<1>();
      release(c, at, 1);
    }
    if (BIAS) some_threads_sync(1 + at.group, 128);
    products_wait<0>();
    release(c, at, 0);
#pragma unroll
    for (int j = 0; j < 32; ++j) {
      const u32 add = BIAS ? load_word(at.bias + (8 * j + threadIdx.x % 4 * 2) * 2) : 0;
      const float low = to_float(ELEM{(unsigned short)add}), high = to_float(ELEM{(unsigned short)(add >> 16)});
      held[2 * j] = pack_pair(sums[4 * j] + low, sums[4 * j + 1] + high, ELEM{});
      held[2 * j + 1] = pack_pair(sums[4 * j + 2] + low, sums[4 * j + 3] + high, ELEM{});
    }
    before = place;
    if (kClasses) before.column += place.of_class * (int)a.y_row;  // in a row of all classes
    any_before = true;
  }
  if (any_before)
#pragma unroll 1
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const u32 buffer = at.stores + chunk % 2 * kStore;
      finish<0>(held, buffer);
      finish<1>(held, buffer);
      finish<2>(held, buffer);
      finish<3>(held, buffer);
      send(a, at, held, buffer, before, chunk, y_map, y);
    }
  if (Y_BOXES && threadIdx.x % 128 == 0) box_stores_wait();
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)
    gemm_wide(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
              const __grid_constant__ TensorMap y_map, const ELEM* bias, ELEM* y, WideArguments a) {
  extern __shared__ __align__(1024) unsigned char memory[];
  grid_release();
  Block at;
  at.steps = (shared_address(memory) + 1023) / 1024 * 1024;
  at.stores = at.steps + kWideStages * kStep;
  at.bias = at.stores + 4 * kStore;
  at.full = at.bias + 2 * kWideW * 2;
  at.empty = at.full + kWideStages * 8;
  at.rank = cluster_rank();
  if (threadIdx.x == 0) {
    for (u32 i = 0; i < kWideStages; ++i) {
      barrier_init(at.full + i * 8, 1);
      barrier_init(at.empty + i * 8, 16);  // warps of both blocks that multiply
    }
    barrier_init_fence();
  }
  cluster_arrive();
  cluster_wait();
  grid_wait();
  if (threadIdx.x < 128) {
    leave_registers<24>();
    if (threadIdx.x == 0) produce(a, at, x, w);
  } else {
    take_registers<240>();
    at.group = (int)(threadIdx.x / 128) - 1;
    at.stores += (u32)at.group * 2 * kStore;
    at.bias += (u32)at.group * kWideW * 2;
    consume(a, at, y_map, bias, y);
  }
  // The other block may still write to this one's shared memory and arrive at its barriers.
  cluster_arrive();
  cluster_wait();
}

// SPDX-License-Identifier: Apache-2.0
// What the attention kernels share: the tile of a block, loads into shared memory, masks, stores. The file that
// includes it says before: ELEM, HEAD, BLOCK_N, MASK (and ADDED), kThreads, kRows (of a tile), kPitch (bytes of a row
// in shared memory), kChunks (of 16 bytes in a row), kHalfStage (bytes of a block of keys in shared memory).
constexpr int kLane = 16 / (int)sizeof(ELEM);  // elements of a chunk

inline float minus_inf() { return __int_as_float((int)0xff800000u); }

// What this block works on.
struct Tile {
  int unit, batch, split, row0;  // unit: in the batch entry
  int begin, end;                // keys
};

inline Tile this_tile(const AttentionArguments& a) {
  int id = (int)blockIdx.x, tile, of_all;
  Tile t;
  if (a.causal) {  // the longest first
    of_all = id % a.units_total;
    id /= a.units_total;
    t.split = id % a.splits;
    tile = a.tiles - 1 - id / a.splits;
  } else {  // neighbours read the same keys
    tile = id % a.tiles;
    id /= a.tiles;
    t.split = id % a.splits;
    of_all = id / a.splits;
  }
  t.unit = of_all % a.units;
  t.batch = of_all / a.units;
  t.row0 = tile * kRows;
  t.begin = t.split * a.split_keys;
  t.end = min(a.t, t.begin + a.split_keys);
  if (a.causal) t.end = min(t.end, (min(t.row0 + kRows, a.rows) - 1) / a.pack + 1);
  return t;
}

// One element after the other into rows of shared memory, for operands that allow no wide access. place(row): its
// address, null for a row of zeros.
template <class Place>
inline void load_slowly(unsigned char* to, int rows, Place place, int size, int step) {
#pragma unroll 1
  for (int item = (int)threadIdx.x; item < rows * HEAD; item += kThreads) {
    const int row = item / HEAD, column = item % HEAD;
    const char* from = place(row);
    const bool inside = from != nullptr && column < size;
    *(ELEM*)(to + row * kPitch + column * (int)sizeof(ELEM)) =
        inside ? *(const ELEM*)(from + (i64)column * step) : ELEM{};
  }
}

// Queries of the tile; called once.
inline void load_queries(const AttentionArguments& a, const Tile& t, const char* q, unsigned char* to) {
  const auto place = [&](int row) -> const char* {
    const int at = t.row0 + row, query = at / a.pack;
    return at < a.rows ? q + query * a.q_s + (at - query * a.pack) * a.q_h : nullptr;
  };
  if (!(a.q_wide && ((u64)q & 15) == 0)) return load_slowly(to, kRows, place, a.d, a.q_d);
  const u32 at = shared_address(to);
#pragma unroll
  for (int i = 0; i < (kRows * kChunks + kThreads - 1) / kThreads; ++i) {
    const int item = (int)threadIdx.x + i * kThreads, row = item / kChunks, chunk = item % kChunks;
    if (kRows * kChunks % kThreads && row >= kRows) break;
    const char* from = place(row);
    const bool whole = from != nullptr && chunk * kLane < a.d;
    copy_async(at + row * kPitch + chunk * 16, whole ? from + chunk * 16 : q, whole);
  }
}

// BLOCK_N rows of keys or values, the first `count` of which exist; keep(row): or zeros.
template <class Keep>
inline void load_block(unsigned char* to, const char* from, int pitch, int count, int size, int step, bool wide,
                       Keep keep) {
  if (!wide) {
    const auto place = [&](int row) { return row < count && keep(row) ? from + (i64)row * pitch : nullptr; };
    return load_slowly(to, BLOCK_N, place, size, step);
  }
  if (kThreads % kChunks == 0) {  // a thread copies one column of chunks
    constexpr int kStep = kThreads / kChunks;
    const int row = (int)threadIdx.x / kChunks, chunk = (int)threadIdx.x % kChunks;
    const u32 at = shared_address(to) + row * kPitch + chunk * 16;
    from += (i64)row * pitch + chunk * 16;
    if (chunk * kLane >= size) count = 0;
#pragma unroll
    for (int i = 0; i < (BLOCK_N + kStep - 1) / kStep; ++i) {
      if (BLOCK_N % kStep && row + i * kStep >= BLOCK_N) break;
      copy_async(at + i * kStep * kPitch, from, row + i * kStep < count && keep(row + i * kStep));
      from += (i64)kStep * pitch;
    }
    return;
  }
  const u32 at = shared_address(to);
#pragma unroll
  for (int i = 0; i < (BLOCK_N * kChunks + kThreads - 1) / kThreads; ++i) {
    const int item = (int)threadIdx.x + i * kThreads, row = item / kChunks, chunk = item % kChunks;
    if (BLOCK_N * kChunks % kThreads && row >= BLOCK_N) break;
    copy_async(at + row * kPitch + chunk * 16, from + (i64)row * pitch + chunk * 16,
               row < count && chunk * kLane < size && keep(row));
  }
}

// One bit for each key of a key mask, 1 keeps; a row of words that ends behind the last block of keys. Narrows the keys
// to those between the first and the last that are kept.
inline void read_key_mask(const AttentionArguments& a, const u8* mask, u32* bits, Tile& t) {
  const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
  __shared__ int first, last;
  if (threadIdx.x == 0) first = a.t, last = 0;
  __syncthreads();
  const int words = (a.t + 31) / 32;
  for (int w = t.begin / 32 + warp; w < words + BLOCK_N / 32; w += kWarps) {
    const int key = w * 32 + lane;
    const bool keep = key < t.end && mask[key * a.mask_t] != 0;
    const u32 word = __ballot_sync(0xffffffffu, keep);
    if (lane == 0) {
      bits[w] = word;
      if (word) atomicMin(&first, w * 32), atomicMax(&last, w * 32 + 32 - __clz((int)word));
    }
  }
  __syncthreads();
  t.begin = max(t.begin, first);
  t.end = min(t.end, last);
}

// Keys [key, key + BLOCK_N) and their values. Hidden values are zeros: padding may hold anything, and 0 NaN is NaN.
inline void load_keys(const AttentionArguments& a, const Tile& t, const char* k, const char* v, const u32* bits,
                      int key, unsigned char* stage, bool k_wide, bool v_wide) {
  const int count = t.end - key;
  const auto keep = [&](int row) { return MASK != 1 || (bits[(key + row) >> 5] >> ((key + row) & 31) & 1); };
  load_block(stage, k + (i64)key * a.k_t, a.k_t, count, a.d, a.k_d, k_wide, [](int) { return true; });
  load_block(stage + kHalfStage, v + (i64)key * a.v_t, a.v_t, count, a.e, a.v_e, v_wide, keep);
}

// Keys from here on are hidden from the row.
inline int limit(const AttentionArguments& a, const Tile& t, int row) {
  return a.causal ? min(t.end, (a.pack == 1 ? row : row / a.pack) + 1) : t.end;
}

#if MASK == 2
typedef boolean Masked;
#elif MASK == 3
typedef ADDED Masked;
// In units of log2, rounded towards 0: so the lowest finite number, with which models hide keys, stays finite, and a row
// of nothing else weighs all keys alike.
inline float mask_in_log2(float mask) { return __fmul_rz(mask, 1.4426950408889634f); }
#endif

// What a weighted sum is divided by, as a factor. No key was seen where sum is 0: 0, but NaN where -inf was added.
inline float divisor(float sum) {
  if (sum == 0) return MASK == 3 ? __int_as_float(0x7fffffff) : 0.0f;
  return 1.0f / sum;
}

inline char* output_row(const AttentionArguments& a, const Tile& t, char* y, int row) {
  const int query = row / a.pack;
  const i64 head = (i64)t.unit * a.pack + (row - query * a.pack);
  return y + t.batch * a.y_b + head * a.y_h + query * a.y_s;
}

// One chunk of a row.
inline void store_chunk(const AttentionArguments& a, char* row, int chunk, const Pack<ELEM, kLane>& values, bool wide) {
  if (wide) {
    if (chunk * kLane < a.e) *(Pack<ELEM, kLane>*)(row + chunk * 16) = values;
    return;
  }
#pragma unroll
  for (int i = 0; i < kLane; ++i)
    if (chunk * kLane + i < a.e) *(ELEM*)(row + chunk * 16 + i * (int)sizeof(ELEM)) = values.e[i];
}

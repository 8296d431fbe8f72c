// SPDX-License-Identifier: Apache-2.0
// softmax.h over rows of neighbouring elements that registers do not hold. With SLOTS a block keeps its row in shared
// memory as it is stored and takes row after row: each comes and is summed while the one before is written, or memory
// would wait for the exponentials (71 % of a copy, H200). Rows longer than that are read twice, a block a row.
// Defines: ROW, OUT, VEC (16 bytes of the row), THREADS, SLOTS (packs of VEC that a thread keeps in shared memory),
// EXTRA (and in registers).
#include "kpt/kernels/lib/cuda/exponents.cuh"
#include "kpt/kernels/lib/cuda/held.cuh"

struct Softmax {
  u32 rows;
  i32 width, log;
  Rows x, y;
};

constexpr bool kTwoBytes = sizeof(ROW) == 2 && sizeof(OUT) == 2;
typedef ExponentsOf<kTwoBytes> Exponents;
constexpr int kAdded = 8;  // elements between two changes of the exponent
// 64 bytes of the row for a thread: as many loads in flight. Half of it where results take twice as much.
constexpr int kHeld = 64 / (sizeof(ROW) > sizeof(OUT) ? sizeof(ROW) : sizeof(OUT));

// Barriers between two calls keep them apart where each has other slots (one a warp).
inline Exponents block_exponents(Exponents e, Exponents* slots) {
  const auto merge = [&](int step) {
    e.merge({__shfl_xor_sync(0xffffffffu, e.largest, step), __shfl_xor_sync(0xffffffffu, e.sum, step)});
  };
#pragma unroll
  for (int step = 16; step; step >>= 1) merge(step);
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = e;
  __syncthreads();
  e = slots[threadIdx.x % (THREADS / 32)];
#pragma unroll
  for (int step = THREADS / 64; step; step >>= 1) merge(step);
  return e;
}

struct Finish {
  float largest, shift, factor;
  bool log;
  float of(float x) const { return log ? x - largest - shift : term<kTwoBytes>(x, largest) * factor; }
};
inline Finish finish(const Exponents& e, bool log) { return {e.largest, logf(e.sum), 1 / e.sum, log}; }

// packed: x + head and y + head lie where VEC elements can be moved at once; up to VEC - 1 elements before and behind
// are one thread's each.
template <bool packed>
inline void softmax(const Softmax& s, const ROW* x, OUT* y, int head, Exponents* slots) {
  typedef Part<kHeld / VEC, VEC, THREADS, packed> Mine;
  const int t = threadIdx.x, width = packed ? (s.width - head) / VEC * VEC : s.width;
  const int edges = packed ? s.width - width : 0, edge = t < head ? t : width + t;
  Exponents e = {minus_infinity(), 0};
  float own[1] = {minus_infinity()};
  if (t < edges) {
    own[0] = to_float(x[edge]);
    e.add(own);
  }
  x += head;
  typename Mine::template Stored<ROW> row;
  for (int start = 0; start < width; start += kHeld * THREADS) {
    row.load(x + start, t, width - start);
#pragma unroll
    for (int first = 0; first < kHeld; first += kAdded) {
      float some[kAdded];
#pragma unroll
      for (int i = 0; i < kAdded; ++i)
        some[i] = start + Mine::place(first + i, t) < width ? row.get(first + i) : minus_infinity();
      e.add(some);
    }
  }
  const Finish result = finish(block_exponents(e, slots), s.log);
  if (t < edges) y[edge] = from_float<OUT>(result.of(own[0]));
  y += head;
  for (int start = 0; start < width; start += kHeld * THREADS) {
    row.load(x + start, t, width - start);
    float v[kHeld];
#pragma unroll
    for (int i = 0; i < kHeld; ++i) v[i] = result.of(row.get(i));
    Mine::store(y + start, v, t, width - start);
  }
}

#if SLOTS
typedef Raw<ROW, VEC> Chunk;
// Packs of a thread on their way before one is waited for. 50,257 elements with 512 threads a row, H200: 2 take 234 us,
// 4 take 239 and 8 take 241; 128,256 with 1024: 2 take 291, 4 take 289, 8 take 290.
constexpr int kFlight = SLOTS - 1 < THREADS / 256 ? SLOTS - 1 : THREADS / 256;

// A row as its threads share it: `head` elements, chunks, and what is left, fewer than VEC before and behind.
struct Line {
  const ROW* x;
  OUT* y;
  int head, chunks, edges;
};

// Rows `first`, `first` + step and so on. Packs can be moved at once in x, and in y where x allows it, in all alike.
inline void keep_rows(const Softmax& s, const ROW* x, OUT* y, u32 first, u32 step, Exponents (*slots)[THREADS / 32]) {
  extern __shared__ __align__(16) unsigned char kept[];
  const int t = threadIdx.x;
  const auto line_of = [&](u32 row) {
    if (row >= s.rows) return Line{x, y, 0, 0, 0};
    const ROW* from = x + s.x.offset(row);
    const int head = (int)(-address(from) % sizeof(Chunk) / sizeof(ROW)), chunks = (s.width - head) / VEC;
    return Line{from, y + s.y.offset(row), head, chunks, s.width - chunks * VEC};
  };
  const auto edge = [&](const Line& l) { return t < l.head ? t : l.chunks * VEC + t; };
  Chunk* mine = reinterpret_cast<Chunk*>(kept) + t;
  Chunk extra[EXTRA ? EXTRA : 1];
  float own = 0;
  // Element of the row that pack i of this thread begins with.
  const auto place = [&](const Line& l, int i) { return l.head + (i * THREADS + t) * VEC; };
  const auto exists = [&](const Line& l, int i) { return i * THREADS + t < l.chunks; };
  const auto fetch = [&](const Line& l, int i) {  // behind what was read of the same memory
    copy_async(shared_address(mine + i * THREADS), l.x + place(l, i), exists(l, i));
    copy_commit();
  };
  const auto fetch_extra = [&](const Line& l, int i) {
    if (exists(l, SLOTS + i)) extra[i].load(l.x + place(l, SLOTS + i));
  };
  // Adds pack i of a row to its sum.
  const auto add = [&](const Line& l, int i, const Chunk& chunk, Exponents& e) {
    if (!exists(l, i)) return;
    float some[VEC];
#pragma unroll
    for (int k = 0; k < VEC; ++k) some[k] = to_float(chunk.e[k]);
    e.add(some);
  };
  const auto add_slot = [&](const Line& l, int i, Exponents& e) {
    copy_wait_at_most<SLOTS - 1>(SLOTS - 1 - i < kFlight ? SLOTS - 1 - i : kFlight);
    add(l, i, mine[i * THREADS], e);
  };
  const auto add_rest = [&](const Line& l, Exponents& e) {  // what came last, and what lies elsewhere
#pragma unroll
    for (int i = SLOTS - kFlight; i < SLOTS; ++i) add_slot(l, i, e);
#pragma unroll
    for (int i = 0; i < EXTRA; ++i) add(l, SLOTS + i, extra[i], e);
    if (t < l.edges) {
      const float some[1] = {own};
      e.add(some);
    }
  };

  Line line = line_of(first);
  Exponents e = {minus_infinity(), 0};
  if (t < line.edges) own = to_float(line.x[edge(line)]);
#pragma unroll
  for (int i = 0; i < EXTRA; ++i) fetch_extra(line, i);
#pragma unroll
  for (int i = 0; i < SLOTS; ++i) {
    fetch(line, i);
    if (i >= kFlight) add_slot(line, i - kFlight, e);
  }
  add_rest(line, e);

  int turn = 0;
  for (u32 row = first; row < s.rows; row += step, turn ^= 1) {
    const Finish result = finish(block_exponents(e, slots[turn]), s.log);
    const auto write = [&](const Chunk& chunk, int i) {
      float v[VEC];
#pragma unroll
      for (int k = 0; k < VEC; ++k) v[k] = result.of(to_float(chunk.e[k]));
      if (exists(line, i)) store_floats<OUT, VEC>(line.y + place(line, i), v);
    };
    const Line next = line_of(row + step);
    e = {minus_infinity(), 0};
    if (t < line.edges) line.y[edge(line)] = from_float<OUT>(result.of(own));
    if (t < next.edges) own = to_float(next.x[edge(next)]);
#pragma unroll
    for (int i = 0; i < EXTRA; ++i) {
      write(extra[i], SLOTS + i);
      fetch_extra(next, i);
    }
#pragma unroll
    for (int i = 0; i < SLOTS; ++i) {
      write(mine[i * THREADS], i);
      fetch(next, i);
      if (i >= kFlight) add_slot(next, i - kFlight, e);
    }
    add_rest(next, e);
    line = next;
  }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, 1024 / THREADS)
    softmax_rows(const ROW* x, OUT* y, const __grid_constant__ Softmax s) {
  __shared__ Exponents slots[2][THREADS / 32];
  grid_release();
  grid_wait();
  // Rows of an odd number of elements begin anywhere.
  const auto head_of = [](const ROW* from) { return (int)(-address(from) % sizeof(Raw<ROW, VEC>) / sizeof(ROW)); };
  const auto packed = [](const ROW* from, OUT* to) {
    return aligned(address(from), sizeof(ROW)) && aligned(address(to), Raw<OUT, VEC>::kStep);
  };
#if SLOTS
  const int first = head_of(x);
  if (packed(x, y + first)) return keep_rows(s, x, y, blockIdx.x, gridDim.x, slots);
#endif
  int turn = 0;
  for (u32 row = blockIdx.x; row < s.rows; row += gridDim.x, turn ^= 1) {
    const ROW* from = x + s.x.offset(row);
    OUT* to = y + s.y.offset(row);
    const int head = head_of(from);
    if (packed(from, to + head))
      softmax<true>(s, from, to, head, slots[turn]);
    else
      softmax<false>(s, from, to, 0, slots[turn]);
  }
}

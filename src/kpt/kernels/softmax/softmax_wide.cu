// SPDX-License-Identifier: Apache-2.0
// softmax.h over rows of neighbouring elements that registers do not hold: a block a row, read twice.
// Defines: ROW, OUT, VEC, THREADS.
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

inline Exponents block_exponents(Exponents e, Exponents* slots) {
#pragma unroll
  for (int step = 16; step; step >>= 1)
    e.merge({__shfl_xor_sync(0xffffffffu, e.largest, step), __shfl_xor_sync(0xffffffffu, e.sum, step)});
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = e;
  __syncthreads();
  e = slots[0];
  for (int i = 1; i < THREADS / 32; ++i) e.merge(slots[i]);
  return e;
}

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
  e = block_exponents(e, slots);
  const float factor = 1 / e.sum, shift = logf(e.sum);
  const auto result = [&](float at) { return s.log ? at - e.largest - shift : term<kTwoBytes>(at, e.largest) * factor; };
  if (t < edges) y[edge] = from_float<OUT>(result(own[0]));
  y += head;
  for (int start = 0; start < width; start += kHeld * THREADS) {
    row.load(x + start, t, width - start);
    float v[kHeld];
#pragma unroll
    for (int i = 0; i < kHeld; ++i) v[i] = result(row.get(i));
    Mine::store(y + start, v, t, width - start);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1024 / THREADS)
    softmax_rows(const ROW* x, OUT* y, const __grid_constant__ Softmax s) {
  __shared__ Exponents slots[THREADS / 32];
  grid_release();
  x += s.x.offset(blockIdx.x);
  y += s.y.offset(blockIdx.x);
  grid_wait();
  if constexpr (VEC > 1) {
    // Rows of an odd number of elements begin anywhere; those of x and y alike.
    const int head = (int)(-address(x) % sizeof(Raw<ROW, VEC>) / sizeof(ROW));
    if (aligned(address(x), sizeof(ROW)) && aligned(address(y + head), Raw<OUT, VEC>::kStep)) {
      softmax<true>(s, x, y, head, slots);
      return;
    }
  }
  softmax<false>(s, x, y, 0, slots);
}

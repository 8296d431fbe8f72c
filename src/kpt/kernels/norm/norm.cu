// SPDX-License-Identifier: Apache-2.0
// norm.h, rows in registers. THREADS threads share a row, each holds PACKS packs of VEC neighbouring elements.
// Defines: ROW (type of x, residual, y, sum), WEIGHT (of weight, bias), RESIDUAL (0: there is none, and no sum), VEC,
// PACKS, THREADS (power of two; a block has 128 threads, or a smaller power of two, where a row needs at most a warp,
// else it is one row).
#include "kpt/kernels/norm/arguments.cuh"

constexpr int kHeld = PACKS * VEC;
constexpr int kBlock = THREADS <= 32 ? 128 : THREADS;
// Where it is little, what the end needs comes with the row.
constexpr bool kLittle = kHeld * sizeof(W) <= 32;
// Registers for what is held, a sum in f32 with the weights as they are stored, or a row as it is stored, and for what
// the code around takes.
constexpr int kSumRegisters =
    kHeld + kHeld * 2 * (int)sizeof(W) / 4 + (kHeld < 32 || __CUDA_ARCH__ < 900 ? 40 : 32);
constexpr int kRowRegisters = kHeld * (int)sizeof(T) / 4 + (kLittle ? kHeld * 2 * (int)sizeof(W) / 4 : 0) +
                              (kHeld < 32 || VEC < 4 ? 48 : 40);
constexpr int kRegisters = RESIDUAL || VEC == 1 ? kSumRegisters : kRowRegisters;
constexpr int kBlocks = 65536 / (kBlock * kRegisters) < 1 ? 1 : 65536 / (kBlock * kRegisters);

// A thread's part of a row, or of the sum of a row and its residual. A row alone waits as it is stored: of 2 bytes in
// half of the registers, so that half as many rows again are on their way from memory.
template <bool packed>
struct Held {
  typedef Part<PACKS, VEC, THREADS, packed> Mine;
  typename Mine::template Stored<T> row;
  float sum[RESIDUAL ? kHeld : 1];
  float get(int i) const {
    if constexpr (RESIDUAL) return sum[i];
    return row.get(i);
  }
  void forget() {
    if constexpr (!RESIDUAL) row.forget();
  }
};

// y = (x - mean) * factor * w + b by single elements, a few at a time: all of their weights would not fit the registers.
inline void finish_singly(const Held<false>& x, float mean, float factor, const W* w, const W* b, T* y, int t,
                          int width) {
  constexpr int kBatch = 8;
#pragma unroll
  for (int start = 0; start < kHeld; start += kBatch) {
    float scale[kBatch], shift[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch && start + i < kHeld; ++i) {
      const int at = Part<PACKS, VEC, THREADS, false>::place(start + i, t);
      scale[i] = w && at < width ? to_float(w[at]) : 1;
      shift[i] = b && at < width ? to_float(b[at]) : 0;
    }
#pragma unroll
    for (int i = 0; i < kBatch && start + i < kHeld; ++i) {
      const int at = Part<PACKS, VEC, THREADS, false>::place(start + i, t);
      if (at < width) y[at] = from_float<T>((x.get(start + i) - mean) * factor * scale[i] + shift[i]);
    }
  }
}

// The same by packs. Weights that did not come with the row are loaded two packs at a time.
template <bool early, class Weights>
inline void finish_packs(const Held<true>& x, float mean, float factor, const W* w, const W* b, Weights& scale,
                         Weights& shift, T* y, int t, int width) {
  constexpr int kBatch = 2;
#pragma unroll
  for (int first = 0; first < PACKS; first += kBatch) {
#pragma unroll
    for (int p = first; p < first + kBatch && p < PACKS; ++p) {
      const int at = Part<PACKS, VEC, THREADS, true>::place(p * VEC, t);
      if (early || at >= width) continue;
      if (w) scale.pack[p].load(w + at);
      if (b) shift.pack[p].load(b + at);
    }
#pragma unroll
    for (int p = first; p < first + kBatch && p < PACKS; ++p) {
      const int at = Part<PACKS, VEC, THREADS, true>::place(p * VEC, t);
      float out[VEC];
#pragma unroll
      for (int e = 0; e < VEC; ++e) {
        out[e] = (x.get(p * VEC + e) - mean) * factor;
        if (w) out[e] *= scale.get(p * VEC + e);
        if (b) out[e] += shift.get(p * VEC + e);
      }
      if (at < width) store_floats<T, VEC>(y + at, out);
    }
  }
}

// width 0: a thread without a row, that only takes part in the sums.
template <bool packed>
inline void normalise(const Norm& n, const T* x, const T* residual, const W* w, const W* b, T* y, T* sum, int t,
                      int width, float (*slots)[32]) {
  typedef Part<PACKS, VEC, THREADS, packed> Mine;
  Held<packed> held;
  typename Mine::template Stored<W> scale, shift;
  held.row.load(x, t, width);
  constexpr bool kEarly = packed && kLittle;
  const auto load_weights = [&] {
    if (kEarly && w) scale.load(w, t, width);
    if (kEarly && b) shift.load(b, t, width);
  };
  if constexpr (RESIDUAL) {
    typename Mine::template Stored<T> other;
    other.load(residual, t, width);
    load_weights();
#pragma unroll
    for (int i = 0; i < kHeld; ++i) held.sum[i] = held.row.get(i) + other.get(i);
    if (sum) Mine::store(sum, held.sum, t, width);
  } else {
    load_weights();
  }

  float mean = 0;
  if (!n.rms) {
    float total = 0;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) total += held.get(i);
    mean = group_reduce<Add, THREADS>(total, slots[0]) / (float)n.width;
  }
  held.forget();
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const float off = Mine::place(i, t) < width ? held.get(i) - mean : 0;
    squares += off * off;
  }
  const float factor = rsqrtf(group_reduce<Add, THREADS>(squares, slots[1]) / (float)n.width + n.eps);

  held.forget();
  if constexpr (packed) {
    finish_packs<kEarly>(held, mean, factor, w, b, scale, shift, y, t, width);
  } else {
    finish_singly(held, mean, factor, w, b, y, t, width);
  }
}

extern "C" __global__ void __launch_bounds__(kBlock, kBlocks)
    norm_rows(const T* x, const T* residual, const W* w, const W* b, T* y, T* sum, const __grid_constant__ Norm n) {
  __shared__ float slots[2][32];
  grid_release();
  const int t = threadIdx.x % THREADS;
  const u32 row = THREADS > 32 ? blockIdx.x : blockIdx.x * (blockDim.x / THREADS) + threadIdx.x / THREADS;
  const bool mine = row < n.rows;
  if (blockIdx.x == 0) {  // other rows find the weights in the cache
    constexpr int kLine = 128 / sizeof(W);
    for (int i = threadIdx.x * kLine; i < n.width; i += blockDim.x * kLine) {
      if (w) prefetch_l2(w + i);
      if (b) prefetch_l2(b + i);
    }
  }
  grid_wait();
  if (mine) {
    x += n.x.offset(row);
    y += n.y.offset(row);
    if (residual) residual += n.residual.offset(row);
    if (sum) sum += n.sum.offset(row);
  }
  const int width = mine ? n.width : 0;
  if constexpr (VEC > 1) {
    // Strides are multiples of a pack's bytes (the planner's choice of VEC), so all rows answer alike.
    if (aligned(address(x) | address(residual) | address(y) | address(sum), Raw<T, VEC>::kStep) &&
        aligned(address(w) | address(b), Raw<W, VEC>::kStep)) {
      normalise<true>(n, x, residual, w, b, y, sum, t, width, slots);
      return;
    }
  }
  normalise<false>(n, x, residual, w, b, y, sum, t, width, slots);
}

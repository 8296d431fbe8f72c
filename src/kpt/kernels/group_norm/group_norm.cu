// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/rows.cuh"
// Groups of channels of one sample, each a dense run of `width` elements. T: the element type.
//
// A block takes a share of a group. Where that is the whole group (kAll), moments and result are one launch; else
// kMoments leaves mean and squares of each share in `parts` and kApply, a second launch, puts them together. x is read
// once for the moments: a thread holds a batch of it in registers, takes its mean and squares about it in two passes
// there and merges them into its own (Chan, Golub and LeVeque, 1979); the second read finds x in the caches.

enum { kAll = 0, kMoments = 1, kApply = 2 };
struct Groups {
  Divider shares, groups, inner;  // block = group of a sample * shares + share; inner: elements of a channel
  u32 width, chunk;               // chunk: elements of a share, whole words of 16 bytes
  u32 channels;                   // of a group
  i32 phase, words;               // words: groups start on words of 16 bytes where the base does
  float eps;
};
struct Moments {
  float count, mean, squares;  // squares: of what deviates from the mean
};
constexpr int kPacks = 4;

inline Moments merge(Moments a, Moments b) {
  const float count = a.count + b.count;
  if (count == 0) return a;
  const float part = b.count / count, d = b.mean - a.mean;
  return {count, a.mean + d * part, a.squares + b.squares + d * d * a.count * part};
}

template <int VEC>
struct Batch {
  Raw<T, VEC> pack[kPacks];
  // Packs from element `at` on, blockDim.x of them apart, up to `end`. Returns how many elements there are.
  static u32 place(u32 at, int k) { return at + k * blockDim.x * VEC; }
  u32 load(const T* x, u32 at, u32 end) {
    u32 n = 0;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (place(at, k) >= end) continue;
      pack[k].load(x + place(at, k));
      n += VEC;
    }
    return n;
  }
};

template <int VEC>
inline Moments moments_of(const T* x, u32 begin, u32 end) {
  Moments all{0, 0, 0};
#pragma unroll 1
  for (u32 at = begin + threadIdx.x * VEC; at < end; at += kPacks * blockDim.x * VEC) {
    Batch<VEC> batch;
    const u32 n = batch.load(x, at, end);
    float sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < kPacks * VEC; ++i)
      if (i / VEC * VEC < n) sum += to_float(batch.pack[i / VEC].e[i % VEC]);
    const float mean = sum / (float)n;
#pragma unroll
    for (int i = 0; i < kPacks * VEC; ++i) {
      if (i / VEC * VEC >= n) continue;
      const float d = to_float(batch.pack[i / VEC].e[i % VEC]) - mean;
      squares += d * d;
    }
    all = merge(all, {(float)n, mean, squares});
  }
  return all;
}

template <int VEC>
inline void apply(const Groups& g, const T* x, const T* w, const T* b, T* y, u32 begin, u32 end, float mean,
                  float scale) {
#pragma unroll 1
  for (u32 at = begin + threadIdx.x * VEC; at < end; at += kPacks * blockDim.x * VEC) {
    Batch<VEC> batch;
    batch.load(x, at, end);
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const u32 place = batch.place(at, k);
      if (place >= end) continue;
      u32 channel = g.inner.quotient(place), left = (channel + 1) * g.inner.divisor - place;
      float factor = w ? to_float(w[channel]) * scale : scale, shift = b ? to_float(b[channel]) : 0.0f;
      float v[VEC];
#pragma unroll
      for (int e = 0; e < VEC; ++e) {
        if (left == 0) {  // the next channel
          ++channel;
          left = g.inner.divisor;
          factor = w ? to_float(w[channel]) * scale : scale;
          shift = b ? to_float(b[channel]) : 0.0f;
        }
        --left;
        v[e] = (to_float(batch.pack[k].e[e]) - mean) * factor + shift;
      }
      store_floats<T, VEC>(y + place, v);
    }
  }
}

// Over the block; every thread gets the result.
inline Moments over_block(Moments m) {
  __shared__ Moments slots[32];
#pragma unroll
  for (int step = 16; step; step >>= 1)
    m = merge(m, {__shfl_xor_sync(0xffffffffu, m.count, step), __shfl_xor_sync(0xffffffffu, m.mean, step),
                  __shfl_xor_sync(0xffffffffu, m.squares, step)});
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = m;
  __syncthreads();
  m = slots[0];
  for (u32 i = 1; i < blockDim.x / 32; ++i) m = merge(m, slots[i]);
  return m;
}

extern "C" __global__ void __launch_bounds__(512)
    group_norm(const __grid_constant__ Groups g, const T* x, const T* w, const T* b, T* y, Moments* parts) {
  constexpr int kVec = 16 / sizeof(T);
  grid_release();
  const u32 row = g.shares.quotient(blockIdx.x), share = blockIdx.x - row * g.shares.divisor;
  const u32 group = row - g.groups.quotient(row) * g.groups.divisor;
  const u32 begin = share * g.chunk, end = g.width - begin < g.chunk ? g.width : begin + g.chunk;
  const bool whole = g.words && aligned(address(x) | address(y), 16);
  x += (u64)row * g.width;
  y += (u64)row * g.width;
  grid_wait();
  Moments m{0, 0, 0};
  if (g.phase == kApply) {
    for (u32 i = 0; i < g.shares.divisor; ++i) m = merge(m, parts[row * g.shares.divisor + i]);
  } else {
    m = over_block(whole ? moments_of<kVec>(x, begin, end) : moments_of<1>(x, begin, end));
  }
  if (g.phase == kMoments) {
    if (threadIdx.x == 0) parts[blockIdx.x] = m;
    return;
  }
  const float scale = 1.0f / sqrtf(m.squares / (float)g.width + g.eps);
  if (w) w += group * g.channels;
  if (b) b += group * g.channels;
  if (whole)
    apply<kVec>(g, x, w, b, y, begin, end, m.mean, scale);
  else
    apply<1>(g, x, w, b, y, begin, end, m.mean, scale);
}

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/joint.cuh"
// Up to eight copies into one output, which do not overlap: each block moves words of one part. No defines.

struct Part {
  Joint<2> at;   // of a word, in bytes
  i64 from, to;  // bytes
  u32 words;
  i32 word, shift;  // bytes; word = element << shift
};
struct Parts {
  alignas(16) u32 fill[4];  // the value, side by side, of parts without a source
  u32 first[8];             // block of each part; the highest number for parts that are not there
  u32 share;                // words of a block
  Part parts[8];
};

// Words [begin, end) of BYTES; `shift`: pieces of a word of the part.
template <int BYTES>
inline void move(const Part& p, const char* from, char* to, u32 begin, u32 end, i32 shift, const u32* fill) {
  typedef typename Word<BYTES>::type S;
  constexpr int kFlight = 4;
  for (u32 n = begin + threadIdx.x; n < end; n += kFlight * blockDim.x) {
    S held[kFlight];
    S* out[kFlight];
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      const u32 here = n + i * blockDim.x, piece = here & ((1u << shift) - 1);
      i64 at[2];
      if (here < end) {
        p.at.offsets(here >> shift, at);
        out[i] = reinterpret_cast<S*>(to + at[1] + piece * BYTES);
        held[i] = from ? *reinterpret_cast<const S*>(from + at[0] + piece * BYTES) : *reinterpret_cast<const S*>(fill);
      }
    }
#pragma unroll
    for (int i = 0; i < kFlight; ++i)
      if (n + i * blockDim.x < end) *out[i] = held[i];
  }
}

extern "C" __global__ void __launch_bounds__(256)
    join(const __grid_constant__ Parts k, const char* x0, const char* x1, const char* x2, const char* x3,
         const char* x4, const char* x5, const char* x6, const char* x7, char* y) {
  grid_release();
  const char* const x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
  const char* from = x0;
  u32 part = 0;
#pragma unroll
  for (int i = 1; i < 8; ++i) {
    if (blockIdx.x < k.first[i]) continue;
    from = x[i];
    part = i;
  }
  const Part& p = k.parts[part];
  const u32 begin = (blockIdx.x - k.first[part]) * k.share, left = p.words - begin;
  const u32 end = begin + (left < k.share ? left : k.share);
  if (from) from += p.from;
  char* to = y + p.to;
  // Bases may lie on any element: then words move in pieces.
  const bool whole = aligned(address(from) | address(to), p.word);
  const i32 shift = whole ? 0 : p.shift;
  grid_wait();
  switch (p.word >> shift) {
    case 16: move<16>(p, from, to, begin << shift, end << shift, shift, k.fill); break;
    case 8: move<8>(p, from, to, begin << shift, end << shift, shift, k.fill); break;
    case 4: move<4>(p, from, to, begin << shift, end << shift, shift, k.fill); break;
    case 2: move<2>(p, from, to, begin << shift, end << shift, shift, k.fill); break;
    default: move<1>(p, from, to, begin << shift, end << shift, shift, k.fill); break;
  }
}

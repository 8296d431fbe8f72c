// SPDX-License-Identifier: Apache-2.0
// pick.h. blockDim.x threads move one slice, blockDim.y slices a block. No defines: one program for all.
#include "kpt/kernels/lib/cuda/rows.cuh"

struct By {
  Rows at;  // of number p, in bytes
  i64 size, stride;
  i32 wide;  // i64, else i32
};

// Strides in bytes. inner: of word number w where it is not dense (then a word is an element).
struct Pick {
  u32 slices, words;
  i32 word, element, dense, negative, count;
  Divider picks;  // slice = outer * picks + pick
  Rows outer, inner;
  By by[4];
};

// Words w, w + blockDim.x, .. of a slice, four on their way at once.
template <class S, class At>
inline void move(const char* from, char* to, u32 words, bool valid, At at) {
  constexpr int kFlight = 4;
  S* out = reinterpret_cast<S*>(to);
  for (u32 w = threadIdx.x; w < words; w += kFlight * blockDim.x) {
    S held[kFlight];
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      const u32 here = w + i * blockDim.x;
      memset(&held[i], 0xff, sizeof(S));
      if (valid && here < words) held[i] = *reinterpret_cast<const S*>(from + at(here));
    }
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      const u32 here = w + i * blockDim.x;
      if (here < words) out[here] = held[i];
    }
  }
}

template <int BYTES>
inline void move_words(const Pick& k, const char* from, char* to, u32 words, bool valid) {
  typedef typename Word<BYTES>::type S;
  if (k.dense)
    move<S>(from, to, words, valid, [](u32 w) { return (i64)w * BYTES; });
  else
    move<S>(from, to, words, valid, [&](u32 w) { return k.inner.offset(w); });
}

extern "C" __global__ void __launch_bounds__(128) pick(const char* x, const char* n0, const char* n1, const char* n2,
                                                       const char* n3, char* y, const __grid_constant__ Pick k) {
  grid_release();
  const u32 slice = blockIdx.x * blockDim.y + threadIdx.y;
  if (slice >= k.slices) return;
  const u32 outer = k.picks.quotient(slice), pick = slice - outer * k.picks.divisor;
  const char* from = x + k.outer.offset(outer);
  char* to = y + (i64)slice * k.words * k.word;
  grid_wait();
  bool valid = true;
  for (int i = 0; i < k.count; ++i) {
    const char* at = (i == 0 ? n0 : i == 1 ? n1 : i == 2 ? n2 : n3) + k.by[i].at.offset(pick);
    i64 n = k.by[i].wide ? *reinterpret_cast<const i64*>(at) : *reinterpret_cast<const i32*>(at);
    if (k.negative && n < 0) n += k.by[i].size;
    const bool inside = n >= 0 && n < k.by[i].size;
    valid = valid && inside;
    from += (inside ? n : 0) * k.by[i].stride;
  }
  // Bases may lie on any element: then slices move by elements.
  const bool whole = aligned(address(x) | address(y), k.word);
  const u32 words = whole ? k.words : k.words * (u32)(k.word / k.element);
  switch (whole ? k.word : k.element) {
    case 16: move_words<16>(k, from, to, words, valid); break;
    case 8: move_words<8>(k, from, to, words, valid); break;
    case 4: move_words<4>(k, from, to, words, valid); break;
    case 2: move_words<2>(k, from, to, words, valid); break;
    default: move_words<1>(k, from, to, words, valid); break;
  }
}

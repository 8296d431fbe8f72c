// SPDX-License-Identifier: Apache-2.0
// write.h. A thread moves one word of a slice; no defines: one program for all.
#include "kpt/kernels/lib/cuda/rows.cuh"

// Strides in bytes. A slice is a run of the source that is dense in both tensors: `words` words of `word` bytes, or one
// element.
struct Write {
  u32 units, elements;  // words of the source, elements of the state
  i32 word, element, wide, count;
  i64 size, stride;     // of the state along dim
  i64 step;             // between numbers of the index
  Divider words, sizes, inner;
  Rows source, state, which;  // of slice s: where it lies; state: at place 0; which number of the index
};

inline i64 place(const Write& k, const char* index, i64 j) {
  const char* at = index + j * k.step;
  return k.wide ? *reinterpret_cast<const i64*>(at) : *reinterpret_cast<const i32*>(at);
}

template <int BYTES>
inline void move_word(char* to, const char* from, bool valid) {
  typedef typename Word<BYTES>::type S;
  S held;
  memset(&held, 0xff, sizeof held);
  if (valid) held = *reinterpret_cast<const S*>(from);
  *reinterpret_cast<S*>(to) = held;
}

inline void move_bytes(char* to, const char* from, int bytes, bool valid) {
  switch (bytes) {
    case 16: return move_word<16>(to, from, valid);
    case 8: return move_word<8>(to, from, valid);
    case 4: return move_word<4>(to, from, valid);
    case 2: return move_word<2>(to, from, valid);
    default: return move_word<1>(to, from, valid);
  }
}

// The state elsewhere: every element is moved, from the source where the index names its place.
inline void move_all(const Write& k, const char* state, const char* index, const char* source, char* y) {
  const u32 parts = (u32)(k.word / k.element);
  for (u32 e = blockIdx.x * blockDim.x + threadIdx.x; e < k.elements; e += gridDim.x * blockDim.x) {
    const u32 row = k.inner.quotient(e), i = e - row * k.inner.divisor;
    const u32 outer = k.sizes.quotient(row), here = row - outer * k.sizes.divisor;
    const char* from = state + (i64)e * k.element;
    bool valid = true;
    for (i32 j = k.count - 1; j >= 0; --j) {
      const i64 n = place(k, index, j), near = n < 0 ? 0 : n < k.size ? n : k.size - 1;
      if (near != here) continue;
      valid = near == n;
      const u32 s = (outer * (u32)k.count + (u32)j) * k.inner.divisor + i, unit = s / parts;
      const u32 slice = k.words.quotient(unit), w = unit - slice * k.words.divisor;
      from = source + k.source.offset(slice) + (i64)w * k.word + (i64)(s - unit * parts) * k.element;
      break;
    }
    move_bytes(y + (i64)e * k.element, from, k.element, valid);
  }
}

extern "C" __global__ void __launch_bounds__(128)
    write(const char* state, const char* index, const char* source, char* y, const __grid_constant__ Write k) {
  grid_release();
  const u32 unit = blockIdx.x * blockDim.x + threadIdx.x;
  const u32 slice = k.words.quotient(unit), w = unit - slice * k.words.divisor;
  grid_wait();
  if (y != state) return move_all(k, state, index, source, y);
  if (unit >= k.units) return;
  const i64 n = place(k, index, k.which.offset(slice)), near = n < 0 ? 0 : n < k.size ? n : k.size - 1;
  const char* from = source + k.source.offset(slice) + (i64)w * k.word;
  char* to = y + k.state.offset(slice) + near * k.stride + (i64)w * k.word;
  // Bases may lie on any element: then a word is moved by elements.
  const int step = aligned(address(source) | address(y), k.word) ? k.word : k.element;
  for (int b = 0; b < k.word; b += step) move_bytes(to + b, from + b, step, near == n);
}

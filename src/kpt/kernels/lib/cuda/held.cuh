// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows in registers: `group` threads share a row, each holds `packs` packs of `vec` neighbouring elements of it.
#include "kpt/kernels/lib/cuda/rows.cuh"

// packed: packs side by side over the threads, each moved by one instruction (addresses and strides must allow it).
// Else single elements side by side. `t`: the thread's number in its group. Rows end at `width`.
template <int packs, int vec, int group, bool packed>
struct Part {
  static constexpr int kHeld = packs * vec;

  // Where element i of the thread lies in its row.
  static int place(int i, int t) { return packed ? ((i / vec) * group + t) * vec + i % vec : i * group + t; }

  // As stored; zeros behind the row's end.
  template <class S>
  struct Stored {
    Raw<S, vec> pack[packs];
    void load(const S* from, int t, int width) {
#pragma unroll
      for (int p = 0; p < packs; ++p) {
#pragma unroll
        for (int e = 0; e < vec; ++e) pack[p].e[e] = S{};
        if (packed) {
          if (place(p * vec, t) < width) pack[p].load(from + place(p * vec, t));
        } else {
#pragma unroll
          for (int e = 0; e < vec; ++e)
            if (place(p * vec + e, t) < width) pack[p].e[e] = from[place(p * vec + e, t)];
        }
      }
    }
    float get(int i) const { return to_float(pack[i / vec].e[i % vec]); }
    // Behind it floats are made of what is stored anew: the compiler would keep those of one pass over the row for the
    // next, in twice as many registers.
    void forget() {
      if constexpr (sizeof(S) == 2 && vec >= 2) {
#pragma unroll
        for (int p = 0; p < packs; ++p) {
#pragma unroll
          for (int s = 0; s < Raw<S, vec>::kBytes / Raw<S, vec>::kStep; ++s) {
#pragma unroll
            for (int k = 0; k < Raw<S, vec>::kStep / 4; ++k) asm volatile("" : "+r"(pack[p].steps[s].w[k]));
          }
        }
      }
    }
  };

  // As floats; zeros behind the row's end.
  template <class S>
  static void load(const S* from, int t, int width, float (&v)[kHeld]) {
    Stored<S> stored;
    stored.load(from, t, width);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) v[i] = stored.get(i);
  }

  template <class S>
  static void store(S* to, const float (&v)[kHeld], int t, int width) {
#pragma unroll
    for (int p = 0; p < packs; ++p) {
      if (packed) {
        if (place(p * vec, t) < width) store_floats<S, vec>(to + place(p * vec, t), v + p * vec);
      } else {
#pragma unroll
        for (int e = 0; e < vec; ++e)
          if (place(p * vec + e, t) < width) to[place(p * vec + e, t)] = from_float<S>(v[p * vec + e]);
      }
    }
  }
};

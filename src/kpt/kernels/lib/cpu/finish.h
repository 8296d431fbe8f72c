// SPDX-License-Identifier: Apache-2.0
// From a tile of sums to the output: scale, bias, activation, residual, and the turn where the tile is transposed.
#pragma once
#include "kpt/kernels/lib/cpu/act.h"
#include "kpt/kernels/lib/cpu/math.h"
#include "kpt/kernels/lib/cpu/tile.h"

namespace kpt::KPT_ISA {

// One group: up to kLanes rows of `width` floats.
struct Tile {
  float* t;
  int width, rows, lanes;  // lanes valid of width
};

template <class F>
inline __attribute__((always_inline)) void each_vector(const Tile& tile, F f) {
  for (int i = 0; i < tile.rows * tile.width; i += kLanes) store(tile.t + i, f(load(tile.t + i)));
}

// Not inlined: one copy of each activation's code in a file, called once a group.
inline __attribute__((noinline)) void activate(const Tile& tile, Act act) {
  switch (act) {
    case Act::none: return;
    case Act::gelu: return each_vector(tile, [](VecF x) { return gelu_erf(x); });
    case Act::gelu_tanh: return each_vector(tile, [](VecF x) { return gelu_tanh(x); });
    case Act::silu: return each_vector(tile, [](VecF x) { return silu(x); });
    case Act::relu: return each_vector(tile, [](VecF x) { return relu(x); });
    case Act::tanh: return each_vector(tile, [](VecF x) { return tanh(x); });
    case Act::sigmoid: return each_vector(tile, [](VecF x) { return sigmoid(x); });
  }
}

// bias[r] of each row.
template <class T>
inline void add_row_bias(const Tile& tile, const T* bias) {
  for (int r = 0; r < tile.rows; ++r) {
    const VecF b = splat(load1(bias + r));
    for (int v = 0; v < tile.width; v += kLanes) {
      float* at = tile.t + r * tile.width + v;
      store(at, load(at) + b);
    }
  }
}

template <class T>
inline void add_lane_bias(const Tile& tile, const T* bias) {
  for (int v = 0; v < tile.width && v < tile.lanes; v += kLanes) {
    const VecF b = load_n(bias + v, tile.lanes - v < kLanes ? tile.lanes - v : kLanes);
    for (int r = 0; r < tile.rows; ++r) {
      float* at = tile.t + r * tile.width + v;
      store(at, load(at) + b);
    }
  }
}

// Up to kLanes elements of any stride.
template <class T>
KPT_INLINE VecF load_strided(const T* p, int64_t stride, int n) {
  if (stride == 1) return n == kLanes ? load(p) : load_n(p, n);
  float out[kLanes] = {};
  for (int i = 0; i < n; ++i) out[i] = load1(p + i * stride);
  return load(out);
}

// A matrix seen from the tile: element (r, lane) at p[r * row + lane * lane].
template <class T>
struct Place {
  T* p = nullptr;
  int64_t row = 0, lane = 0;
};

template <class T>
KPT_INLINE void put(T* y, VecF x, int n) {
  n == kLanes ? store(y, x) : store_n(y, x, n);
}

// y = tile + beta * residual, lanes contiguous in y.
template <class T>
inline void store_straight(const Tile& tile, Place<T> y, Place<const T> residual, float beta) {
  for (int r = 0; r < tile.rows; ++r)
    for (int v = 0; v < tile.lanes; v += kLanes) {
      const int n = tile.lanes - v < kLanes ? tile.lanes - v : kLanes;
      VecF x = load(tile.t + r * tile.width + v);
      if (residual.p)
        x = fma(load_strided(residual.p + r * residual.row + v * residual.lane, residual.lane, n), splat(beta), x);
      put(y.p + r * y.row + v, x, n);
    }
}

// As above, rows contiguous in y: kLanes x kLanes blocks are turned in registers. All kLanes rows of the tile's memory
// are read, written or not.
template <class T>
inline void store_turned(const Tile& tile, Place<T> y, Place<const T> residual, float beta) {
  for (int v = 0; v < tile.lanes; v += kLanes) {
    VecF m[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) m[i] = load(tile.t + i * tile.width + v);
    transpose(m);
    float turned[kLanes * kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) store(turned + i * kLanes, m[i]);
    const int n = tile.lanes - v < kLanes ? tile.lanes - v : kLanes;
    for (int i = 0; i < n; ++i) {
      VecF x = load(turned + i * kLanes);
      if (residual.p)
        x = fma(load_strided(residual.p + (v + i) * residual.lane, residual.row, tile.rows), splat(beta), x);
      put(y.p + (v + i) * y.lane, x, tile.rows);
    }
  }
}

}  // namespace kpt::KPT_ISA

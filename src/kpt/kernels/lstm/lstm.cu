// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/rows.cuh"
// A layer of an LSTM in two launches. PROJECT: what the inputs give to the gates, for all steps at once. RECUR: the
// steps, one after the other, a block for ROWS sequences of one direction; h, c and the gates stay in shared memory and
// w_hh in the L1 cache. T: the element type; sums, states and what goes between layers are f32.

#ifdef PROJECT
struct Task {
  i64 step, sequence, column;  // strides of x; of the layer below, `lower`
  u32 rows, batch, inputs, gates, row_tiles, gate_tiles;
};
constexpr int kTile = 64, kDepth = 16;

// Tiles of 64 rows (step * batch + sequence) x 64 gates, 4 x 4 of them a thread.
extern "C" __global__ void __launch_bounds__(256)
    lstm(const __grid_constant__ Task t, const T* x, const float* lower, const T* w0, const T* b0, const T* c0,
         const T* w1, const T* b1, const T* c1, float* gates) {
  __shared__ float left[kDepth][kTile + 1], right[kDepth][kTile + 1];
  grid_release();
  const u32 tiles = t.row_tiles * t.gate_tiles, direction = blockIdx.x / tiles, tile = blockIdx.x - direction * tiles;
  const u32 row0 = tile / t.gate_tiles * kTile, gate0 = tile % t.gate_tiles * kTile;
  const T *w = direction ? w1 : w0, *b = direction ? b1 : b0, *c = direction ? c1 : c0;
  const u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  i64 from[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const u32 row = row0 + ty + 16 * i, step = row / t.batch;
    from[i] = step * t.step + (row - step * t.batch) * t.sequence;
  }
  float sum[4][4] = {};
  grid_wait();
#pragma unroll 1
  for (u32 k0 = 0; k0 < t.inputs; k0 += kDepth) {
    const u32 k = k0 + tx;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const u32 row = row0 + ty + 16 * i, gate = gate0 + ty + 16 * i;
      const i64 at = from[i] + k * t.column;
      const bool inside = k < t.inputs;
      left[tx][ty + 16 * i] = inside && row < t.rows ? (lower ? lower[at] : to_float(x[at])) : 0.0f;
      right[tx][ty + 16 * i] = inside && gate < t.gates ? to_float(w[(i64)gate * t.inputs + k]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      float l[4], r[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        l[i] = left[d][ty * 4 + i];
        r[i] = right[d][tx + 16 * i];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] += l[i] * r[j];
    }
    __syncthreads();
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const u32 gate = gate0 + tx + 16 * j;
    if (gate >= t.gates) continue;
    const float bias = b ? to_float(b[gate]) + to_float(c[gate]) : 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const u32 row = row0 + ty * 4 + i;
      if (row < t.rows) gates[((i64)direction * t.rows + row) * t.gates + gate] = sum[i][j] + bias;
    }
  }
}
#endif

#ifdef RECUR
struct Task {
  i64 step, sequence;  // strides of y
  u32 steps, batch, hidden, directions;
  i32 words, last;  // words: rows of w_hh start on words of 16 bytes where the base does; last: the layer writes y
};
constexpr u32 kMostHidden = 256;
constexpr int kVec = 16 / sizeof(T), kLanes = 8;  // threads that share a row of w_hh

// v[i] summed over eight neighbouring lanes, for the lane that is number i of them.
inline float transposed_sum(float (&v)[kLanes], u32 lane) {
#pragma unroll
  for (int half = kLanes / 2; half; half >>= 1) {
    const bool upper = lane & half;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float mine = upper ? v[i + half] : v[i], other = upper ? v[i] : v[i + half];
      v[i] = mine + __shfl_xor_sync(0xffffffffu, other, half);
    }
  }
  return v[0];
}

// Elements [k, k + kVec) of a row of w_hh; zeros beyond the matrix.
template <bool WORDS>
inline void load_part(Raw<T, kVec>& part, const T* w, u32 row, u32 rows, u32 k, u32 hidden) {
  const T* from = w + (i64)row * hidden + k;
#pragma unroll
  for (int e = 0; e < kVec; ++e) part.e[e] = T{};
  if (WORDS) {
    if (row < rows && k < hidden) part.load(from);
  } else {
#pragma unroll
    for (int e = 0; e < kVec; ++e)
      if (row < rows && k + e < hidden) part.e[e] = from[e];
  }
}

inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

extern "C" __global__ void __launch_bounds__(512)
    lstm(const __grid_constant__ Task t, const T* w0, const T* w1, const T* h0, const T* c0, const float* gates,
         float* upper, T* y, T* hn, T* cn) {
  alignas(16) __shared__ float h[ROWS][kMostHidden];  // zeros behind the hidden size
  __shared__ float c[ROWS][kMostHidden], sums[ROWS][4 * kMostHidden];
  grid_release();
  const u32 direction = blockIdx.x % t.directions, first = blockIdx.x / t.directions * ROWS;
  const T* w = direction ? w1 : w0;
  const bool words = t.words && aligned(address(w), 16);
  const u32 groups = blockDim.x / kLanes, group = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const u32 rows = 4 * t.hidden, depth = (t.hidden + kLanes * kVec - 1) / (kLanes * kVec) * (kLanes * kVec);
  grid_wait();
  for (u32 n = threadIdx.x; n < ROWS * kMostHidden; n += blockDim.x) {
    const u32 r = n / kMostHidden, u = n % kMostHidden;
    const bool there = u < t.hidden && first + r < t.batch;
    const i64 at = ((i64)direction * t.batch + first + r) * t.hidden + u;
    h[r][u] = there ? to_float(h0[at]) : 0.0f;
    c[r][u] = there ? to_float(c0[at]) : 0.0f;
  }
  __syncthreads();
#pragma unroll 1
  for (u32 done = 0; done < t.steps; ++done) {
    const u32 step = direction ? t.steps - 1 - done : done;
#pragma unroll 1
    for (u32 block = 0; block < rows; block += kLanes * groups) {
      const u32 row = block + lane * groups + group;  // whose sum this thread gets
      float sum[ROWS][kLanes] = {}, given[ROWS];
#pragma unroll
      for (int r = 0; r < ROWS; ++r)
        given[r] = row < rows && first + r < t.batch
                       ? gates[(((i64)direction * t.steps + step) * t.batch + first + r) * rows + row]
                       : 0.0f;
#pragma unroll 1
      for (u32 k = lane * kVec; k < depth; k += kLanes * kVec) {
        float state[ROWS][kVec];
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
          for (int e = 0; e < kVec; ++e) state[r][e] = h[r][k + e];
        Raw<T, kVec> weight[kLanes];
        if (words) {  // all on their way at once
#pragma unroll
          for (int i = 0; i < kLanes; ++i) load_part<true>(weight[i], w, block + i * groups + group, rows, k, t.hidden);
        } else {
#pragma unroll
          for (int i = 0; i < kLanes; ++i)
            load_part<false>(weight[i], w, block + i * groups + group, rows, k, t.hidden);
        }
#pragma unroll
        for (int e = 0; e < kVec; ++e)
#pragma unroll
          for (int i = 0; i < kLanes; ++i)
#pragma unroll
            for (int r = 0; r < ROWS; ++r) sum[r][i] += to_float(weight[i].e[e]) * state[r][e];
      }
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const float all = transposed_sum(sum[r], lane);
        if (row < rows) sums[r][row] = all + given[r];
      }
    }
    __syncthreads();
    for (u32 n = threadIdx.x; n < ROWS * t.hidden; n += blockDim.x) {
      const u32 r = n / t.hidden, u = n - r * t.hidden, sequence = first + r;
      const float* gate = sums[r] + u;
      const float cell = sigmoid(gate[t.hidden]) * c[r][u] + sigmoid(gate[0]) * tanhf(gate[2 * t.hidden]);
      const float out = sigmoid(gate[3 * t.hidden]) * tanhf(cell);
      c[r][u] = cell;
      h[r][u] = out;
      if (sequence >= t.batch) continue;
      const u32 column = direction * t.hidden + u;
      if (t.last)
        y[step * t.step + sequence * t.sequence + column] = from_float<T>(out);
      else
        upper[((i64)step * t.batch + sequence) * t.directions * t.hidden + column] = out;
      if (done + 1 < t.steps) continue;
      const i64 at = ((i64)direction * t.batch + sequence) * t.hidden + u;
      hn[at] = from_float<T>(out);
      cn[at] = from_float<T>(cell);
    }
    __syncthreads();
  }
}
#endif

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/rows.cuh"
// A copy between layouts that are contiguous along different dimensions: tiles of TILE x TILE elements through shared
// memory, so that both sides are moved in runs of 64 bytes or more. SIZE: bytes of an element. `from` is contiguous
// along b, `to` along a; other dimensions are in `batch_from` and `batch_to`.

#if SIZE == 1
typedef u8 Element;
#elif SIZE == 2
typedef unsigned short Element;
#elif SIZE == 4
typedef u32 Element;
#else
typedef u64 Element;
#endif
constexpr int kTile = SIZE == 8 ? 32 : 64, kVec = SIZE < 4 ? 4 / SIZE : 1, kThreads = 256;
constexpr int kAcross = kTile / kVec, kDown = kThreads / kAcross, kPasses = kTile / kDown;
// One word more in a row than the tile has: columns then lie in different banks.
constexpr int kPitch = kTile + kVec;

struct Tiles {
  Rows batch_from, batch_to;
  Divider along_a, along_b;  // tiles
  u32 a, b;                  // elements
  i64 from_a, to_b;          // strides
};

extern "C" __global__ void __launch_bounds__(kThreads)
    copy_tiles(const __grid_constant__ Tiles t, const Element* from, Element* to) {
  alignas(16) __shared__ Element tile[kTile * kPitch];
  grid_release();
  grid_wait();
  const u32 rest = t.along_a.quotient(blockIdx.x), tile_a = blockIdx.x - rest * t.along_a.divisor;
  const u32 batch = t.along_b.quotient(rest), tile_b = rest - batch * t.along_b.divisor;
  const u32 a0 = tile_a * kTile, b0 = tile_b * kTile;
  const u32 x = threadIdx.x % kAcross * kVec, y = threadIdx.x / kAcross;
  from += t.batch_from.offset(batch) + a0 * t.from_a + b0;
  to += t.batch_to.offset(batch) + b0 * t.to_b + a0;
  const u32 left_a = t.a - a0, left_b = t.b - b0;

  Raw<Element, kVec> held[kPasses];
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const u32 a = y + i * kDown;
    const Element* p = from + a * t.from_a + x;
    if (a < left_a && x + kVec <= left_b && aligned(address(p), SIZE * kVec)) {
      held[i].load(p);
    } else {
#pragma unroll
      for (int e = 0; e < kVec; ++e) held[i].e[e] = a < left_a && x + e < left_b ? p[e] : (Element)0;
    }
  }
#pragma unroll
  for (int i = 0; i < kPasses; ++i) held[i].store(tile + (y + i * kDown) * kPitch + x);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const u32 b = y + i * kDown;
    if (b >= left_b || x >= left_a) continue;
    Raw<Element, kVec> out;
#pragma unroll
    for (int e = 0; e < kVec; ++e) out.e[e] = tile[(x + e) * kPitch + b];
    Element* p = to + b * t.to_b + x;
    if (x + kVec <= left_a && aligned(address(p), SIZE * kVec)) {
      out.store(p);
    } else {
#pragma unroll
      for (int e = 0; e < kVec; ++e)
        if (x + e < left_a) p[e] = out.e[e];
    }
  }
}

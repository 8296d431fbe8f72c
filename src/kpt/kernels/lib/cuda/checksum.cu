// SPDX-License-Identifier: Apache-2.0
// checksum.h. Reads each byte once: 8-byte words, a thread's kFlight on their way at once.
#ifndef KPT_EMULATED
#include "kpt/kernels/lib/cuda/warp.cuh"
#endif

struct Pair {
  u64 first, second;
};

inline void mix(Pair& s, u64 word, u64 place) {
  u64 h = (word ^ (place * 0x9E3779B97F4A7C15u)) * 0xFF51AFD7ED558CCDu;
  h = (h ^ (h >> 32)) * 0xC4CEB9FE1A85EC53u;
  h ^= h >> 29;
  s.first += h;
  s.second += h * (2 * place + 1);
}

KERNEL void __launch_bounds__(256) checksum(const u64* x, Pair* out, i64 bytes) {
  constexpr int kFlight = 8;
  Pair mine{};
  const i64 words = bytes / 8, step = (i64)gridDim.x * blockDim.x;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += kFlight * step) {
    u64 word[kFlight];
#pragma unroll
    for (int k = 0; k < kFlight; ++k) word[k] = i + k * step < words ? x[i + k * step] : 0;
#pragma unroll
    for (int k = 0; k < kFlight; ++k)
      if (i + k * step < words) mix(mine, word[k], (u64)(i + k * step) + 1);
  }
  if (blockIdx.x == 0 && threadIdx.x == 0 && bytes % 8 != 0) {
    u64 last = 0;
    const u8* rest = reinterpret_cast<const u8*>(x + words);
    for (int b = 0; b < bytes % 8; ++b) last |= (u64)rest[b] << (8 * b);
    mix(mine, last, (u64)words + 1);
  }
  __shared__ Pair all[256];
  all[threadIdx.x] = mine;
  for (u32 half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    all[threadIdx.x].first += all[threadIdx.x + half].first;
    all[threadIdx.x].second += all[threadIdx.x + half].second;
  }
  if (threadIdx.x == 0) out[blockIdx.x] = all[0];
}

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/attention/arguments.cuh"
#include "kpt/kernels/attention/attention.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {

// How one problem is cut for a GPU: attention.cu for bf16 and f16, attention_f32.cu for f32. Compiled in are all fields
// down to min_blocks, so lengths, heads and strides never compile anything.
struct AttentionConfig {
  int head = 64;                 // size of a head in shared memory and registers
  int rows = 64;                 // of a tile
  int warps_m = 4, warps_n = 1;  // bf16, f16: warps along the queries and along the keys
  int block_n = 64, stages = 2;  // keys of a block; blocks in shared memory
  int min_blocks = 1;            // blocks a multiprocessor
  int pack = 1;                  // query heads of one key head that share a tile
  int splits = 1;                // parts of the keys that blocks of their own take
  int64_t split_keys = 0;
  int64_t tiles = 0, blocks = 0;  // of one unit; in the grid
  int64_t shared_bytes = 0;
  int threads() const { return 32 * warps_m * warps_n; }
};

// Pure: no GPU needed.
AttentionConfig attention_config(const AttentionCall& call, const GpuTraits& gpu);
Verdict attention_cuda_supports(const AttentionCall& call, const GpuTraits& gpu);
CudaWork attention_cuda_work(const AttentionCall& call, const GpuTraits& gpu);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
// What a key mask says to a kernel that knows lengths alone: for each batch entry, one block. out: i32 [3][batch]:
// the number of queries; of keys, counted where the kept ones come first, else all of them; 1 where that is the whole
// truth of the mask (some keys are kept, and they come first), else 0.
#include "kpt/kernels/lib/cuda/types.cuh"

extern "C" __global__ void __launch_bounds__(256)
    lengths(const u8* mask, int* out, i64 mask_b, i64 mask_t, int queries, int keys) {
  grid_release();
  __shared__ int kept, end;
  if (threadIdx.x == 0) kept = end = 0;
  __syncthreads();
  grid_wait();
  mask += blockIdx.x * mask_b;
  int count = 0, last = 0;
  for (int key = (int)threadIdx.x; key < keys; key += (int)blockDim.x)
    if (mask[key * mask_t]) {
      ++count;
      last = key + 1;
    }
  atomicAdd(&kept, count);
  atomicMax(&end, last);
  __syncthreads();
  if (threadIdx.x != 0) return;
  const bool first = kept == end && kept > 0;
  out[blockIdx.x] = queries;
  out[gridDim.x + blockIdx.x] = first ? kept : keys;
  out[2 * gridDim.x + blockIdx.x] = first;
}

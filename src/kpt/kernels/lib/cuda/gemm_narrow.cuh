// SPDX-License-Identifier: Apache-2.0
#pragma once
// What gemm_narrow.cu is told, the same text for the host and the device.
#ifndef __CUDACC_RTC__
namespace kpt {
#endif

constexpr int kNarrowColumns = 64, kNarrowDepth = 64;  // rows of w in a block, depth of a step
constexpr int kNarrowStages = 32;                      // at most
constexpr int kNarrowPitch = kNarrowColumns + 4;       // floats of a row of sums: 16-byte pieces on different banks

// Row strides in elements. y = act(x w^T + bias) + beta residual.
struct NarrowArguments {
  long long y_m, residual_m;
  int m, n;
  int steps;   // of 64 of the depth, in all
  int stages;  // of a block's ring
  int early;   // nobody writes w shortly before: it is fetched while the kernel before still runs
  float beta;
};

#ifndef __CUDACC_RTC__
}  // namespace kpt
#endif

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>

#include "kpt/kernels/lib/cuda/rows.h"

namespace kpt {

// The dimensions that N tensors share, in the order of the last tensor's strides (the output's: it is then written side
// by side), neighbours merged where the strides of all allow, those of size 1 dropped.
template <int N>
struct JointDims {
  Dims sizes;
  std::array<Dims, N> strides;
};
std::vector<int> by_stride(const Dims& strides);  // dimensions, largest stride first

template <int N>
JointDims<N> joint_dims(const Dims& sizes, const std::array<Dims, N>& strides) {
  JointDims<N> out;
  for (int d : by_stride(strides[N - 1])) {
    if (sizes[d] == 1) continue;
    const int last = out.sizes.rank() - 1;
    bool merges = last >= 0;
    for (size_t t = 0; merges && t < N; ++t) merges = out.strides[t][last] == strides[t][d] * sizes[d];
    if (merges)
      out.sizes[last] *= sizes[d];
    else
      out.sizes.push_back(sizes[d]);
    for (size_t t = 0; t < N; ++t) {
      if (merges)
        out.strides[t][last] = strides[t][d];
      else
        out.strides[t].push_back(strides[t][d]);
    }
  }
  return out;
}

// Joint<N> of joint.cuh, by value a kernel's parameter.
template <int N>
struct CudaJoint {
  int32_t rank = 0;
  CudaDivider sizes[kMaxRank];
  int64_t strides[N][kMaxRank] = {};
};
// `scale`: what the strides are multiplied by, for strides in bytes.
template <int N>
CudaJoint<N> cuda_joint(const JointDims<N>& dims, const std::array<int64_t, N>& scale) {
  CudaJoint<N> out;
  out.rank = dims.sizes.rank();
  for (int d = 0; d < out.rank; ++d) {
    out.sizes[d] = cuda_divider(dims.sizes[d] > 0 ? dims.sizes[d] : 1);
    for (size_t t = 0; t < N; ++t) out.strides[t][d] = dims.strides[t][d] * scale[t];
  }
  return out;
}

}  // namespace kpt

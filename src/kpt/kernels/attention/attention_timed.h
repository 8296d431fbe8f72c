// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/cuda/cudnn_attention.h"
#include "kpt/kernels/attention/attention_cuda.h"

namespace kpt {

// cuDNN's attention for a problem: none or a key mask (as lengths), causal or not. A no for other masks, other types,
// heads whose strides no 16-byte access fits, and work so small that the start of a kernel is most of it. Pure.
Verdict cudnn_attention_problem(const AttentionCall& call, CudnnAttention& out);

// Who may win: the faster one, or (for tests) cuDNN.
enum class AttentionContest : uint8_t { fair, library };
std::unique_ptr<Launch> make_timed_attention(const Problem& problem, AttentionContest contest);

void register_attention_timed(KernelRegistry& registry);

}  // namespace kpt

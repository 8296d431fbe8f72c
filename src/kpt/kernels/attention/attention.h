// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/hardware/cpu.h"
#include "kpt/kernels/attention/attention_cpu.h"
#include "kpt/kernels/kernel.h"

namespace kpt {

// kpt.attention(%q, %k, %v, %mask?, scale=.., causal=false, mask_kind="none", layout="bhsd")
//
// y = softmax(q k^T scale + mask) v. q: [B, H, S, D], k: [B, Hkv, T, D], v: [B, Hkv, T, Dv], H a multiple of Hkv; one
// float type (f32, bf16, f16 by the fast kernel, f64 too by the reference), any strides. y: [B, H, S, Dv] ("bhsd") or
// [B, S, H, Dv] ("bshd"), row-major. scale defaults to 1 / sqrt(D).
// mask_kind key: bool [B or 1, T]; bool: broadcastable to [B, H, S, T], true keeps; add: the same in a float type,
// added. causal: query i sees keys j <= i, beside any mask. Queries that see no key give 0, with an added mask of -inf
// NaN. Scores, weights and sums in f32; the result is rounded once. Sizes of 0 and 1 are taken.
struct AttentionCall {
  AttentionProblem p;
  DType dtype = DType::f32, mask_dtype = DType::f32;
  int q = 0, k = 1, v = 2, mask = -1;  // indices into Problem::inputs
};

Verdict attention_call(const Problem& problem, AttentionCall& call);
Verdict attention_supports(const AttentionCall& call);
AttentionPlan plan_attention(const AttentionProblem& p, Isa isa);
std::unique_ptr<Launch> make_attention(AttentionCall call, Isa isa = cpu_isa());
std::unique_ptr<Launch> make_attention_reference(AttentionCall call);

}  // namespace kpt

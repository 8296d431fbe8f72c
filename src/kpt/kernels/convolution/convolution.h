// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/hardware/cpu.h"
#include "kpt/kernels/convolution/convolution_cpu.h"
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.convolution(%x, %w, %b, stride=[..], padding=[..], dilation=[..], transposed=false, output_padding=[..],
// groups=1) kpt.convolution(%x, %w, %b, %residual, the same, act="none", layout="nchw")
//
// x: [B, C, H, W] or [B, C, L]; w: [O, C / groups, kh, kw] or [O, C / groups, k]; b: [O] or none; y: [B, O, oh, ow] or
// [B, O, ol], with layout="nhwc" [B, oh, ow, O] or [B, ol, O]; residual: sizes of y, or none. y and the residual are
// row-major. y = act(convolution + b + residual), `act` as in kpt.linear. One float type for all. Zero padding. Sizes
// of 0 and 1 are taken. Transposed and 3-D convolutions are refused. Sums in f32, the result is rounded once.
// The fast CPU kernel takes f32, bf16 and f16, no residual, layout nchw, row-major weights, and x with a contiguous
// last axis and any other strides; the reference takes all strides and f64.
struct ConvCall {
  ConvProblem p;
  DType dtype = DType::f32;
  int x = 0, w = 1, bias = -1, residual = -1;  // indices into Problem::inputs
};

Verdict conv_call(const Problem& problem, ConvCall& call);
Verdict conv_supports(const ConvCall& call);
ConvPlan plan_conv(const ConvProblem& p, Isa isa);
std::unique_ptr<Launch> make_conv(ConvCall call, Isa isa = cpu_isa());
std::unique_ptr<Launch> make_conv_reference(ConvCall call);

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/cuda/cudnn_convolution.h"
#include "kpt/kernels/convolution/convolution.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {

// Three pieces. All take f32, bf16 and f16, sum in f32, and read NaN as the reference does.
//
//   cuDNN    (vendor) x, w and y packed in one order: channels before the pixels, or last. Bias, residual and relu are
//            part of its graph where that is faster, else the tail's; other activations always are the tail's
//   tail     y = act(y + bias + residual) in place
//   direct   (kpt) the definition, one output a thread: for one channel a group, and for small convolutions of an x
//            that cuDNN does not take. The vendor kernel falls back to it at run time for addresses off 16 bytes.
CudnnConvolution cudnn_problem(const ConvCall& call);  // of a call that conv_cudnn_supports
CudaWork plan_conv_tail(const ConvCall& call);         // its inputs: bias, residual
CudaWork plan_conv_direct(const ConvCall& call);
Verdict conv_direct_supports(const ConvCall& call);
Verdict conv_cudnn_supports(const ConvCall& call);  // of the problem: whether the library is here is asked elsewhere

}  // namespace kpt

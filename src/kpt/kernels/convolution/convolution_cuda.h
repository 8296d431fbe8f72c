// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/cuda/cudnn_convolution.h"
#include "kpt/kernels/convolution/convolution.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {

// Three pieces. All take f32, bf16 and f16, sum in f32, and read NaN as the reference does.
//
//   cuDNN    (vendor) x with packed planes; bias and activation by the tail
//   tail     y = act(y + bias) in place
//   direct   (kpt) the definition, one output a thread: for one channel a group, and for small convolutions of an x
//            that cuDNN does not take. The vendor kernel falls back to it at run time for addresses off 16 bytes.
CudnnConvolution cudnn_problem(const ConvCall& call);
CudaWork plan_conv_tail(const ConvCall& call);
CudaWork plan_conv_direct(const ConvCall& call);
Verdict conv_direct_supports(const ConvCall& call);
Verdict conv_cudnn_supports(const ConvCall& call);  // of the problem: whether the library is here is asked elsewhere

}  // namespace kpt

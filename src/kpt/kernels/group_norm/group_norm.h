// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.group_norm(%x, %w?, %b?, num_groups=.., eps=..): x: [N, C, ..] dense, C a multiple of num_groups; mean and
// variance over each group of channels of one sample; w, b: [C] dense. One dtype for all (f32, bf16, f16). Statistics
// in f32, two-pass. In place over x.

}  // namespace kpt

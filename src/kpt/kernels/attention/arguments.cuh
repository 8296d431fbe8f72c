// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the GPU kernels of attention are told, the same text for the host and the device.
#ifndef __CUDACC_RTC__
namespace kpt {
#endif

// Strides in bytes but those of the mask (elements); of axes of size 1 they are 0. A unit is what one row of blocks
// works on: `pack` query heads of one key head, whose rows are interleaved: row r is query r / pack of head r % pack.
struct AttentionArguments {
  long long q_b, q_h, q_s, k_b, k_h, v_b, v_h, y_b, y_h, y_s;
  long long mask_b, mask_h, mask_s, mask_t;
  int k_t, v_t;                                            // of keys
  int q_d, k_d, v_e;                                       // of elements
  int s, t, d, e;                                          // sizes
  int units, group, pack;                                  // units of one batch entry; query heads of one key head
  int rows, tiles;                                         // rows of a unit: s * pack; tiles they are cut into
  int splits, split_keys;                                  // parts that the keys are cut into
  int units_total;                                         // batch * units
  int causal, q_wide, k_wide, v_wide, y_wide, mask_pairs;  // wide: 16-byte access if the base pointer is aligned
  float scale;                                             // times log2 e
};

#ifndef __CUDACC_RTC__
}  // namespace kpt
#endif

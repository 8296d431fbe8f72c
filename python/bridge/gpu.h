// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "kpt/validation/validation.h"

namespace kpt::bridge {

// Nothing here links CUDA: torch's own device guard is asked, so one library serves machines with and without a GPU.

// torch's current stream of that device as a CUstream.
void* current_stream(at::Device device);

// Lets the core draw on torch's caching allocator. Called once, at load.
void share_allocator();

// kpt::cuda_distance over tensors of any strides on one GPU, on torch's current stream.
Distance device_distance(const at::Tensor& x, const at::Tensor& reference);
Checksum device_checksum(const at::Tensor& x);

// JSON: [{index, name, uuid, arch, multiprocessors, memory_bytes, l2_bytes, clock_khz, memory_clock_khz, bus_bits,
// driver}], or [] with the reason under the second name.
std::string gpus_json();

}  // namespace kpt::bridge

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>

#include "kpt/base/error.h"

namespace kpt {

// Instruction sets our SIMD files are built for (cmake/room.cmake), weakest first.
enum class Isa : uint8_t { generic, avx2, avx512, avx512bf16 };
KPT_API const char* name(Isa isa);

// What this processor is; unknown stays 0 / "". Probed once; plain facts, no policy.
struct CpuInfo {
  std::string vendor, model;
  int processors = 0;  // usable by this process (affinity and cgroup quota)
  bool avx2 = false, avx512 = false, avx512_bf16 = false, avx512_vnni = false, amx_bf16 = false, amx_int8 = false;
  int64_t l1d_bytes = 0, l2_bytes = 0, l3_bytes = 0;
  int numa_nodes = 0;
  int64_t memory_bytes = 0;
};
KPT_API const CpuInfo& cpu_info();

// The best set this machine runs, capped by the setting KPT_CPU_ISA (generic, avx2, avx512, avx512bf16). An operating
// system that does not save the AVX-512 state (XCR0) counts as not having it.
KPT_API Isa cpu_isa();

}  // namespace kpt

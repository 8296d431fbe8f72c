// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "kpt/hardware/cpu.h"

// A table indexed by Isa, ENTRY(namespace) for each set this file's program was built with; elsewhere than x86-64 there
// is only the generic build, and it stands in all places.
#if defined(__x86_64__)
#define KPT_ISA_TABLE(ENTRY) \
  { ENTRY(generic), ENTRY(avx2), ENTRY(avx512), ENTRY(avx512bf16) }
#else
#define KPT_ISA_TABLE(ENTRY) \
  { ENTRY(generic), ENTRY(generic), ENTRY(generic), ENTRY(generic) }
#endif

namespace kpt {

// The sets this machine can run, weakest first, whatever KPT_CPU_ISA says: tests go through all of them.
inline std::vector<Isa> isas_of_this_machine() {
  std::vector<Isa> all{Isa::generic};
  const CpuInfo& cpu = cpu_info();
  if (cpu.avx2) all.push_back(Isa::avx2);
  if (cpu.avx512) all.push_back(Isa::avx512);
  if (cpu.avx512 && cpu.avx512_bf16) all.push_back(Isa::avx512bf16);
  return all;
}

}  // namespace kpt

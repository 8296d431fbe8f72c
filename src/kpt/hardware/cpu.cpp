// SPDX-License-Identifier: Apache-2.0
#include "kpt/hardware/cpu.h"

#include <unistd.h>

#include <algorithm>

#include "kpt/base/settings.h"
#include "kpt/base/threads.h"
#include "kpt/hardware/sysfs.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace kpt {
namespace {

CpuidWords read_cpuid() {
  CpuidWords w;
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d)) w.leaf1_ecx = c;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    w.leaf7_ebx = b, w.leaf7_ecx = c, w.leaf7_edx = d;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) w.leaf7_1_eax = a;
  }
  // XGETBV faults unless the system has switched XSAVE on (OSXSAVE, bit 27).
  if (w.leaf1_ecx >> 27 & 1) {
    unsigned lo = 0, hi = 0;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    w.xcr0 = uint64_t{hi} << 32 | lo;
  }
#endif
  return w;
}

CpuInfo probe() {
  CpuInfo info;
  decode(read_cpuid(), info);
  read_model("", info);
  read_caches("", info);
  read_numa("", info);
  info.processors = usable_processors();
  if (int quota = cgroup_processors("")) info.processors = std::min(info.processors, quota);
  info.memory_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  if (int64_t limit = cgroup_memory("")) info.memory_bytes = std::min(info.memory_bytes, limit);
  return info;
}

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::generic: return "generic";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512bf16: return "avx512bf16";
  }
  return "unknown";
}

const CpuInfo& cpu_info() {
  static const CpuInfo info = probe();
  return info;
}

Isa cpu_isa() {
  static const Isa best = best_isa(cpu_info());
  std::string_view cap = setting_choice("cpu_isa");
  for (Isa isa : {Isa::generic, Isa::avx2, Isa::avx512, Isa::avx512bf16})
    if (cap == name(isa)) return std::min(isa, best);
  return best;  // auto
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "kpt/hardware/cpu.h"

namespace kpt {

// Readers of Linux's /sys and /proc. `root` goes before every path ("" in production, a made-up tree in tests).
// A missing or malformed file leaves the field as it is: containers hide many of them.

int64_t parse_bytes(std::string_view text);  // "32K" "1024K" "8M" "512": bytes; 0 where it is none of these
int count_list(std::string_view text);       // "0-3,8,10-11" is 7; 0 where malformed

void read_caches(const std::string& root, CpuInfo& info);  // level 1 data, 2, 3 of processor 0, per instance
void read_model(const std::string& root, CpuInfo& info);   // vendor and model name of /proc/cpuinfo
void read_numa(const std::string& root, CpuInfo& info);    // nodes online
// Whole processors that the cgroup's CPU quota gives (rounded up), over the group and its parents; 0: no quota.
int cgroup_processors(const std::string& root);
// The least memory limit of the cgroup and its parents in bytes; 0: no limit.
int64_t cgroup_memory(const std::string& root);

// What CPUID and XGETBV said; zero where the processor has no such leaf.
struct CpuidWords {
  uint32_t leaf1_ecx = 0, leaf7_ebx = 0, leaf7_ecx = 0, leaf7_edx = 0, leaf7_1_eax = 0;
  uint64_t xcr0 = 0;  // register states the operating system saves
};
void decode(const CpuidWords& words, CpuInfo& info);

Isa best_isa(const CpuInfo& info);

}  // namespace kpt

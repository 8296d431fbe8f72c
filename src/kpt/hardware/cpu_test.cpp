// SPDX-License-Identifier: Apache-2.0
#include "kpt/hardware/cpu.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "kpt/base/settings.h"
#include "kpt/hardware/sysfs.h"

namespace kpt {
namespace {

namespace fs = std::filesystem;

// A made-up /sys and /proc, removed at the end.
class FakeRoot {
 public:
  FakeRoot() {
    std::string pattern = (fs::temp_directory_path() / "kpt_cpu_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~FakeRoot() { fs::remove_all(path_); }
  FakeRoot& file(const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(path_ + name).parent_path());
    std::ofstream(path_ + name) << text << "\n";
    return *this;
  }
  const std::string& str() const { return path_; }

 private:
  std::string path_;
};

// Zen 4 as the manual gives it: everything but AMX, with all states saved.
CpuidWords all_but_amx() {
  CpuidWords w;
  w.leaf1_ecx = 1u << 27 | 1u << 12 | 1u << 29;
  w.leaf7_ebx = 1u << 5 | 1u << 8 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  w.leaf7_ecx = 1u << 11;
  w.leaf7_1_eax = 1u << 5;
  w.xcr0 = 0xe7;
  return w;
}

CpuInfo decoded(const CpuidWords& words) {
  CpuInfo info;
  decode(words, info);
  return info;
}

TEST(Cpu, DecodesTheFullSet) {
  CpuInfo info = decoded(all_but_amx());
  EXPECT_TRUE(info.avx2 && info.avx512 && info.avx512_bf16 && info.avx512_vnni);
  EXPECT_FALSE(info.amx_bf16 || info.amx_int8);
  EXPECT_EQ(best_isa(info), Isa::avx512bf16);
}

TEST(Cpu, StateTheSystemDoesNotSaveCountsAsAbsent) {
  CpuidWords w = all_but_amx();
  w.xcr0 = 0x07;  // YMM saved, ZMM not
  EXPECT_EQ(best_isa(decoded(w)), Isa::avx2);
  w.xcr0 = 0x03;  // XMM only
  EXPECT_EQ(best_isa(decoded(w)), Isa::generic);
  w.xcr0 = 0xe7;
  w.leaf1_ecx &= ~(1u << 27);  // OSXSAVE off
  EXPECT_EQ(best_isa(decoded(w)), Isa::generic);
}

TEST(Cpu, EachMissingPartLowersTheSet) {
  for (int missing : {16, 17, 30, 31}) {
    CpuidWords w = all_but_amx();
    w.leaf7_ebx &= ~(1u << missing);
    EXPECT_EQ(best_isa(decoded(w)), Isa::avx2) << "bit " << missing;
  }
  CpuidWords no_vnni = all_but_amx();
  no_vnni.leaf7_ecx = 0;
  EXPECT_EQ(best_isa(decoded(no_vnni)), Isa::avx512);
  CpuidWords no_fma = all_but_amx();
  no_fma.leaf1_ecx &= ~(1u << 12);
  EXPECT_EQ(best_isa(decoded(no_fma)), Isa::generic);
  EXPECT_EQ(best_isa(decoded({})), Isa::generic);
}

TEST(Cpu, AmxNeedsItsTileState) {
  CpuidWords w = all_but_amx();
  w.leaf7_edx = 1u << 22 | 1u << 24 | 1u << 25;
  EXPECT_FALSE(decoded(w).amx_bf16);
  w.xcr0 |= 0x60000;
  EXPECT_TRUE(decoded(w).amx_bf16 && decoded(w).amx_int8);
}

TEST(Cpu, ParsesSizesAndLists) {
  EXPECT_EQ(parse_bytes("32K"), 32768);
  EXPECT_EQ(parse_bytes("8M"), 8 << 20);
  EXPECT_EQ(parse_bytes("64"), 64);
  EXPECT_EQ(parse_bytes("K"), 0);
  EXPECT_EQ(parse_bytes("-1K"), 0);
  EXPECT_EQ(count_list("0-3,8,10-11"), 7);
  EXPECT_EQ(count_list("0"), 1);
  EXPECT_EQ(count_list("3-0"), 0);
  EXPECT_EQ(count_list("x"), 0);
}

TEST(Cpu, ReadsCachesAndModel) {
  FakeRoot root;
  const std::string cache = "/sys/devices/system/cpu/cpu0/cache/index";
  root.file(cache + "0/level", "1").file(cache + "0/type", "Data").file(cache + "0/size", "48K");
  root.file(cache + "1/level", "1").file(cache + "1/type", "Instruction").file(cache + "1/size", "32K");
  root.file(cache + "2/level", "2").file(cache + "2/type", "Unified").file(cache + "2/size", "2048K");
  root.file("/sys/devices/system/node/online", "0-1");
  root.file("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon X\n\nmodel name\t: other");
  CpuInfo info;
  read_caches(root.str(), info);
  read_model(root.str(), info);
  read_numa(root.str(), info);
  EXPECT_EQ(info.l1d_bytes, 48 << 10);
  EXPECT_EQ(info.l2_bytes, 2048 << 10);
  EXPECT_EQ(info.l3_bytes, 0);
  EXPECT_EQ(info.numa_nodes, 2);
  EXPECT_EQ(info.vendor, "GenuineIntel");
  EXPECT_EQ(info.model, "Xeon X");
}

TEST(Cpu, QuotaOfTheTightestParentWinsAndRoundsUp) {
  FakeRoot root;
  root.file("/proc/self/cgroup", "0::/pod/box");
  root.file("/sys/fs/cgroup/pod/box/cpu.max", "max 100000");
  EXPECT_EQ(cgroup_processors(root.str()), 0);
  root.file("/sys/fs/cgroup/pod/cpu.max", "250000 100000");
  EXPECT_EQ(cgroup_processors(root.str()), 3);
  root.file("/sys/fs/cgroup/cpu.max", "100000 100000");
  EXPECT_EQ(cgroup_processors(root.str()), 1);
  root.file("/sys/fs/cgroup/pod/memory.max", "1048576");
  EXPECT_EQ(cgroup_memory(root.str()), 1048576);
}

TEST(Cpu, OldCgroupTreeIsReadToo) {
  FakeRoot root;
  root.file("/proc/self/cgroup", "3:cpuacct,cpu:/box\n4:memory:/box");
  root.file("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "400000")
      .file("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000");
  root.file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(cgroup_processors(root.str()), 4);
  EXPECT_EQ(cgroup_memory(root.str()), 0);
}

TEST(Cpu, EmptyRootLeavesEverythingUnknown) {
  FakeRoot root;
  CpuInfo info;
  read_caches(root.str(), info);
  read_model(root.str(), info);
  EXPECT_EQ(info.l1d_bytes, 0);
  EXPECT_EQ(info.model, "");
  EXPECT_EQ(cgroup_processors(root.str()), 0);
}

TEST(Cpu, ThisMachineHasAProcessorAndMemory) {
  EXPECT_GE(cpu_info().processors, 1);
  EXPECT_LE(cpu_info().processors, sysconf(_SC_NPROCESSORS_CONF));
  EXPECT_GT(cpu_info().memory_bytes, 0);
  EXPECT_EQ(&cpu_info(), &cpu_info());
}

TEST(Cpu, SettingCapsTheInstructionSetAndNeverRaisesIt) {
  Isa best = best_isa(cpu_info());
  for (Isa cap : {Isa::generic, Isa::avx2, Isa::avx512, Isa::avx512bf16}) {
    set_setting("cpu_isa", name(cap));
    EXPECT_EQ(cpu_isa(), std::min(cap, best)) << name(cap);
  }
  reload_settings();
}

}  // namespace
}  // namespace kpt

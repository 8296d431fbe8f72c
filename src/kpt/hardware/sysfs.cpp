// SPDX-License-Identifier: Apache-2.0
#include "kpt/hardware/sysfs.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

namespace kpt {
namespace {

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<int64_t> to_number(std::string_view text) {
  int64_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The folders of this process's cgroup and its parents, innermost first. Version 2 has one tree ("0::/path"); version 1
// has one for each controller ("4:cpu,cpuacct:/path").
std::vector<std::string> cgroup_folders(const std::string& root, std::string_view controller) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::vector<std::string> folders;
  std::string line;
  while (std::getline(file, line)) {
    size_t a = line.find(':'), b = a == std::string::npos ? a : line.find(':', a + 1);
    if (b == std::string::npos) continue;
    std::string names = line.substr(a + 1, b - a - 1), path = line.substr(b + 1);
    std::string base = root + "/sys/fs/cgroup";
    if (!names.empty()) {
      if (cat(",", names, ",").find(cat(",", controller, ",")) == std::string::npos) continue;
      base += "/" + std::string(controller);
    }
    while (true) {
      while (path.ends_with('/')) path.pop_back();
      folders.push_back(base + path);
      if (path.empty()) break;
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
  return folders;
}

}  // namespace

int64_t parse_bytes(std::string_view text) {
  int64_t unit = 1;
  if (text.ends_with('K')) unit = 1 << 10;
  if (text.ends_with('M')) unit = 1 << 20;
  if (text.ends_with('G')) unit = 1 << 30;
  if (unit > 1) text.remove_suffix(1);
  auto value = to_number(text);
  return value && *value >= 0 ? *value * unit : 0;
}

int count_list(std::string_view text) {
  int64_t count = 0;
  std::istringstream parts{std::string(text)};
  std::string part;
  while (std::getline(parts, part, ',')) {
    size_t dash = part.find('-');
    auto lo = to_number(std::string_view(part).substr(0, dash));
    auto hi = dash == std::string::npos ? lo : to_number(std::string_view(part).substr(dash + 1));
    if (!lo || !hi || *hi < *lo) return 0;
    count += *hi - *lo + 1;
  }
  return static_cast<int>(count);
}

void read_caches(const std::string& root, CpuInfo& info) {
  // A processor has four or five cache entries; 16 is far beyond any.
  for (int i = 0; i < 16; ++i) {
    std::string folder = cat(root, "/sys/devices/system/cpu/cpu0/cache/index", i);
    auto level = first_line(folder + "/level"), type = first_line(folder + "/type"),
         size = first_line(folder + "/size");
    if (!level || !type || !size || *type == "Instruction") continue;
    if (*level == "1") info.l1d_bytes = parse_bytes(*size);
    if (*level == "2") info.l2_bytes = parse_bytes(*size);
    if (*level == "3") info.l3_bytes = parse_bytes(*size);
  }
}

void read_model(const std::string& root, CpuInfo& info) {
  std::ifstream file(root + "/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line) && !(line.empty() && !info.model.empty())) {
    size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    if (line.starts_with("vendor_id")) info.vendor = line.substr(colon + 2);
    if (line.starts_with("model name")) info.model = line.substr(colon + 2);
  }
}

void read_numa(const std::string& root, CpuInfo& info) {
  if (auto online = first_line(root + "/sys/devices/system/node/online")) info.numa_nodes = count_list(*online);
}

int cgroup_processors(const std::string& root) {
  int64_t least = 0;
  auto take = [&](std::optional<int64_t> quota, std::optional<int64_t> period) {
    if (!quota || !period || *quota <= 0 || *period <= 0) return;
    int64_t whole = (*quota + *period - 1) / *period;
    least = least ? std::min(least, whole) : whole;
  };
  for (const std::string& folder : cgroup_folders(root, "cpu")) {
    if (auto max = first_line(folder + "/cpu.max")) {
      size_t blank = max->find(' ');
      if (blank != std::string::npos) take(to_number(max->substr(0, blank)), to_number(max->substr(blank + 1)));
    }
    auto quota = first_line(folder + "/cpu.cfs_quota_us"), period = first_line(folder + "/cpu.cfs_period_us");
    if (quota && period) take(to_number(*quota), to_number(*period));
  }
  return static_cast<int>(least);
}

int64_t cgroup_memory(const std::string& root) {
  // Version 1 writes "no limit" as a huge number of pages.
  constexpr int64_t kNoLimit = int64_t{1} << 60;
  int64_t least = 0;
  for (const std::string& folder : cgroup_folders(root, "memory")) {
    for (const char* file : {"/memory.max", "/memory.limit_in_bytes"}) {
      auto line = first_line(folder + file);
      auto limit = line ? to_number(*line) : std::nullopt;
      if (limit && *limit > 0 && *limit < kNoLimit) least = least ? std::min(least, *limit) : *limit;
    }
  }
  return least;
}

// Bit numbers: Intel Software Developer's Manual, volume 2A, CPUID; volume 1, 13.3 for XCR0.
void decode(const CpuidWords& w, CpuInfo& info) {
  auto bit = [](uint64_t word, int i) { return (word >> i & 1) != 0; };
  auto saved = [&](uint64_t states) { return bit(w.leaf1_ecx, 27) && (w.xcr0 & states) == states; };
  constexpr uint64_t kAvxState = 0x6, kAvx512State = 0xe6, kTileState = 0x60000;
  bool fma = bit(w.leaf1_ecx, 12), f16c = bit(w.leaf1_ecx, 29), bmi2 = bit(w.leaf7_ebx, 8);
  info.avx2 = saved(kAvxState) && bit(w.leaf7_ebx, 5) && fma && f16c && bmi2;
  bool f = bit(w.leaf7_ebx, 16), dq = bit(w.leaf7_ebx, 17), bw = bit(w.leaf7_ebx, 30), vl = bit(w.leaf7_ebx, 31);
  info.avx512 = info.avx2 && saved(kAvx512State) && f && dq && bw && vl;
  info.avx512_vnni = info.avx512 && bit(w.leaf7_ecx, 11);
  info.avx512_bf16 = info.avx512 && bit(w.leaf7_1_eax, 5);
  bool tile = saved(kTileState) && bit(w.leaf7_edx, 24);
  info.amx_bf16 = tile && bit(w.leaf7_edx, 22);
  info.amx_int8 = tile && bit(w.leaf7_edx, 25);
}

// The flags of cmake/room.cmake ask for exactly these: avx512bf16 files may use VNNI too.
Isa best_isa(const CpuInfo& info) {
  if (info.avx512_bf16 && info.avx512_vnni) return Isa::avx512bf16;
  if (info.avx512) return Isa::avx512;
  if (info.avx2) return Isa::avx2;
  return Isa::generic;
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "kpt/commands/commands.h"
#include "kpt/hardware/cpu.h"
#include "kpt/version.h"

namespace kpt {
namespace {

nlohmann::ordered_json facts() {
  const CpuInfo& c = cpu_info();
  return {{"version", version()},
          {"cpu",
           {{"vendor", c.vendor},
            {"model", c.model},
            {"processors", c.processors},
            {"isa", name(cpu_isa())},
            {"avx2", c.avx2},
            {"avx512", c.avx512},
            {"avx512_bf16", c.avx512_bf16},
            {"avx512_vnni", c.avx512_vnni},
            {"amx_bf16", c.amx_bf16},
            {"amx_int8", c.amx_int8},
            {"l1d_bytes", c.l1d_bytes},
            {"l2_bytes", c.l2_bytes},
            {"l3_bytes", c.l3_bytes},
            {"numa_nodes", c.numa_nodes},
            {"memory_bytes", c.memory_bytes}}}};
}

std::string size(int64_t bytes) {
  if (!bytes) return "unknown";
  constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20, kGiB = 1 << 30;
  if (bytes >= kGiB) return cat(bytes / kGiB, ".", bytes % kGiB * 10 / kGiB, " GiB");
  return bytes >= kMiB ? cat(bytes / kMiB, " MiB") : cat(bytes / kKiB, " KiB");
}

void print_text() {
  const CpuInfo& c = cpu_info();
  std::string sets;
  for (auto [has, word] : {std::pair{c.avx2, "avx2"},
                           {c.avx512, "avx512"},
                           {c.avx512_bf16, "avx512_bf16"},
                           {c.avx512_vnni, "avx512_vnni"},
                           {c.amx_bf16, "amx_bf16"},
                           {c.amx_int8, "amx_int8"}})
    if (has) sets += cat(sets.empty() ? "" : " ", word);
  std::cout << "cpu         " << (c.model.empty() ? "unknown" : c.model) << " ("
            << (c.vendor.empty() ? "unknown" : c.vendor) << "), " << c.processors << " processors, " << c.numa_nodes
            << " NUMA nodes\n"
            << "vectors     " << (sets.empty() ? "none known" : sets) << "; kernels use " << name(cpu_isa()) << "\n"
            << "caches      L1d " << size(c.l1d_bytes) << ", L2 " << size(c.l2_bytes) << ", L3 " << size(c.l3_bytes)
            << "\n"
            << "memory      " << size(c.memory_bytes) << "\n"
            << "not checked accelerators: this build probes the CPU alone\n";
}

}  // namespace

void add_hardware(CLI::App& app) {
  auto* verb = app.add_subcommand("hardware", "What this machine is");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "Print JSON");
  verb->callback([json] {
    if (*json) {
      std::cout << facts().dump(2) << "\n";
    } else {
      print_text();
    }
  });
}

}  // namespace kpt

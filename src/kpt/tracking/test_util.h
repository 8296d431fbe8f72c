// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "kpt/tracking/record.h"

namespace kpt {

// A folder that goes away with the test.
class TempFolder {
 public:
  explicit TempFolder(const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
    std::string name = (parent / "kpt-history-XXXXXX").string();
    KPT_ASSERT(mkdtemp(name.data()), "test", "no temporary folder");
    path_ = name;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string path() const { return path_.string(); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// A record whose numbers follow from `seed`.
inline Record sample_record(const std::string& name, int seed, size_t samples = 6) {
  Record r;
  r.key = key_of({"graph " + name, {{1, 2}}, {"f32"}, R"({"kind":"cpu"})", R"({"kpt":"0.1"})"});
  r.suite = "quick", r.name = name, r.system = "kpt", r.device = R"({"kind":"cpu"})", r.versions = R"({"kpt":"0.1"})";
  r.commit = cat("commit", seed);
  std::vector<double> latency;
  for (size_t i = 0; i < samples; ++i) latency.push_back(10 + seed * 0.1 + 0.01 * std::sin(static_cast<double>(i)));
  r.metrics = {make_metric("latency", latency), make_metric("kernel_count", {static_cast<double>(40 + seed)})};
  return r;
}

// What a call throws; empty where it does not.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

}  // namespace kpt

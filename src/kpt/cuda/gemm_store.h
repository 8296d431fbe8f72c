// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "kpt/base/error.h"

namespace kpt {

// Choices that outlive the process: a text file, one line a problem, written by appending whole lines, so that several
// processes may share it. A line with a wrong checksum is skipped: its problem is timed again. Not thread-safe.
//
//   family <tab> rest of the key <tab> algorithm, 128 hex digits <tab> microseconds <tab> checksum, 16 hex digits
class KPT_API GemmStore {
 public:
  struct Choice {
    std::array<uint64_t, 8> algorithm{};  // cublasLtMatmulAlgo_t, which its header calls fit to be stored
    double microseconds = 0;              // as measured then
  };

  explicit GemmStore(std::filesystem::path file);  // empty: nothing is kept beyond the process
  const Choice* find(const std::string& family, const std::string& key) const;
  int count(const std::string& family) const;  // problems of the family that have a choice
  void add(const std::string& family, const std::string& key, const Choice& choice);

 private:
  std::filesystem::path file_;
  std::map<std::string, std::map<std::string, Choice>> families_;
};

}  // namespace kpt

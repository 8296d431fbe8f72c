// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "kpt/base/error.h"

namespace kpt {

// What a library's algorithm was chosen for a problem, kept between processes: a text file, one line a problem, written
// by appending whole lines, so that several processes may share it. A line with a wrong checksum is skipped: its
// problem is timed again. Thread-safe.
//
//   family <tab> key <tab> the algorithm's words, 16 hex digits each <tab> microseconds <tab> checksum, 16 hex digits
class KPT_API ChoiceStore {
 public:
  struct Choice {
    std::array<uint64_t, 8> words{};  // whatever names the algorithm to its library
    double microseconds = 0;          // as measured then
  };

  explicit ChoiceStore(std::filesystem::path file);  // empty: nothing is kept beyond the process
  // The store of one library on one device: <cache folder>/<library>/<device's uuid>-<version>.txt
  static ChoiceStore& of(const std::string& library, size_t version, int device);

  std::optional<Choice> find(const std::string& family, const std::string& key) const;
  int count(const std::string& family) const;  // problems of the family that have a choice
  void add(const std::string& family, const std::string& key, const Choice& choice);

 private:
  std::filesystem::path file_;
  mutable std::mutex mutex_;
  std::map<std::string, std::map<std::string, Choice>> families_;
};

}  // namespace kpt

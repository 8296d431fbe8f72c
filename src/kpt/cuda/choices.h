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
//   family <tab> key <tab> size <tab> the algorithm's words, 16 hex digits each <tab> microseconds <tab> checksum
class KPT_API ChoiceStore {
 public:
  struct Choice {
    std::array<uint64_t, 8> words{};  // whatever names the algorithm to its library
    double microseconds = 0;          // as measured then; 0: taken unmeasured
    int64_t size = 0;                 // what the problems of a family differ in: rows, queries, a batch
  };

  static constexpr int64_t kNear = 4;

  explicit ChoiceStore(std::filesystem::path file);  // empty: nothing is kept beyond the process
  // The store of one library on one device: <cache folder>/<library>/<device's uuid>-<version>-2.txt
  static ChoiceStore& of(const std::string& library, size_t version, int device);

  std::optional<Choice> find(const std::string& family, const std::string& key) const;
  // The family's choice for the size nearest to this one by ratio; none beyond a ratio of kNear.
  std::optional<Choice> nearest(const std::string& family, int64_t size) const;
  bool knows(const std::string& family) const;  // has any problem of the family a measured choice?
  void add(const std::string& family, const std::string& key, const Choice& choice);

 private:
  std::filesystem::path file_;
  mutable std::mutex mutex_;
  std::map<std::string, std::map<std::string, Choice>> families_;
};

}  // namespace kpt

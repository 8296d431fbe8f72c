// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/choices.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

#include "kpt/base/log.h"
#include "kpt/base/sha256.h"
#include "kpt/cuda/cache.h"
#include "kpt/cuda/driver.h"

namespace kpt {
namespace {

std::string checksum(const std::string& text) {
  Sha256 hash;
  hash.add_field(text);
  return hash.hex().substr(0, 16);
}

std::string line_of(const std::string& family, const std::string& key, const ChoiceStore::Choice& choice) {
  std::string text = cat(family, "\t", key, "\t", choice.size, "\t");
  for (uint64_t word : choice.words) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(word));
    text += digits;
  }
  text += cat("\t", choice.microseconds);
  return text + "\t" + checksum(text) + "\n";
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, '\t');) fields.push_back(field);
  return fields;
}

// The fields are right where the checksum is: it covers all of them.
bool intact(const std::string& line, const std::vector<std::string>& fields) {
  return fields.size() == 6 && fields[3].size() == 128 && checksum(line.substr(0, line.rfind('\t'))) == fields[5];
}

ChoiceStore::Choice choice_of(const std::vector<std::string>& fields) {
  ChoiceStore::Choice choice;
  for (size_t i = 0; i < choice.words.size(); ++i)
    choice.words[i] = std::stoull(fields[3].substr(16 * i, 16), nullptr, 16);
  choice.size = std::stoll(fields[2]);
  choice.microseconds = std::stod(fields[4]);
  return choice;
}

}  // namespace

ChoiceStore::ChoiceStore(std::filesystem::path file) : file_(std::move(file)) {
  std::ifstream in(file_);
  int damaged = 0;
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> fields = fields_of(line);
    if (intact(line, fields))
      families_[fields[0]][fields[1]] = choice_of(fields);
    else
      ++damaged;
  }
  if (damaged)
    log(LogLevel::warn, "cuda.choices", file_.string(), " has ", damaged, " damaged lines: timing those again");
}

ChoiceStore& ChoiceStore::of(const std::string& library, size_t version, int device) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, int>, std::unique_ptr<ChoiceStore>> stores;
  const std::lock_guard<std::mutex> lock(mutex);
  auto& store = stores[{library, device}];
  if (!store) {
    const std::filesystem::path folder = cuda_cache_folder(library);
    const std::string file = cat(cuda_devices().at(static_cast<size_t>(device)).uuid, "-", version, "-2.txt");
    store = std::make_unique<ChoiceStore>(folder.empty() ? folder : folder / file);
  }
  return *store;
}

std::optional<ChoiceStore::Choice> ChoiceStore::find(const std::string& family, const std::string& key) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto in = families_.find(family);
  if (in == families_.end()) return std::nullopt;
  const auto at = in->second.find(key);
  if (at == in->second.end()) return std::nullopt;
  return at->second;
}

std::optional<ChoiceStore::Choice> ChoiceStore::nearest(const std::string& family, int64_t size) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto in = families_.find(family);
  if (in == families_.end() || size <= 0) return std::nullopt;
  const auto ratio = [size](const Choice& c) {
    const auto a = static_cast<double>(c.size), b = static_cast<double>(size);
    return c.size <= 0 ? INFINITY : std::max(a / b, b / a);
  };
  const Choice* best = nullptr;
  for (const auto& [key, choice] : in->second)
    if (ratio(choice) <= kNear && (!best || ratio(choice) < ratio(*best))) best = &choice;
  return best ? std::optional(*best) : std::nullopt;
}

bool ChoiceStore::knows(const std::string& family) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto in = families_.find(family);
  if (in == families_.end()) return false;
  return std::any_of(in->second.begin(), in->second.end(), [](const auto& c) { return c.second.microseconds > 0; });
}

void ChoiceStore::add(const std::string& family, const std::string& key, const Choice& choice) {
  const std::lock_guard<std::mutex> lock(mutex_);
  families_[family][key] = choice;
  if (file_.empty()) return;
  std::error_code failed;
  std::filesystem::create_directories(file_.parent_path(), failed);
  const int out = open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const std::string line = line_of(family, key, choice);
  // One write of one short line: appends of several processes do not mix.
  const bool written = out >= 0 && write(out, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  if (out >= 0) close(out);
  if (!written) log(LogLevel::info, "cuda.choices", "cannot write ", file_.string(), ": choices are not kept");
}

}  // namespace kpt

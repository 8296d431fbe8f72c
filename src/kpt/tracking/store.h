// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/tracking/record.h"

namespace kpt {

enum class OpenMode { read, write };  // write: makes the file where it is missing, brings an older one up to date

// Which records. An empty field asks for nothing.
struct HistoryFilter {
  std::string key{}, suite{}, name{}, system{}, commit{};
  std::string since{}, until{};  // `created`, both ends included, in its form or cut short ("2026-01")
  int64_t limit = 0;             // 0: all
  bool samples = true;           // false: values only, for lists
};

// The measurements of a machine, in one SQLite file that lasts: write-ahead log, STRICT tables, foreign keys, schema in
// `schema.h`. One process writes while any number read; a second writer waits `busy_milliseconds`, then gets
// Error{resource}. When record() has returned, the record is on the disk (synchronous=FULL): neither kill -9 nor a
// power cut takes it. A call that throws has changed nothing. Throws Error{resource} for a lock, a full disk, a folder
// that may not be written; Error{bad_input} for a file that is damaged or not ours; Error{unsupported} for one of a
// newer program. Such files are never written to. Thread-safe: calls of one object run one after another. Not to be
// carried over a fork().
class KPT_API History {
 public:
  static History open(const std::string& path, OpenMode mode, int busy_milliseconds = 5000);
  ~History();
  History(History&&) noexcept;
  History& operator=(History&&) noexcept;

  int64_t record(Record record);  // completes it (record.h), returns its id
  std::optional<Record> get(int64_t id) const;
  std::vector<Record> find(std::string_view key) const;         // newest first
  std::vector<Record> list(const HistoryFilter& filter) const;  // newest first

  // The record that others of its key are held against: the one set for this metric, else the one set for the key, else
  // nothing. Nothing becomes a baseline by itself.
  std::optional<Record> baseline(std::string_view key, std::string_view metric = "") const;
  void set_baseline(int64_t id, std::string_view metric = "");  // replaces the one before

  // One record a line (jsonl.cpp), oldest first. Baselines are marks of this file and do not travel.
  int64_t export_jsonl(std::ostream& out, const HistoryFilter& filter) const;  // how many
  struct Imported {
    int64_t added = 0, skipped = 0;  // skipped: the same content is here
  };
  Imported import_jsonl(std::istream& in);  // all lines or none; a fault names its line

  std::string check() const;  // PRAGMA integrity_check and foreign_key_check: "ok", or what is wrong

 private:
  struct State;
  explicit History(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace kpt

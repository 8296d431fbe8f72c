// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <string_view>

#include "kpt/tracking/sqlite.h"

namespace kpt {

// The tables, as the steps that led to them. `PRAGMA user_version` says how many steps a file has seen. A step that has
// once been released is never edited; a change of the tables is a new step, with a test that opens a file of the
// version before. Samples are doubles, little-endian, 8 bytes each, in the order they were taken.
constexpr int kApplicationId = 0x4B505448;  // "KPTH": what says that a database is ours

// 1: records and their metrics.
constexpr std::string_view kStep1 = R"(
CREATE TABLE records(
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  suite TEXT NOT NULL,
  name TEXT NOT NULL,
  system TEXT NOT NULL,
  device TEXT NOT NULL,
  versions TEXT NOT NULL,
  commit_id TEXT NOT NULL,
  created TEXT NOT NULL
) STRICT;
CREATE INDEX records_by_key ON records(key, created);
CREATE TABLE metrics(
  record INTEGER NOT NULL REFERENCES records(id) ON DELETE CASCADE,
  place INTEGER NOT NULL,
  name TEXT NOT NULL,
  unit TEXT NOT NULL,
  direction TEXT NOT NULL CHECK(direction IN ('lower', 'higher')),
  value REAL NOT NULL,
  samples BLOB NOT NULL CHECK(length(samples) % 8 = 0),
  PRIMARY KEY(record, place),
  UNIQUE(record, name)
) STRICT, WITHOUT ROWID;
)";

// 2: baselines. An empty metric stands for all metrics of the key.
constexpr std::string_view kStep2 = R"(
CREATE TABLE baselines(
  key TEXT NOT NULL,
  metric TEXT NOT NULL,
  record INTEGER NOT NULL REFERENCES records(id) ON DELETE RESTRICT,
  PRIMARY KEY(key, metric)
) STRICT, WITHOUT ROWID;
CREATE INDEX baselines_by_record ON baselines(record);
CREATE INDEX records_by_name ON records(suite, name, system, created);
)";

// 3: the hash of the content, by which an import knows what it has; computed for the records that are there. Not
// UNIQUE: older files may hold a record twice, and a step loses nothing.
constexpr std::string_view kStep3 = R"(
ALTER TABLE records ADD COLUMN content TEXT NOT NULL DEFAULT '';
CREATE INDEX records_by_content ON records(content);
)";

constexpr int kSchemaVersion = 3;
constexpr std::array<std::string_view, kSchemaVersion> kSteps = {kStep1, kStep2, kStep3};

// Makes the tables of a new file, or brings an older file up to date; all in one transaction, so a fault or a kill
// leaves the older file as it was. Throws Error{bad_input} for a database that is not ours, Error{unsupported} for one
// of a newer program.
void migrate(sqlite::Database& database);

// Throws like migrate(), and for an older file too: for readers, who may not write.
void check_current(sqlite::Database& database);

}  // namespace kpt

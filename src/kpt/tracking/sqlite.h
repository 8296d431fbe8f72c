// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <sqlite3.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/base/error.h"

namespace kpt::sqlite {

// What little this room needs of SQLite's C API: owners, and results turned into Errors that say got / want / try. A
// connection is for one thread at a time (store.cpp holds the lock).

class Statement;

class Database {
 public:
  // `flags` of sqlite3_open_v2. Throws Error{resource} where the file cannot be opened.
  Database(const std::string& path, int flags, int busy_milliseconds);

  void run(const std::string& sql);  // one or more statements without rows
  Statement prepare(std::string_view sql);
  int64_t number(std::string_view sql);    // the first column of the first row
  std::string text(std::string_view sql);  // likewise
  void fold_log_on_close(bool on);
  int64_t last_id() const { return sqlite3_last_insert_rowid(db_.get()); }
  bool in_transaction() const { return sqlite3_get_autocommit(db_.get()) == 0; }
  const std::string& path() const { return path_; }

  // Turns the last fault of this connection into an Error: resource for a lock, a full disk, a file or folder that may
  // not be written; bad_input for a file that is no database or damaged; internal for what only our own SQL can cause.
  [[noreturn]] void fail(int code) const;

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  std::string path_;
  int busy_milliseconds_;
  std::unique_ptr<sqlite3, Close> db_;
};

class Statement {
 public:
  Statement(Database& database, sqlite3_stmt* statement) : database_(&database), statement_(statement) {}

  // Parameters are numbered from 1. Bound bytes are copied.
  Statement& bind(int at, std::string_view text);
  Statement& bind(int at, int64_t number);
  Statement& bind(int at, double number);
  Statement& bind_blob(int at, std::span<const uint8_t> bytes);

  bool step();    // true: a row is there
  void finish();  // runs a statement that gives no rows, and resets it

  std::string text(int column) const;  // columns from 0
  int64_t integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  double real(int column) const { return sqlite3_column_double(statement_.get(), column); }
  std::span<const uint8_t> blob(int column) const;  // until the next step

 private:
  void check(int code) const;
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  Database* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// BEGIN IMMEDIATE .. COMMIT: takes the writer's lock at once, so that it is known before any work whether one may
// write. Rolls back unless committed.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool done_ = false;
};

// A read of several statements that all see one moment.
class Snapshot {
 public:
  explicit Snapshot(Database& database) : database_(database) { database_.run("BEGIN DEFERRED"); }
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

 private:
  Database& database_;
};

// Doubles as bytes, little-endian on every machine.
std::vector<uint8_t> to_blob(std::span<const double> values);
std::vector<double> from_blob(std::span<const uint8_t> bytes);  // Error{bad_input} unless a multiple of 8

}  // namespace kpt::sqlite

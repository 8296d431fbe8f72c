// SPDX-License-Identifier: Apache-2.0
#include "kpt/tracking/sqlite.h"

#include <bit>

#include "kpt/base/log.h"

namespace kpt::sqlite {

namespace {
constexpr std::string_view kWhere = "tracking.history";
}

Database::Database(const std::string& path, int flags, int busy_milliseconds)
    : path_(path), busy_milliseconds_(busy_milliseconds) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  db_.reset(raw);
  if (code != SQLITE_OK) fail(code);
  sqlite3_busy_timeout(raw, busy_milliseconds);
}

void Database::fail(int code) const {
  const std::string said = cat(" (SQLite ", code, ": ", db_ ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(code), ")");
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw_error(ErrorKind::resource, kWhere,
                  cat("got ", path_, " locked by another writer for ", busy_milliseconds_,
                      " ms, want one writer at a time, try again when it is done or give more time", said));
    case SQLITE_FULL:
      throw_error(ErrorKind::resource, kWhere,
                  cat("got a full disk under ", path_,
                      ", want room for the record; nothing was changed, try after freeing space", said));
    case SQLITE_IOERR:
      throw_error(
          ErrorKind::resource, kWhere,
          cat("got a failed read or write of ", path_,
              ", want a disk with room and no fault; nothing was changed, try `df` and the system's log", said));
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      throw_error(ErrorKind::resource, kWhere,
                  cat("got no access to ", path_,
                      ", want a folder that exists and a file and folder that may be written, try another path", said));
    case SQLITE_NOTADB:
      throw_error(
          ErrorKind::bad_input, kWhere,
          cat("got ", path_, ", which is no database, want a history; it was left as it is, try another path", said));
    case SQLITE_CORRUPT:
      throw_error(ErrorKind::bad_input, kWhere,
                  cat("got a damaged database in ", path_,
                      ", want one that passes PRAGMA integrity_check; it was left as it is, try a copy or import from "
                      "JSON lines",
                      said));
    case SQLITE_NOMEM: throw_error(ErrorKind::resource, kWhere, cat("got no memory for ", path_, said));
    default: throw_error(ErrorKind::internal, kWhere, cat("got a fault in ", path_, said));
  }
}

void Database::run(const std::string& sql) {
  const int code = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code);
}

Statement Database::prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v2(db_.get(), sql.data(), static_cast<int>(sql.size()), &raw, nullptr);
  if (code != SQLITE_OK) fail(code);
  return {*this, raw};
}

void Database::fold_log_on_close(bool on) {
  const int code = sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on ? 0 : 1, nullptr);
  if (code != SQLITE_OK) fail(code);
}

int64_t Database::number(std::string_view sql) {
  Statement s = prepare(sql);
  KPT_ASSERT(s.step(), kWhere, sql, " gave no row");
  return s.integer(0);
}

std::string Database::text(std::string_view sql) {
  Statement s = prepare(sql);
  KPT_ASSERT(s.step(), kWhere, sql, " gave no row");
  return s.text(0);
}

void Statement::check(int code) const {
  if (code != SQLITE_OK) database_->fail(code);
}

Statement& Statement::bind(int at, std::string_view text) {
  check(sqlite3_bind_text64(statement_.get(), at, text.data() ? text.data() : "", text.size(), SQLITE_TRANSIENT,
                            SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(int at, int64_t number) {
  check(sqlite3_bind_int64(statement_.get(), at, number));
  return *this;
}

Statement& Statement::bind(int at, double number) {
  check(sqlite3_bind_double(statement_.get(), at, number));
  return *this;
}

Statement& Statement::bind_blob(int at, std::span<const uint8_t> bytes) {
  // A null pointer would bind NULL, not an empty blob.
  static constexpr uint8_t kNothing = 0;
  check(sqlite3_bind_blob64(statement_.get(), at, bytes.empty() ? &kNothing : bytes.data(), bytes.size(),
                            SQLITE_TRANSIENT));
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) {
    // The reset tells SQLite that this statement is over; its code repeats the fault that is thrown below.
    sqlite3_reset(statement_.get());
    database_->fail(code);
  }
  return false;
}

void Statement::finish() {
  while (step()) {
  }
  check(sqlite3_reset(statement_.get()));
}

std::string Statement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (!bytes) return {};
  return {bytes, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

std::span<const uint8_t> Statement::blob(int column) const {
  const auto* bytes = static_cast<const uint8_t*>(sqlite3_column_blob(statement_.get(), column));
  return {bytes, bytes ? static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column)) : 0};
}

Transaction::Transaction(Database& database) : database_(database) { database_.run("BEGIN IMMEDIATE"); }

void Transaction::commit() {
  database_.run("COMMIT");
  done_ = true;
}

namespace {
// SQLite has rolled back by itself after some faults (a full disk among them); then there is nothing left to end.
void roll_back(Database& database) {
  if (!database.in_transaction()) return;
  try {
    database.run("ROLLBACK");
  } catch (const Error& e) {  // in a destructor: the fault that led here is on its way to the caller
    log(LogLevel::error, kWhere, "rollback failed: ", e.what());
  }
}
}  // namespace

Transaction::~Transaction() {
  if (!done_) roll_back(database_);
}

Snapshot::~Snapshot() { roll_back(database_); }

std::vector<uint8_t> to_blob(std::span<const double> values) {
  std::vector<uint8_t> bytes;
  bytes.reserve(values.size() * 8);
  for (double value : values) {
    const auto bits = std::bit_cast<uint64_t>(value);
    for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<uint8_t>(bits >> shift));
  }
  return bytes;
}

std::vector<double> from_blob(std::span<const uint8_t> bytes) {
  KPT_CHECK(bytes.size() % 8 == 0, kWhere, "got samples of ", bytes.size(),
            " bytes, want a multiple of 8: the database is damaged");
  std::vector<double> values;
  values.reserve(bytes.size() / 8);
  for (size_t i = 0; i < bytes.size(); i += 8) {
    uint64_t bits = 0;
    for (size_t b = 0; b < 8; ++b) bits |= uint64_t{bytes[i + b]} << (8 * b);
    values.push_back(std::bit_cast<double>(bits));
  }
  return values;
}

}  // namespace kpt::sqlite

// SPDX-License-Identifier: Apache-2.0
#include "kpt/tracking/store.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <istream>
#include <mutex>
#include <ostream>

#include "kpt/tracking/read_record.h"
#include "kpt/tracking/schema.h"

namespace kpt {

using sqlite::Database;
using sqlite::Snapshot;
using sqlite::Statement;
using sqlite::Transaction;

namespace {

constexpr std::string_view kWhere = "tracking.history";

int64_t insert(Database& db, const Record& r) {
  Statement s = db.prepare(
      "INSERT INTO records(key, suite, name, system, device, versions, commit_id, created, content) "
      "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)");
  int at = 0;
  for (const std::string* text :
       {&r.key, &r.suite, &r.name, &r.system, &r.device, &r.versions, &r.commit, &r.created, &r.content})
    s.bind(++at, *text);
  s.finish();
  const int64_t id = db.last_id();
  Statement m = db.prepare(
      "INSERT INTO metrics(record, place, name, unit, direction, value, samples) VALUES(?, ?, ?, ?, ?, ?, ?)");
  int64_t place = 0;
  for (const Metric& metric : r.metrics) {
    m.bind(1, id)
        .bind(2, place++)
        .bind(3, metric.name)
        .bind(4, metric.unit)
        .bind(5, name(metric.direction))
        .bind(6, metric.value);
    m.bind_blob(7, sqlite::to_blob(metric.samples)).finish();
  }
  return id;
}

Record read_whole(Database& db, int64_t id, bool samples) {
  Record r = read_record(db, id, samples);
  Statement s = db.prepare("SELECT content FROM records WHERE id = ?");
  s.bind(1, id);
  KPT_ASSERT(s.step(), kWhere, "record ", id, " vanished inside a snapshot");
  r.content = s.text(0);
  return r;
}

std::vector<int64_t> ids_of(Database& db, const HistoryFilter& f, bool newest_first) {
  std::string sql = "SELECT id FROM records WHERE 1";
  std::vector<std::string> values;
  const auto add = [&](const char* condition, const std::string& value) {
    if (value.empty()) return;
    sql += condition;
    values.push_back(value);
  };
  add(" AND key = ?", f.key);
  add(" AND suite = ?", f.suite);
  add(" AND name = ?", f.name);
  add(" AND system = ?", f.system);
  add(" AND commit_id = ?", f.commit);
  add(" AND created >= ?", f.since);
  // "2026-01" as an end means the whole month: '~' sorts after every character of a time.
  add(" AND created <= ?", f.until.empty() ? "" : f.until + "~");
  sql += newest_first ? " ORDER BY created DESC, id DESC" : " ORDER BY created, id";
  if (f.limit > 0) sql += cat(" LIMIT ", f.limit);
  Statement s = db.prepare(sql);
  for (size_t i = 0; i < values.size(); ++i) s.bind(static_cast<int>(i) + 1, values[i]);
  std::vector<int64_t> ids;
  while (s.step()) ids.push_back(s.integer(0));
  return ids;
}

// A file on a disk or in a folder that may not be written can still be read where no writer left a log behind: nobody
// can change it under us, and SQLite then needs no shared memory beside it.
std::string reader_address(const std::string& path) {
  std::error_code error;
  const std::filesystem::path file(path);
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  const auto log_bytes = std::filesystem::file_size(path + "-wal", error);
  const bool log_left = !error && log_bytes > 0;
  if (log_left || faccessat(AT_FDCWD, folder.c_str(), W_OK, AT_EACCESS) == 0) return path;
  std::string escaped;  // the characters that mean something in a file: address
  for (char c : std::filesystem::absolute(file).string()) {
    if (c == '%' || c == '?' || c == '#')
      escaped += cat('%', "0123456789ABCDEF"[(c >> 4) & 15], "0123456789ABCDEF"[c & 15]);
    else
      escaped += c;
  }
  return cat("file:", escaped, "?immutable=1");
}

Database open_database(const std::string& path, OpenMode mode, int busy_milliseconds) {
  KPT_CHECK(!path.empty() && path[0] != ':', kWhere, "got the path '", path, "', want a file");
  KPT_CHECK(sqlite3_libversion_number() >= 3037000, kWhere, "got SQLite ", sqlite3_libversion(),
            ", want 3.37 or newer");
  if (mode == OpenMode::read) {
    KPT_CHECK(std::filesystem::exists(path), kWhere, "got ", path,
              ", which does not exist, want a history, try to record something first");
    const std::string address = reader_address(path);
    Database db(address, SQLITE_OPEN_READONLY | (address == path ? 0 : SQLITE_OPEN_URI), busy_milliseconds);
    check_current(db);
    return db;
  }
  Database db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, busy_milliseconds);
  // Closing the last connection folds the log into the file; not into one that may turn out not to be ours.
  db.fold_log_on_close(false);
  // Damage is looked for before the first write: a write into a damaged tree can spread it.
  const std::string health = db.text("PRAGMA quick_check(1)");
  KPT_CHECK(
      health == "ok", kWhere, "got a damaged database in ", path, " (", health,
      "), want one that passes PRAGMA integrity_check; it was left as it is, try a copy or import from JSON lines");
  migrate(db);  // asks first whether the file is ours; the settings below would write to it
  const std::string journal = db.text("PRAGMA journal_mode = WAL");
  KPT_CHECK(journal == "wal", kWhere, "got journal_mode ", journal, " for ", path, ", want wal, try a local disk");
  db.run("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
  db.fold_log_on_close(true);
  return db;
}

}  // namespace

Record read_record(Database& db, int64_t id, bool with_samples) {
  Statement s =
      db.prepare("SELECT key, suite, name, system, device, versions, commit_id, created FROM records WHERE id = ?");
  s.bind(1, id);
  KPT_ASSERT(s.step(), kWhere, "no record ", id);
  Record r;
  r.id = id;
  int column = 0;
  for (std::string* text : {&r.key, &r.suite, &r.name, &r.system, &r.device, &r.versions, &r.commit, &r.created})
    *text = s.text(column++);
  Statement m = db.prepare(cat("SELECT name, unit, direction, value, ", with_samples ? "samples" : "x''",
                               " FROM metrics WHERE record = ? ORDER BY place"));
  m.bind(1, id);
  while (m.step())
    r.metrics.push_back({m.text(0), m.text(1), parse_direction(m.text(2)), m.real(3), sqlite::from_blob(m.blob(4))});
  return r;
}

struct History::State {
  explicit State(Database database) : db(std::move(database)) {}
  std::mutex mutex;
  Database db;
};

History::History(std::unique_ptr<State> state) : state_(std::move(state)) {}
History::~History() = default;
History::History(History&&) noexcept = default;
History& History::operator=(History&&) noexcept = default;

History History::open(const std::string& path, OpenMode mode, int busy_milliseconds) {
  return History(std::make_unique<State>(open_database(path, mode, busy_milliseconds)));
}

int64_t History::record(Record record) {
  complete(record);
  const std::lock_guard lock(state_->mutex);
  Transaction transaction(state_->db);
  const int64_t id = insert(state_->db, record);
  transaction.commit();
  return id;
}

std::optional<Record> History::get(int64_t id) const {
  const std::lock_guard lock(state_->mutex);
  const Snapshot snapshot(state_->db);
  Statement s = state_->db.prepare("SELECT 1 FROM records WHERE id = ?");
  s.bind(1, id);
  if (!s.step()) return std::nullopt;
  return read_whole(state_->db, id, true);
}

std::vector<Record> History::find(std::string_view key) const {
  HistoryFilter filter;
  filter.key = key;
  KPT_CHECK(!key.empty(), kWhere, "got an empty key, want one of key_of()");
  return list(filter);
}

std::vector<Record> History::list(const HistoryFilter& filter) const {
  const std::lock_guard lock(state_->mutex);
  const Snapshot snapshot(state_->db);
  std::vector<Record> result;
  for (int64_t id : ids_of(state_->db, filter, true)) result.push_back(read_whole(state_->db, id, filter.samples));
  return result;
}

std::optional<Record> History::baseline(std::string_view key, std::string_view metric) const {
  const std::lock_guard lock(state_->mutex);
  const Snapshot snapshot(state_->db);
  // The empty metric sorts first.
  Statement s = state_->db.prepare(
      "SELECT record FROM baselines WHERE key = ? AND metric IN (?, '') ORDER BY metric DESC LIMIT 1");
  s.bind(1, key).bind(2, metric);
  if (!s.step()) return std::nullopt;
  return read_whole(state_->db, s.integer(0), true);
}

void History::set_baseline(int64_t id, std::string_view metric) {
  const std::lock_guard lock(state_->mutex);
  Transaction transaction(state_->db);
  Statement s = state_->db.prepare(
      "SELECT key, (SELECT count(*) FROM metrics WHERE record = ?1 AND name = ?2) FROM records WHERE id = ?1");
  s.bind(1, id).bind(2, metric);
  KPT_CHECK(s.step(), kWhere, "got record ", id, ", want one of this history");
  KPT_CHECK(metric.empty() || s.integer(1) == 1, kWhere, "got the metric ", metric, ", want one of record ", id);
  state_->db
      .prepare(
          "INSERT INTO baselines(key, metric, record) VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET record = "
          "excluded.record")
      .bind(1, s.text(0))
      .bind(2, metric)
      .bind(3, id)
      .finish();
  s.finish();  // a statement that is still open would keep the transaction from ending
  transaction.commit();
}

int64_t History::export_jsonl(std::ostream& out, const HistoryFilter& filter) const {
  const std::lock_guard lock(state_->mutex);
  const Snapshot snapshot(state_->db);
  int64_t count = 0;
  for (int64_t id : ids_of(state_->db, filter, false)) {
    out << to_json_line(read_whole(state_->db, id, true)) << '\n';
    if (!out.good())
      throw_error(ErrorKind::resource, kWhere, cat("got a failed write after ", count, " records, want room for all"));
    ++count;
  }
  return count;
}

History::Imported History::import_jsonl(std::istream& in) {
  const std::lock_guard lock(state_->mutex);
  Transaction transaction(state_->db);
  Statement known = state_->db.prepare("SELECT 1 FROM records WHERE content = ? LIMIT 1");
  Imported result;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty()) continue;
    Record record;
    try {
      record = parse_record(line);
    } catch (const Error& e) {
      throw Error(e.kind(), cat("line ", number, ": ", e.what(), "; nothing was imported"));
    }
    known.bind(1, record.content);
    const bool here = known.step();
    known.finish();
    if (here) {
      ++result.skipped;
    } else {
      insert(state_->db, record);
      ++result.added;
    }
  }
  if (in.bad())
    throw_error(ErrorKind::resource, kWhere,
                cat("got a failed read after ", number, " lines, want all; nothing was imported"));
  transaction.commit();
  return result;
}

std::string History::check() const {
  const std::lock_guard lock(state_->mutex);
  const std::string integrity = state_->db.text("PRAGMA integrity_check(1)");
  if (integrity != "ok") return integrity;
  const int64_t orphans = state_->db.number("SELECT count(*) FROM pragma_foreign_key_check");
  return orphans ? cat(orphans, " rows point to a record that is not there") : "ok";
}

}  // namespace kpt

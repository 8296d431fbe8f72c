// SPDX-License-Identifier: Apache-2.0
// Files of every older version, made by that version's own tables, and files that are not ours.
#include <gtest/gtest.h>

#include <fstream>

#include "kpt/tracking/schema.h"
#include "kpt/tracking/store.h"
#include "kpt/tracking/test_util.h"

namespace kpt {
namespace {

constexpr int kCreate = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;

// A file as the program of that version left it: three records, and from version 2 on a baseline.
std::vector<Record> write_version(const std::string& path, int version) {
  sqlite::Database db(path, kCreate, 0);
  for (int step = 0; step < version; ++step) db.run(std::string(kSteps[static_cast<size_t>(step)]));
  db.run(cat("PRAGMA application_id = ", kApplicationId, "; PRAGMA user_version = ", version,
             "; PRAGMA journal_mode = WAL"));
  std::vector<Record> records;
  for (int i = 0; i < 3; ++i) {
    Record r = sample_record(i < 2 ? "m" : "other", i);
    complete(r);
    r.id = 10 + i;
    sqlite::Statement s = db.prepare(
        "INSERT INTO records(id, key, suite, name, system, device, versions, commit_id, created) VALUES(?, ?, ?, ?, ?, "
        "?, ?, ?, ?)");
    s.bind(1, r.id);
    int at = 1;
    for (const std::string* text :
         {&r.key, &r.suite, &r.name, &r.system, &r.device, &r.versions, &r.commit, &r.created})
      s.bind(++at, *text);
    s.finish();
    if (version >= 3)
      db.prepare("UPDATE records SET content = ? WHERE id = ?").bind(1, r.content).bind(2, r.id).finish();
    int64_t place = 0;
    for (const Metric& m : r.metrics) {
      sqlite::Statement t = db.prepare("INSERT INTO metrics VALUES(?, ?, ?, ?, ?, ?, ?)");
      t.bind(1, r.id).bind(2, place++).bind(3, m.name).bind(4, m.unit).bind(5, name(m.direction)).bind(6, m.value);
      t.bind_blob(7, sqlite::to_blob(m.samples)).finish();
    }
    records.push_back(r);
  }
  if (version >= 2)
    db.prepare("INSERT INTO baselines VALUES(?, 'latency', ?)").bind(1, records[1].key).bind(2, records[1].id).finish();
  return records;
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Migrate, EveryOlderVersionKeepsAllItsData) {
  for (int version = 1; version <= kSchemaVersion; ++version) {
    const TempFolder folder;
    const std::string path = folder.file("h.db");
    const std::vector<Record> written = write_version(path, version);
    History history = History::open(path, OpenMode::write);
    ASSERT_EQ(history.list({}).size(), written.size()) << "from version " << version;
    for (const Record& r : written) {
      const auto read = history.get(r.id);
      ASSERT_TRUE(read) << "from version " << version;
      EXPECT_EQ(to_json_line(*read), to_json_line(r)) << "from version " << version;  // the content hash too
    }
    EXPECT_EQ(history.baseline(written[0].key, "latency").has_value(), version >= 2);
    if (version >= 2) {
      EXPECT_EQ(history.baseline(written[0].key, "latency")->id, 11);
    }
    history.set_baseline(10);
    EXPECT_EQ(history.baseline(written[0].key)->id, 10);
    EXPECT_EQ(history.record(sample_record("m", 7)), 13);
    EXPECT_EQ(history.check(), "ok");
  }
}

TEST(Migrate, ReaderOfAnOlderFileSaysHowToBringItUpToDate) {
  const TempFolder folder;
  write_version(folder.file("h.db"), 1);
  EXPECT_NE(
      message_of([&] { History::open(folder.file("h.db"), OpenMode::read); }).find("try to open it for writing once"),
      std::string::npos);
}

TEST(Migrate, NewerFileIsLeftAlone) {
  const TempFolder folder;
  const std::string path = folder.file("h.db");
  write_version(path, kSchemaVersion);
  { sqlite::Database(path, kCreate, 0).run(cat("PRAGMA user_version = ", kSchemaVersion + 1)); }
  const std::string before = bytes_of(path);
  try {
    History::open(path, OpenMode::write);
    FAIL() << "opened a newer file";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("got schema 4"), std::string::npos) << e.what();
  }
  EXPECT_EQ(bytes_of(path), before);
}

TEST(Migrate, StepThatFailsLeavesTheOlderFile) {
  const TempFolder folder;
  const std::string path = folder.file("h.db");
  write_version(path, 2);
  // A record that no version would write, so that step 3 finds it after it has changed the table.
  { sqlite::Database(path, kCreate, 0).run("UPDATE records SET device = 'no object' WHERE id = 12"); }
  EXPECT_NE(message_of([&] { History::open(path, OpenMode::write); }).find("want a JSON object"), std::string::npos);
  sqlite::Database db(path, kCreate, 0);
  EXPECT_EQ(db.number("PRAGMA user_version"), 2);
  EXPECT_EQ(db.number("SELECT count(*) FROM pragma_table_info('records') WHERE name = 'content'"), 0);
  EXPECT_EQ(db.number("SELECT count(*) FROM records"), 3);
}

TEST(Open, ForeignDatabaseIsRefusedAndUnchanged) {
  const TempFolder folder;
  const std::string path = folder.file("other.db");
  sqlite::Database(path, kCreate, 0).run("CREATE TABLE theirs(x); INSERT INTO theirs VALUES(1)");
  const std::string before = bytes_of(path);
  for (OpenMode mode : {OpenMode::read, OpenMode::write})
    EXPECT_NE(message_of([&] { History::open(path, mode); }).find("of another program"), std::string::npos);
  EXPECT_EQ(bytes_of(path), before);
}

TEST(Open, FileThatIsNoDatabaseIsRefusedAndUnchanged) {
  const TempFolder folder;
  const std::string path = folder.file("notes.txt"), text(5000, 'n');
  std::ofstream(path) << text;
  for (OpenMode mode : {OpenMode::read, OpenMode::write})
    EXPECT_NE(message_of([&] { History::open(path, mode); }).find("which is no database"), std::string::npos);
  EXPECT_EQ(bytes_of(path), text);
}

TEST(Open, DamagedPageIsFoundBeforeAnythingIsWritten) {
  const TempFolder folder;
  const std::string path = folder.file("h.db");
  {
    History history = History::open(path, OpenMode::write);
    for (int i = 0; i < 40; ++i) history.record(sample_record(cat("m", i), i, 200));
  }
  std::string damaged = bytes_of(path);
  for (size_t i = 3 * 4096; i < 9 * 4096 && i < damaged.size(); ++i) damaged[i] = static_cast<char>(i * 37);
  std::ofstream(path, std::ios::binary) << damaged;
  try {
    History::open(path, OpenMode::write);
    FAIL() << "opened a damaged file";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_input);
    EXPECT_NE(std::string(e.what()).find("got a damaged database"), std::string::npos) << e.what();
  }
  EXPECT_EQ(bytes_of(path), damaged);
}

TEST(Open, ReaderWantsAFileThatExists) {
  const TempFolder folder;
  EXPECT_NE(message_of([&] { History::open(folder.file("none.db"), OpenMode::read); }).find("does not exist"),
            std::string::npos);
  EXPECT_NE(message_of([&] { History::open(folder.file("no/folder.db"), OpenMode::write); }).find("got no access"),
            std::string::npos);
}

}  // namespace
}  // namespace kpt

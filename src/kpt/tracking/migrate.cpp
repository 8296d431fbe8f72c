// SPDX-License-Identifier: Apache-2.0
#include "kpt/tracking/read_record.h"
#include "kpt/tracking/schema.h"

namespace kpt {

namespace {

constexpr std::string_view kWhere = "tracking.history";

bool is_new(sqlite::Database& db) {
  return db.number("PRAGMA application_id") == 0 && db.number("PRAGMA user_version") == 0 &&
         db.number("SELECT count(*) FROM sqlite_master") == 0;
}

// The version of a file that is ours.
int64_t version_of(sqlite::Database& db) {
  const int64_t id = db.number("PRAGMA application_id"), version = db.number("PRAGMA user_version");
  KPT_CHECK(id == kApplicationId, kWhere, "got ", db.path(), " of another program (application_id ", id,
            "), want a history (", kApplicationId, "); it was left as it is, try another path");
  KPT_CHECK(version >= 1, kWhere, "got schema ", version, " in ", db.path(), ", want 1 to ", kSchemaVersion);
  if (version > kSchemaVersion)
    throw_error(ErrorKind::unsupported, kWhere,
                cat("got schema ", version, " in ", db.path(), ", want at most ", kSchemaVersion,
                    "; it was left as it is, try the newer kernel_pytorch that wrote it"));
  return version;
}

// Step 3 by hand: SQL has no SHA-256.
void fill_content(sqlite::Database& db) {
  std::vector<int64_t> ids;
  for (sqlite::Statement s = db.prepare("SELECT id FROM records"); s.step();) ids.push_back(s.integer(0));
  sqlite::Statement set = db.prepare("UPDATE records SET content = ? WHERE id = ?");
  for (int64_t id : ids) {
    Record record = read_record(db, id);
    complete(record);
    set.bind(1, record.content).bind(2, id).finish();
  }
}

}  // namespace

void check_current(sqlite::Database& db) {
  KPT_CHECK(!is_new(db), kWhere, "got an empty database in ", db.path(), ", want a history");
  const int64_t version = version_of(db);
  KPT_CHECK(version == kSchemaVersion, kWhere, "got schema ", version, " in ", db.path(), ", want ", kSchemaVersion,
            ", try to open it for writing once, which brings it up to date");
}

void migrate(sqlite::Database& db) {
  if (!is_new(db) && version_of(db) == kSchemaVersion) return;
  sqlite::Transaction transaction(db);
  // Asked again under the lock: another process may have done it in the meantime.
  const int64_t from = is_new(db) ? 0 : version_of(db);
  for (int64_t step = from; step < kSchemaVersion; ++step) {
    db.run(std::string(kSteps[static_cast<size_t>(step)]));
    if (step + 1 == 3) fill_content(db);
  }
  db.run(cat("PRAGMA application_id = ", kApplicationId, "; PRAGMA user_version = ", kSchemaVersion));
  transaction.commit();
}

}  // namespace kpt

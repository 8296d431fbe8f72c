// SPDX-License-Identifier: Apache-2.0
#include "kpt/tracking/store.h"

#include <gtest/gtest.h>

#include <sstream>

#include "kpt/tracking/test_util.h"

namespace kpt {
namespace {

TEST(History, RecordIsFoundAgainWithEveryNumber) {
  const TempFolder folder;
  Record written = sample_record("bert", 3);
  written.created = "2026-01-31T23:59:59.123456Z";
  // Numbers that a text form could lose, in the order they came.
  written.metrics[0].samples = {0.1, 1e-308, 5e-324, -0.0, 1.7976931348623157e308, 0.1};
  int64_t id = 0;
  {
    History history = History::open(folder.file("h.db"), OpenMode::write);
    id = history.record(written);
  }
  const History reader = History::open(folder.file("h.db"), OpenMode::read);
  const auto read = reader.get(id);
  ASSERT_TRUE(read);
  complete(written);
  EXPECT_EQ(to_json_line(*read), to_json_line(written));
  EXPECT_TRUE(std::signbit(read->metrics[0].samples[3]));
  EXPECT_EQ(reader.find(written.key).size(), 1u);
  EXPECT_FALSE(reader.get(id + 1));
}

TEST(History, ListFiltersNewestFirst) {
  const TempFolder folder;
  History history = History::open(folder.file("h.db"), OpenMode::write);
  for (int day = 1; day <= 5; ++day) {
    Record r = sample_record(day % 2 ? "odd" : "even", day);
    r.created = cat("2026-01-0", day, "T12:00:00.000000Z");
    history.record(r);
  }
  const auto days = [&](const HistoryFilter& f) {
    std::string text;
    for (const Record& r : history.list(f)) text += r.created[9];
    return text;
  };
  EXPECT_EQ(days({}), "54321");
  EXPECT_EQ(days({.name = "odd"}), "531");
  EXPECT_EQ(days({.since = "2026-01-02", .until = "2026-01-04"}), "432");
  EXPECT_EQ(days({.name = "odd", .limit = 2}), "53");
  EXPECT_EQ(days({.suite = "nothing"}), "");
  EXPECT_TRUE(history.list({.limit = 1, .samples = false})[0].metrics[0].samples.empty());
}

TEST(History, BaselineOfAMetricGoesBeforeThatOfTheKey) {
  const TempFolder folder;
  History history = History::open(folder.file("h.db"), OpenMode::write);
  const std::string key = sample_record("m", 0).key;
  EXPECT_FALSE(history.baseline(key));
  const int64_t a = history.record(sample_record("m", 0)), b = history.record(sample_record("m", 1));
  EXPECT_FALSE(history.baseline(key)) << "nothing becomes a baseline by itself";
  history.set_baseline(a);
  history.set_baseline(b, "latency");
  EXPECT_EQ(history.baseline(key)->id, a);
  EXPECT_EQ(history.baseline(key, "latency")->id, b);
  EXPECT_EQ(history.baseline(key, "memory")->id, a);
  history.set_baseline(a, "latency");
  EXPECT_EQ(history.baseline(key, "latency")->id, a);
  EXPECT_THROW(history.set_baseline(99), Error);
  EXPECT_THROW(history.set_baseline(a, "no such metric"), Error);
}

TEST(History, RecordThatMustNotBeStoredChangesNothing) {
  const TempFolder folder;
  History history = History::open(folder.file("h.db"), OpenMode::write);
  const auto refused = [&](auto spoil) {
    Record r = sample_record("m", 0);
    spoil(r);
    return message_of([&] { history.record(r); });
  };
  EXPECT_NE(refused([](Record& r) { r.metrics[0].samples[1] = NAN; }).find("want finite"), std::string::npos);
  EXPECT_NE(refused([](Record& r) { r.metrics.push_back(r.metrics[0]); }).find("twice"), std::string::npos);
  EXPECT_NE(refused([](Record& r) { r.device = "[]"; }).find("want a JSON object"), std::string::npos);
  EXPECT_NE(refused([](Record& r) { r.key = "short"; }).find("64 hex"), std::string::npos);
  EXPECT_NE(refused([](Record& r) { r.created = "yesterday"; }).find("want UTC"), std::string::npos);
  EXPECT_NE(refused([](Record& r) { r.commit = "\xff"; }).find("UTF-8"), std::string::npos);
  EXPECT_NE(refused([](Record& r) { r.metrics.clear(); }).find("at least one"), std::string::npos);
  EXPECT_TRUE(history.list({}).empty());
}

TEST(Jsonl, ExportAndImportBringTheSameRecordsOnce) {
  const TempFolder folder;
  History from = History::open(folder.file("from.db"), OpenMode::write);
  for (int i = 0; i < 20; ++i) from.record(sample_record(cat("m", i % 3), i));
  std::stringstream lines;
  EXPECT_EQ(from.export_jsonl(lines, {}), 20);
  History to = History::open(folder.file("to.db"), OpenMode::write);
  const auto first = to.import_jsonl(lines);
  EXPECT_EQ(first.added, 20);
  EXPECT_EQ(first.skipped, 0);
  lines.clear(), lines.seekg(0);
  const auto second = to.import_jsonl(lines);
  EXPECT_EQ(second.added, 0);
  EXPECT_EQ(second.skipped, 20);
  std::stringstream again;
  to.export_jsonl(again, {});
  EXPECT_EQ(again.str(), lines.str());
}

TEST(Jsonl, ImportTakesAllLinesOrNone) {
  const TempFolder folder;
  History history = History::open(folder.file("h.db"), OpenMode::write);
  Record r = sample_record("m", 0);
  complete(r);
  const std::string good = to_json_line(r);
  const auto import_with = [&](std::string bad) {
    std::istringstream in(good + "\n" + bad + "\n");
    return message_of([&] { history.import_jsonl(in); });
  };
  const auto spoiled = [&](const std::string& from, const std::string& to) {
    std::string line = good;
    line.replace(line.find(from), from.size(), to);
    return line;
  };
  EXPECT_NE(import_with("not json").find("line 2: [tracking.jsonl] got 'not json'"), std::string::npos);
  EXPECT_NE(import_with(spoiled("kpt-record-1", "kpt-record-9")).find("want kpt-record-1"), std::string::npos);
  EXPECT_NE(import_with(spoiled("\"value\":", "\"value\":1")).find("was changed or cut"), std::string::npos);
  EXPECT_NE(import_with(spoiled("\"direction\":\"lower\"", "\"direction\":\"down\"")).find("want lower or higher"),
            std::string::npos);
  EXPECT_NE(import_with(spoiled("\"samples\":[", "\"samples\":[null,")).find("want numbers"), std::string::npos);
  EXPECT_NE(import_with(good.substr(0, good.size() / 2)).find("line 2"), std::string::npos);
  EXPECT_TRUE(history.list({}).empty());
}

TEST(Key, IsTheSameInEveryProcessAndSeesEveryPart) {
  const KeyParts parts{"graph g { }", {{8, 128}, {}}, {"f32", "i64"}, R"({"b": 1, "a": "x"})", R"({"kpt":"1"})"};
  // A literal: what every process must get. Records would be lost if it changed.
  EXPECT_EQ(key_of(parts), "c4082c14cf6d89a53528e28a59752a3ccc6e09b3c517938c1b6b803ba9b69dbe");
  KeyParts same = parts;
  same.device = R"({ "a":"x","b":1 })";
  EXPECT_EQ(key_of(same), key_of(parts));
  const auto differs = [&](auto change) {
    KeyParts other = parts;
    change(other);
    return key_of(other) != key_of(parts);
  };
  EXPECT_TRUE(differs([](KeyParts& p) { p.graph += " "; }));
  EXPECT_TRUE(differs([](KeyParts& p) { p.shapes = {{8}, {128}}; }));
  EXPECT_TRUE(differs([](KeyParts& p) { p.shapes[0][1] = 127; }));
  EXPECT_TRUE(differs([](KeyParts& p) { p.dtypes[0] = "bf16"; }));
  EXPECT_TRUE(differs([](KeyParts& p) { p.device = R"({"a":"y","b":1})"; }));
  EXPECT_TRUE(differs([](KeyParts& p) { p.versions = R"({"kpt":"2"})"; }));
  EXPECT_THROW(key_of({}), Error);
}

}  // namespace
}  // namespace kpt

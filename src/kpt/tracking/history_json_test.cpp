// SPDX-License-Identifier: Apache-2.0
#include "kpt/tracking/history_json.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "kpt/tracking/test_util.h"

namespace kpt {
namespace {

using Json = nlohmann::json;

Json call(const std::string& answer) { return Json::parse(answer); }

Json record_json(const std::string& key, double latency) {
  return {{"key", key},
          {"suite", "quick"},
          {"name", "m"},
          {"system", "kpt"},
          {"metrics",
           {{{"name", "latency"}, {"samples", {latency, latency + 0.1, latency - 0.1}}},
            {{"name", "kernel_count"}, {"value", 40}},
            {{"name", "energy"}, {"value", 2.5}, {"unit", "J"}, {"direction", "lower"}}}}};
}

TEST(HistoryJson, WholeWayFromKeyToComparison) {
  const TempFolder folder;
  HistoryJson history(folder.file("h.db"), "write");
  const std::string key = call(HistoryJson::key(R"({"graph": "g", "shapes": [[1]], "dtypes": ["f32"]})"))["key"];
  const int64_t a = call(history.record(record_json(key, 10).dump()))["id"];
  const int64_t b = call(history.record(record_json(key, 12).dump()))["id"];
  EXPECT_TRUE(call(history.baseline(Json{{"key", key}}.dump()))["record"].is_null());
  history.baseline(Json{{"set", a}}.dump());
  EXPECT_EQ(call(history.baseline(Json{{"key", key}, {"metric", "latency"}}.dump()))["record"]["id"], a);
  const Json records = call(history.list(R"({"name": "m", "limit": 1})"))["records"];
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0]["id"], b);
  EXPECT_EQ(records[0]["device"], call(HistoryJson::machine())["device"]);
  EXPECT_EQ(records[0]["metrics"][0]["unit"], "ms");
  EXPECT_EQ(records[0]["metrics"][0]["value"], 12.0);
  EXPECT_TRUE(records[0]["metrics"][1]["samples"].empty());
  const Json metrics = call(history.compare(Json{{"baseline", a}, {"fresh", b}}.dump()))["metrics"];
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_EQ(metrics[0]["finding"]["outcome"], "regression");
  EXPECT_EQ(metrics[0]["finding"]["severity"], "moderate");
  EXPECT_EQ(metrics[1]["finding"]["outcome"], "none");
  EXPECT_EQ(call(history.check())["check"], "ok");

  EXPECT_EQ(call(history.export_jsonl(Json{{"path", folder.file("out.jsonl")}}.dump()))["exported"], 2);
  HistoryJson other(folder.file("other.db"), "write");
  const std::string from = Json{{"path", folder.file("out.jsonl")}}.dump();
  EXPECT_EQ(call(other.import_jsonl(from))["added"], 2);
  EXPECT_EQ(call(other.import_jsonl(from))["skipped"], 2);
}

TEST(HistoryJson, VerdictsSpeakJson) {
  const Json more = call(HistoryJson::verdict_paired(R"({"log_ratios": [0.1, 0.1]})"));
  EXPECT_EQ(more["outcome"], "no_verdict");
  EXPECT_EQ(more["more_rounds"], 18);
  const Json few = call(HistoryJson::verdict_paired(R"({"log_ratios": [0.1, 0.1], "min_rounds": 2, "max_rounds": 4})"));
  EXPECT_TRUE(few["low"].is_null() && few["high"].is_null()) << "two rounds have no interval: " << few;
  const std::vector<double> slower(20, 0.05);
  EXPECT_EQ(call(HistoryJson::verdict_paired(Json{{"log_ratios", slower}}.dump()))["outcome"], "regression");
  EXPECT_EQ(call(HistoryJson::verdict_paired(Json{{"log_ratios", slower}, {"tolerance", 0.06}}.dump()))["outcome"],
            "none");
  EXPECT_EQ(call(HistoryJson::verdict_paired(Json{{"log_ratios", slower}, {"direction", "higher"}}.dump()))["outcome"],
            "gain");
  EXPECT_EQ(call(HistoryJson::verdict_historical(
                R"({"baseline": [1, 1, 1], "fresh": [2, 2, 2], "previous": [2, 2, 2]})"))["confirmed"],
            true);
  EXPECT_EQ(call(HistoryJson::verdict_exact(R"({"baseline": 3, "fresh": 2})"))["unexplained_gain"], true);
  EXPECT_EQ(call(HistoryJson::calibrate(Json{{"log_ratios", std::vector<double>(40, 0.03)}}.dump()))["tolerance"],
            std::expm1(0.03));
  EXPECT_EQ(call(HistoryJson::discoveries(R"({"p": [0.001, 0.9], "q": 0.05})"))["stands"], Json({true, false}));
}

TEST(HistoryJson, MistakesAreNamed) {
  EXPECT_EQ(message_of([] { HistoryJson::verdict_paired(R"({"log_ratios": [], "tolerence": 0.1})"); }),
            "[tracking.json] got the field tolerence, want one that this call has");
  EXPECT_NE(message_of([] { HistoryJson::verdict_paired("[]"); }).find("want a JSON object"), std::string::npos);
  EXPECT_NE(message_of([] { HistoryJson::verdict_paired("{}"); }).find("got no field log_ratios"), std::string::npos);
  EXPECT_NE(
      message_of([] { HistoryJson::verdict_paired(R"({"log_ratios": ["x"]})"); }).find("got log_ratios = [\"x\"]"),
      std::string::npos);
  const TempFolder folder;
  EXPECT_NE(message_of([&] { HistoryJson(folder.file("h.db"), "append"); }).find("want read or write"),
            std::string::npos);
  HistoryJson history(folder.file("h.db"), "write");
  Json record = record_json(std::string(64, 'a'), 1);
  record["metrics"][0]["unit"] = "s";
  EXPECT_NE(message_of([&] { history.record(record.dump()); }).find("got latency in another unit, want ms"),
            std::string::npos);
  EXPECT_NE(message_of([&] { history.compare(R"({"baseline": 1, "fresh": 2})"); }).find("got record 1 as baseline"),
            std::string::npos);
  EXPECT_NE(message_of([&] { history.export_jsonl(R"({"path": "/no/such/folder/x"})"); }).find("got no access"),
            std::string::npos);
}

}  // namespace
}  // namespace kpt

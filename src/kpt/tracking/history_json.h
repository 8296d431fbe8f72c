// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "kpt/tracking/store.h"

namespace kpt {

// The whole room for callers that speak JSON (the bridge to Python): each argument and each answer is the text of one
// JSON object. Fields that are not named here are an Error{bad_input}, so that a misspelt option never passes for its
// default.
// `[x]` may be left out. Errors and threads as for History.
//
//   METRIC   {name, samples, [value], [unit, direction]}   unit and direction only for metrics that metric_kind() lacks
//   RECORD   {key, suite, name, system, [device, versions], [commit], [created], metrics: [METRIC]}
//            device and versions are objects; without them this processor and this library
//   STORED   RECORD in full with id and content
//   FILTER   {[key, suite, name, system, commit, since, until, limit, samples]}
//   FINDING  {outcome, severity, change, low, high, p, rounds, more_rounds, unexplained_gain, confirmed, reason}
//            low and high are null where the interval has no end
class KPT_API HistoryJson {
 public:
  HistoryJson(const std::string& path, const std::string& mode);  // "read", "write"

  std::string record(const std::string& json);      // RECORD -> {id, created, content}
  std::string list(const std::string& json) const;  // FILTER -> {records: [STORED]}, newest first
  std::string baseline(const std::string& json);    // {key, [metric]} -> {record: STORED or null}
                                                    // {set: id, [metric]} -> the same, after setting it
  std::string compare(
      const std::string& json) const;  // {baseline: id, fresh: id, [previous: id, false_alarms, tolerance,
                                       // gain_expected]} -> {metrics: [{metric, unit, baseline, fresh, finding}]}
  std::string export_jsonl(
      const std::string& json) const;                 // {path, [filter]} -> {exported}; the file appears when whole
  std::string import_jsonl(const std::string& json);  // {path} -> {added, skipped}
  std::string check() const;                          // -> {check: "ok" or what is wrong}

  // These need no database.
  static std::string key(const std::string& json);  // {graph, shapes, dtypes, [device, versions]} -> {key}
  static std::string machine();                     // -> {device, versions} of this processor and library
  // {log_ratios, [direction, false_alarms, tolerance, min_rounds, max_rounds, gain_expected]} -> FINDING
  static std::string verdict_paired(const std::string& json);
  // {baseline, fresh, [previous, direction, false_alarms, tolerance, gain_expected]} -> FINDING; lists of samples
  static std::string verdict_historical(const std::string& json);
  // {baseline, fresh, [direction, gain_expected]} -> FINDING; two counts
  static std::string verdict_exact(const std::string& json);
  // {log_ratios, [least_tolerance, false_alarms, min_rounds, max_rounds]} -> {tolerance, bias, spread}
  static std::string calibrate(const std::string& json);
  // {p, q, [any_dependence]} -> {stands: [bool]}
  static std::string discoveries(const std::string& json);

 private:
  History history_;
};

}  // namespace kpt

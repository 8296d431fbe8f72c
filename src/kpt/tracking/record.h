// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/base/error.h"

namespace kpt {

enum class Direction : uint8_t { lower, higher };  // which way is better
KPT_API std::string_view name(Direction direction);
KPT_API Direction parse_direction(std::string_view text);  // "lower", "higher", else Error{bad_input}

// The metrics that the project knows: what they are measured in, which way is better, and whether they carry noise. A
// metric by another name is fine too; it counts as noisy and states its own unit and direction.
struct MetricKind {
  std::string_view name, unit;
  Direction direction;
  bool exact;  // counted, not measured: any change is real
};
KPT_API const MetricKind* metric_kind(std::string_view name);  // null where unknown

// One measured quantity. `value` is the number to show: the median of the samples where there are any. All finite.
struct Metric {
  std::string name;  // "latency"
  std::string unit;  // "ms"
  Direction direction = Direction::lower;
  double value = 0;
  std::vector<double> samples;  // raw, in the order they were taken; may be empty
};
// Fills in value, unit and direction from the table above.
KPT_API Metric make_metric(std::string_view name, std::vector<double> samples);

// One measurement of one benchmark on one system. `id` and `content` are the database's.
struct Record {
  int64_t id = 0;
  std::string key;       // key_of(), 64 hex digits
  std::string suite;     // "encoders"
  std::string name;      // "bert-base 8x128 f32"
  std::string system;    // "kpt balanced", "eager"
  std::string device;    // a JSON object: what was measured on
  std::string versions;  // a JSON object: of what was measured with
  std::string commit;
  std::string created;          // UTC, "2026-01-31T23:59:59.123456Z"; record() fills it in where empty
  std::string content;          // hash of all of the above but the id, and of every metric
  std::vector<Metric> metrics;  // each name once

  const Metric* metric(std::string_view name) const;  // null where it has none
};

// The identity of a benchmark: what ran, on what shapes, on which device, with which versions. Two records compare only
// where their keys agree. SHA-256 rather than a shorter hash: keys are kept for years and come from imported files too,
// and two models that met in one key would be compared as one. The same in every process, byte order and locale.
struct KeyParts {
  std::string graph;  // its text; byte-stable
  std::vector<std::vector<int64_t>> shapes;
  std::vector<std::string> dtypes;
  std::string device, versions;  // JSON objects; the order of their fields does not matter
};
KPT_API std::string key_of(const KeyParts& parts);

// This machine's processor, and what this library was built with, as JSON objects for Record and KeyParts. A
// measurement on an accelerator brings its own.
KPT_API std::string processor_json();
KPT_API std::string versions_json();

// JSON with sorted fields and no blanks. Throws Error{bad_input}, naming `what`, for anything but an object.
KPT_API std::string canonical_json(std::string_view text, std::string_view what);
KPT_API std::string utc_now();

// Fills in what may be left out (created, content; device and versions canonical) and throws Error{bad_input} for a
// record that must not be stored: a field missing, a metric twice, a number that is not finite.
KPT_API void complete(Record& record);

// One line of JSON, and back. The line is complete() in full; parse_record checks every field and the content hash.
KPT_API std::string to_json_line(const Record& record);
KPT_API Record parse_record(std::string_view line);

}  // namespace kpt

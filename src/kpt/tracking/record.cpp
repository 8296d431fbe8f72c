// SPDX-License-Identifier: Apache-2.0
#include "kpt/tracking/record.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "kpt/base/sha256.h"
#include "kpt/base/stats.h"
#include "kpt/hardware/cpu.h"

namespace kpt {

namespace {

using Json = nlohmann::json;
constexpr std::string_view kWhere = "tracking.record";

constexpr std::array<MetricKind, 7> kMetrics = {{
    {"latency", "ms", Direction::lower, false},
    {"throughput", "1/s", Direction::higher, false},
    {"memory", "bytes", Direction::lower, false},
    {"accuracy", "share", Direction::higher, false},
    {"error", "rel_rmse", Direction::lower, false},
    {"compile_time", "s", Direction::lower, false},
    {"kernel_count", "launches", Direction::lower, true},
}};

// "2026-01-31T23:59:59.123456Z": fixed width, so that text order is time order.
bool is_timestamp(std::string_view text) {
  constexpr std::string_view kShape = "0000-00-00T00:00:00.000000Z";
  if (text.size() != kShape.size()) return false;
  for (size_t i = 0; i < text.size(); ++i)
    if (kShape[i] == '0' ? !(text[i] >= '0' && text[i] <= '9') : text[i] != kShape[i]) return false;
  const auto number = [&](size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
  return number(5) >= 1 && number(5) <= 12 && number(8) >= 1 && number(8) <= 31 && number(11) < 24 && number(14) < 60 &&
         number(17) < 61;
}

bool is_key(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string content_of(const Record& r) {
  Sha256 hash;
  hash.add_field("kpt record 1");
  for (const std::string* text : {&r.key, &r.suite, &r.name, &r.system, &r.device, &r.versions, &r.commit, &r.created})
    hash.add_field(*text);
  hash.add_number(r.metrics.size());
  for (const Metric& m : r.metrics) {
    hash.add_field(m.name);
    hash.add_field(m.unit);
    hash.add_field(name(m.direction));
    hash.add_number(std::bit_cast<uint64_t>(m.value));
    hash.add_number(m.samples.size());
    for (double x : m.samples) hash.add_number(std::bit_cast<uint64_t>(x));
  }
  return hash.hex();
}

void check_text(const std::string& text, std::string_view what) {
  try {
    (void)Json(text).dump();  // checks UTF-8 on its way
  } catch (const Json::exception&) {
    throw_error(ErrorKind::bad_input, kWhere, cat("got a ", what, " that is not UTF-8, want text"));
  }
}

void check_metric(const Metric& m) {
  check_text(m.name, "metric name"), check_text(m.unit, "unit");
  KPT_CHECK(!m.name.empty() && !m.unit.empty(), kWhere, "got a metric '", m.name, "' in '", m.unit,
            "', want a name and a unit");
  KPT_CHECK(std::isfinite(m.value), kWhere, "got ", m.name, " = ", m.value, ", want a finite number");
  for (double x : m.samples)
    KPT_CHECK(std::isfinite(x), kWhere, "got a sample ", x, " of ", m.name, ", want finite numbers");
}

}  // namespace

std::string_view name(Direction direction) { return direction == Direction::lower ? "lower" : "higher"; }

Direction parse_direction(std::string_view text) {
  KPT_CHECK(text == "lower" || text == "higher", kWhere, "got direction ", text, ", want lower or higher");
  return text == "lower" ? Direction::lower : Direction::higher;
}

const MetricKind* metric_kind(std::string_view name) {
  const auto it = std::find_if(kMetrics.begin(), kMetrics.end(), [&](const MetricKind& k) { return k.name == name; });
  return it == kMetrics.end() ? nullptr : &*it;
}

Metric make_metric(std::string_view metric_name, std::vector<double> samples) {
  const MetricKind* kind = metric_kind(metric_name);
  KPT_CHECK(kind, kWhere, "got the metric ", metric_name, ", want a known one, try a Metric with unit and direction");
  return {std::string(kind->name), std::string(kind->unit), kind->direction, median(samples), std::move(samples)};
}

const Metric* Record::metric(std::string_view metric_name) const {
  const auto it = std::find_if(metrics.begin(), metrics.end(), [&](const Metric& m) { return m.name == metric_name; });
  return it == metrics.end() ? nullptr : &*it;
}

std::string canonical_json(std::string_view text, std::string_view what) {
  const Json json = Json::parse(text, nullptr, false);
  KPT_CHECK(json.is_object(), kWhere, "got ", what, " '", text.substr(0, 60), "', want a JSON object");
  return json.dump();
}

std::string key_of(const KeyParts& parts) {
  KPT_CHECK(!parts.graph.empty(), kWhere, "got an empty graph, want its text");
  KPT_CHECK(parts.shapes.size() == parts.dtypes.size(), kWhere, "got ", parts.shapes.size(), " shapes and ",
            parts.dtypes.size(), " dtypes, want as many");
  Sha256 hash;
  hash.add_field("kpt key 1");
  hash.add_field(parts.graph);
  hash.add_number(parts.shapes.size());
  for (const auto& shape : parts.shapes) {
    hash.add_number(shape.size());
    for (int64_t size : shape) hash.add_number(static_cast<uint64_t>(size));
  }
  for (const std::string& dtype : parts.dtypes) hash.add_field(dtype);
  hash.add_field(canonical_json(parts.device, "device"));
  hash.add_field(canonical_json(parts.versions, "versions"));
  return hash.hex();
}

std::string processor_json() {
  const CpuInfo& c = cpu_info();
  return Json{{"kind", "cpu"},
              {"vendor", c.vendor},
              {"model", c.model},
              {"processors", c.processors},
              {"isa", kpt::name(cpu_isa())}}
      .dump();
}

std::string versions_json() { return Json{{"kernel_pytorch", KPT_VERSION}, {"compiler", __VERSION__}}.dump(); }

std::string utc_now() {
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  const std::time_t seconds = micros / 1000000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  const size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text.data() + length, text.size() - length, ".%06dZ", static_cast<int>(micros % 1000000));
  return text.data();
}

void complete(Record& r) {
  KPT_CHECK(is_key(r.key), kWhere, "got the key '", r.key, "', want 64 hex digits, try key_of()");
  KPT_CHECK(!r.suite.empty() && !r.name.empty() && !r.system.empty(), kWhere, "got suite '", r.suite, "', name '",
            r.name, "', system '", r.system, "', want all three");
  check_text(r.suite, "suite"), check_text(r.name, "name"), check_text(r.system, "system"),
      check_text(r.commit, "commit");
  KPT_CHECK(!r.metrics.empty(), kWhere, "got ", r.name, " without a metric, want at least one");
  r.device = canonical_json(r.device, "device");
  r.versions = canonical_json(r.versions, "versions");
  if (r.created.empty()) r.created = utc_now();
  KPT_CHECK(is_timestamp(r.created), kWhere, "got created '", r.created, "', want UTC as 2026-01-31T23:59:59.123456Z");
  std::set<std::string_view> names;
  for (const Metric& m : r.metrics) {
    check_metric(m);
    KPT_CHECK(names.insert(m.name).second, kWhere, "got ", m.name, " twice, want each metric once");
  }
  r.content = content_of(r);
}

}  // namespace kpt

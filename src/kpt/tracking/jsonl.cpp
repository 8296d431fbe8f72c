// SPDX-License-Identifier: Apache-2.0
// A record as one line of JSON, for exchange and for benchmarks/results. Numbers are written with as many digits as
// bring the same double back.
#include <nlohmann/json.hpp>

#include "kpt/tracking/record.h"

namespace kpt {

namespace {

using Json = nlohmann::json;
constexpr std::string_view kWhere = "tracking.jsonl";
constexpr std::string_view kFormat = "kpt-record-1";

std::string text_of(const Json& json, const char* field) {
  const auto it = json.find(field);
  KPT_CHECK(it != json.end() && it->is_string(), kWhere, "got no text in '", field, "', want one");
  return it->get<std::string>();
}

std::string object_of(const Json& json, const char* field) {
  const auto it = json.find(field);
  KPT_CHECK(it != json.end() && it->is_object(), kWhere, "got no object in '", field, "', want one");
  return it->dump();
}

Metric metric_of(const Json& json) {
  KPT_CHECK(json.is_object(), kWhere, "got a metric that is no object, want {name, unit, direction, value, samples}");
  Metric m{text_of(json, "name"), text_of(json, "unit"), parse_direction(text_of(json, "direction")), 0, {}};
  const auto value = json.find("value");
  KPT_CHECK(value != json.end() && value->is_number(), kWhere, "got no number in 'value' of ", m.name, ", want one");
  m.value = value->get<double>();
  const auto samples = json.find("samples");
  KPT_CHECK(samples != json.end() && samples->is_array(), kWhere, "got no list in 'samples' of ", m.name,
            ", want one, empty if need be");
  for (const Json& x : *samples) {
    KPT_CHECK(x.is_number(), kWhere, "got ", x.dump(), " among the samples of ", m.name, ", want numbers");
    m.samples.push_back(x.get<double>());
  }
  return m;
}

}  // namespace

std::string to_json_line(const Record& r) {
  Json metrics = Json::array();
  for (const Metric& m : r.metrics)
    metrics.push_back({{"name", m.name},
                       {"unit", m.unit},
                       {"direction", name(m.direction)},
                       {"value", m.value},
                       {"samples", m.samples}});
  Json line{{"format", kFormat},
            {"key", r.key},
            {"suite", r.suite},
            {"name", r.name},
            {"system", r.system},
            {"device", Json::parse(r.device)},
            {"versions", Json::parse(r.versions)},
            {"commit", r.commit},
            {"created", r.created},
            {"content", r.content},
            {"metrics", std::move(metrics)}};
  return line.dump();
}

Record parse_record(std::string_view line) {
  const Json json = Json::parse(line, nullptr, false);
  KPT_CHECK(json.is_object(), kWhere, "got '", line.substr(0, 60), "', want one JSON object a line");
  const std::string format = text_of(json, "format");
  KPT_CHECK(format == kFormat, kWhere, "got format ", format, ", want ", kFormat);
  Record r;
  r.key = text_of(json, "key");
  r.suite = text_of(json, "suite");
  r.name = text_of(json, "name");
  r.system = text_of(json, "system");
  r.device = object_of(json, "device");
  r.versions = object_of(json, "versions");
  r.commit = text_of(json, "commit");
  r.created = text_of(json, "created");
  KPT_CHECK(!r.created.empty(), kWhere, "got an empty 'created', want a time");
  const auto metrics = json.find("metrics");
  KPT_CHECK(metrics != json.end() && metrics->is_array(), kWhere, "got no list in 'metrics', want one");
  for (const Json& m : *metrics) r.metrics.push_back(metric_of(m));
  complete(r);
  const std::string content = text_of(json, "content");
  KPT_CHECK(content == r.content, kWhere, "got a record whose content hash is ", r.content.substr(0, 12), ", want ",
            content.substr(0, 12), " as its line says: the line was changed or cut");
  return r;
}

}  // namespace kpt

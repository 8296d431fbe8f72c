// SPDX-License-Identifier: Apache-2.0
#include "kpt/tracking/history_json.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "kpt/tracking/regress.h"

namespace kpt {

namespace {

using Json = nlohmann::json;
constexpr std::string_view kWhere = "tracking.json";

// The fields of one object, each read once; what nobody has read is a mistake of the caller.
class Fields {
 public:
  explicit Fields(const std::string& text) : json_(Json::parse(text, nullptr, false)) { check(text); }
  explicit Fields(const Json& json) : json_(json) { check(json.dump()); }

  bool has(const char* name) const { return json_.contains(name); }
  template <class T>
  T get(const char* name) {
    KPT_CHECK(has(name), kWhere, "got no field ", name, ", want one");
    read_.insert(name);
    try {
      return json_.at(name).get<T>();
    } catch (const Json::exception& e) {
      throw_error(ErrorKind::bad_input, kWhere, cat("got ", name, " = ", json_.at(name).dump(), ": ", e.what()));
    }
  }
  template <class T>
  T get(const char* name, T otherwise) {
    return has(name) ? get<T>(name) : otherwise;
  }
  template <class T>
  void set(const char* name, T& value) {
    if (has(name)) value = get<T>(name);
  }
  void done() const {
    for (const auto& [name, value] : json_.items())
      KPT_CHECK(read_.contains(name), kWhere, "got the field ", name, ", want one that this call has");
  }

 private:
  void check(const std::string& text) const {
    KPT_CHECK(json_.is_object(), kWhere, "got '", text.substr(0, 60), "', want a JSON object");
  }
  Json json_;
  std::set<std::string> read_;
};

Json number(double x) { return std::isfinite(x) ? Json(x) : Json(); }

Json to_json(const Finding& f) {
  return {{"outcome", name(f.outcome)},
          {"severity", name(f.severity)},
          {"change", number(f.change)},
          {"low", number(f.low)},
          {"high", number(f.high)},
          {"p", f.p},
          {"rounds", f.rounds},
          {"more_rounds", f.more_rounds},
          {"unexplained_gain", f.unexplained_gain},
          {"confirmed", f.confirmed},
          {"reason", f.reason}};
}

Json stored(const Record& r) {
  Json json = Json::parse(to_json_line(r));
  json.erase("format");
  json["id"] = r.id;
  return json;
}

Metric metric_of(const Json& json) {
  Fields f(json);
  const auto name = f.get<std::string>("name");
  auto samples = f.get<std::vector<double>>("samples", {});
  KPT_CHECK(!samples.empty() || f.has("value"), kWhere, "got ", name,
            " with neither samples nor a value, want one of them");
  if (samples.empty()) samples = {f.get<double>("value")};
  Metric m;
  if (metric_kind(name)) {
    m = make_metric(name, samples);
    KPT_CHECK(f.get<std::string>("unit", m.unit) == m.unit, kWhere, "got ", name, " in another unit, want ", m.unit);
    KPT_CHECK(f.get<std::string>("direction", std::string(kpt::name(m.direction))) == kpt::name(m.direction), kWhere,
              "got ", name, " the other way round, want ", kpt::name(m.direction));
  } else {
    m = make_metric("latency", samples);
    m.name = name;
    m.unit = f.get<std::string>("unit");
    m.direction = parse_direction(f.get<std::string>("direction"));
  }
  m.value = f.get<double>("value", m.value);
  if (!f.has("samples") || f.get<std::vector<double>>("samples").empty()) m.samples.clear();
  f.done();
  return m;
}

HistoryFilter filter_of(Fields f) {
  HistoryFilter filter;
  f.set("key", filter.key), f.set("suite", filter.suite), f.set("name", filter.name), f.set("system", filter.system);
  f.set("commit", filter.commit), f.set("since", filter.since), f.set("until", filter.until);
  f.set("limit", filter.limit), f.set("samples", filter.samples);
  f.done();
  return filter;
}

std::string object_of(Fields& f, const char* name, std::string otherwise) {
  return f.has(name) ? f.get<Json>(name).dump() : otherwise;
}

template <class Options>
void common_options(Fields& f, Options& o) {
  if (f.has("direction")) o.direction = parse_direction(f.get<std::string>("direction"));
  f.set("false_alarms", o.false_alarms), f.set("tolerance", o.tolerance), f.set("gain_expected", o.gain_expected);
}

}  // namespace

HistoryJson::HistoryJson(const std::string& path, const std::string& mode)
    : history_([&] {
        KPT_CHECK(mode == "read" || mode == "write", kWhere, "got mode ", mode, ", want read or write");
        return History::open(path, mode == "read" ? OpenMode::read : OpenMode::write);
      }()) {}

std::string HistoryJson::record(const std::string& json) {
  Fields f(json);
  Record r;
  r.key = f.get<std::string>("key"), r.suite = f.get<std::string>("suite");
  r.name = f.get<std::string>("name"), r.system = f.get<std::string>("system");
  r.device = object_of(f, "device", processor_json());
  r.versions = object_of(f, "versions", versions_json());
  f.set("commit", r.commit), f.set("created", r.created);
  for (const Json& m : f.get<std::vector<Json>>("metrics")) r.metrics.push_back(metric_of(m));
  f.done();
  complete(r);
  const int64_t id = history_.record(r);
  return Json{{"id", id}, {"created", r.created}, {"content", r.content}}.dump();
}

std::string HistoryJson::list(const std::string& json) const {
  Json records = Json::array();
  for (const Record& r : history_.list(filter_of(Fields(json)))) records.push_back(stored(r));
  return Json{{"records", std::move(records)}}.dump();
}

std::string HistoryJson::baseline(const std::string& json) {
  Fields f(json);
  const auto metric = f.get<std::string>("metric", "");
  std::optional<Record> found;
  if (f.has("set")) {
    const auto id = f.get<int64_t>("set");
    f.done();
    history_.set_baseline(id, metric);
    found = history_.get(id);
  } else {
    const auto key = f.get<std::string>("key");
    f.done();
    found = history_.baseline(key, metric);
  }
  return Json{{"record", found ? stored(*found) : Json()}}.dump();
}

std::string HistoryJson::compare(const std::string& json) const {
  Fields f(json);
  HistoricalOptions options;
  f.set("false_alarms", options.false_alarms), f.set("tolerance", options.tolerance),
      f.set("gain_expected", options.gain_expected);
  const auto record_of = [&](const char* field) {
    const auto id = f.get<int64_t>(field);
    auto r = history_.get(id);
    KPT_CHECK(r, kWhere, "got record ", id, " as ", field, ", want one of this history");
    return *r;
  };
  const Record before = record_of("baseline"), fresh = record_of("fresh");
  const std::optional<Record> previous = f.has("previous") ? std::optional(record_of("previous")) : std::nullopt;
  f.done();
  Json metrics = Json::array();
  for (const MetricFinding& m : compare_records(before, fresh, previous ? &*previous : nullptr, options))
    metrics.push_back({{"metric", m.metric},
                       {"unit", m.unit},
                       {"baseline", m.baseline},
                       {"fresh", m.fresh},
                       {"finding", to_json(m.finding)}});
  return Json{{"metrics", std::move(metrics)}}.dump();
}

std::string HistoryJson::export_jsonl(const std::string& json) const {
  Fields f(json);
  const auto path = f.get<std::string>("path");
  const HistoryFilter filter = filter_of(Fields(f.get<Json>("filter", Json::object())));
  f.done();
  const std::string part = path + ".part";
  int64_t count = 0;
  {
    std::ofstream out(part, std::ios::binary);
    if (!out.good())
      throw_error(ErrorKind::resource, kWhere, cat("got no access to ", part, ", want a folder that may be written"));
    count = history_.export_jsonl(out, filter);
    out.close();
    if (!out.good())
      throw_error(ErrorKind::resource, kWhere,
                  cat("got a failed write of ", part, ", want room for ", count, " records"));
  }
  std::error_code error;
  std::filesystem::rename(part, path, error);
  if (error)
    throw_error(ErrorKind::resource, kWhere,
                cat("got ", error.message(), " for ", path, ", want a path that may be written"));
  return Json{{"exported", count}}.dump();
}

std::string HistoryJson::import_jsonl(const std::string& json) {
  Fields f(json);
  const auto path = f.get<std::string>("path");
  f.done();
  std::ifstream in(path, std::ios::binary);
  KPT_CHECK(in.good(), kWhere, "got ", path, ", which cannot be read, want a file of JSON lines");
  const History::Imported result = history_.import_jsonl(in);
  return Json{{"added", result.added}, {"skipped", result.skipped}}.dump();
}

std::string HistoryJson::check() const { return Json{{"check", history_.check()}}.dump(); }

std::string HistoryJson::key(const std::string& json) {
  Fields f(json);
  KeyParts parts{f.get<std::string>("graph"), f.get<std::vector<std::vector<int64_t>>>("shapes"),
                 f.get<std::vector<std::string>>("dtypes"), object_of(f, "device", processor_json()),
                 object_of(f, "versions", versions_json())};
  f.done();
  return Json{{"key", key_of(parts)}}.dump();
}

std::string HistoryJson::machine() {
  return Json{{"device", Json::parse(processor_json())}, {"versions", Json::parse(versions_json())}}.dump();
}

std::string HistoryJson::verdict_paired(const std::string& json) {
  Fields f(json);
  PairedOptions options;
  const auto rounds = f.get<std::vector<double>>("log_ratios");
  common_options(f, options);
  f.set("min_rounds", options.min_rounds), f.set("max_rounds", options.max_rounds);
  f.done();
  return to_json(judge_paired(rounds, options)).dump();
}

std::string HistoryJson::verdict_historical(const std::string& json) {
  Fields f(json);
  HistoricalOptions options;
  const auto baseline = f.get<std::vector<double>>("baseline"), fresh = f.get<std::vector<double>>("fresh");
  const auto previous = f.get<std::vector<double>>("previous", {});
  common_options(f, options);
  f.done();
  return to_json(judge_historical(baseline, fresh, previous, options)).dump();
}

std::string HistoryJson::verdict_exact(const std::string& json) {
  Fields f(json);
  const auto baseline = f.get<double>("baseline"), fresh = f.get<double>("fresh");
  const Direction direction = parse_direction(f.get<std::string>("direction", "lower"));
  const bool expected = f.get<bool>("gain_expected", false);
  f.done();
  return to_json(judge_exact(baseline, fresh, direction, expected)).dump();
}

std::string HistoryJson::calibrate(const std::string& json) {
  Fields f(json);
  PairedOptions options;
  const auto rounds = f.get<std::vector<double>>("log_ratios");
  const auto least = f.get<double>("least_tolerance", kLeastTolerance);
  f.set("false_alarms", options.false_alarms), f.set("min_rounds", options.min_rounds),
      f.set("max_rounds", options.max_rounds);
  f.done();
  const Calibration c = kpt::calibrate(rounds, options, least);
  return Json{{"tolerance", c.tolerance}, {"bias", c.bias}, {"spread", c.spread}}.dump();
}

std::string HistoryJson::discoveries(const std::string& json) {
  Fields f(json);
  const auto p = f.get<std::vector<double>>("p");
  const auto q = f.get<double>("q");
  const bool any = f.get<bool>("any_dependence", false);
  f.done();
  return Json{{"stands", kpt::discoveries(p, q, any)}}.dump();
}

}  // namespace kpt

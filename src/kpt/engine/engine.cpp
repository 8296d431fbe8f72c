// SPDX-License-Identifier: Apache-2.0
#include "kpt/engine/engine.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kpt/base/counters.h"
#include "kpt/base/log.h"
#include "kpt/base/settings.h"
#include "kpt/engine/profile.h"
#include "kpt/engine/report.h"
#include "kpt/fusion/fusion.h"
#include "kpt/hardware/cpu.h"
#include "kpt/ir/text.h"
#include "kpt/passes/pass.h"

namespace kpt {

namespace {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

class CompiledModel final : public Model {
 public:
  CompiledModel(Plan plan, std::shared_ptr<WeightSource> weights, CompileRecord record)
      : executor_(std::move(plan), std::move(weights)), record_(std::move(record)) {}

  std::vector<Tensor> run(const std::vector<Tensor>& inputs, const RunOptions& options) override {
    return executor_.run(inputs, options.allocate, nullptr, options.stream);
  }
  std::vector<Tensor> probe(const std::vector<Tensor>& inputs, const std::vector<std::string>& keep,
                            const RunOptions& options) override {
    return executor_.probe(inputs, keep, options.stream);
  }
  std::string profile(const std::vector<Tensor>& inputs, int rounds) override {
    return profile_json(executor_, inputs, rounds);
  }
  const Graph& graph() const override { return executor_.plan().graph; }
  std::string text() const override { return print(graph()); }
  std::string plan_text() const override { return executor_.plan().text(); }
  std::string explain(std::string_view value) const override { return explain_value(record_, executor_, value); }
  std::string report() const override { return report_json(record_, executor_); }
  void make_ready(const std::vector<Tensor>& inputs) override { executor_.make_ready(inputs); }
  int64_t call_bytes(const std::vector<Tensor>& inputs) override { return executor_.call_bytes(inputs); }
  int64_t trim() override { return executor_.trim(); }
  std::vector<std::vector<size_t>> joined_weights() const override { return executor_.joined_weights(); }
  void take_weights() override { executor_.take_weights(); }
  std::map<std::string, int64_t> counters() const override {
    const ExecutorCounters& c = executor_.counters();
    return {{"calls", c.calls},
            {"shapes_planned", c.shapes_planned},
            {"prologue_runs", c.prologue_runs},
            {"arena_allocations", c.arena_allocations},
            {"frames", c.frames},
            {"input_copies", c.input_copies},
            {"recordings", c.recordings},
            {"recordings_refused", c.recordings_refused},
            {"replays", c.replays}};
  }

  Executor& executor() { return executor_; }
  CompileRecord& record() { return record_; }

 private:
  mutable Executor executor_;
  CompileRecord record_;
};

// Dumps of KPT_DUMP_DIR: NN-<stage>.kpt, one for each stage that changed the text.
std::function<void(std::string_view, const std::string&)> make_dump(const CompileOptions& options) {
  const std::string dir = setting_text("dump_dir");
  if (dir.empty()) return options.dump;
  auto number = std::make_shared<int>(0);
  return [dir, number, inner = options.dump](std::string_view stage, const std::string& text) {
    std::filesystem::create_directories(dir);
    const std::string path = cat(dir, "/", *number < 10 ? "0" : "", *number, "-", stage, ".kpt");
    ++*number;
    std::ofstream file(path);
    file << text;
    if (!file)
      throw_error(ErrorKind::bad_input, "engine.dump", cat("cannot write ", path, ", try another KPT_DUMP_DIR"));
    if (inner) inner(stage, text);
  };
}

// "cuda:1" is the second device of the backend "cuda".
std::pair<std::string, int> split_device(const std::string& device) {
  const size_t colon = device.find(':');
  if (colon == std::string::npos) return {device, 0};
  const std::string digits = device.substr(colon + 1);
  KPT_CHECK(!digits.empty() && digits.size() < 4 && digits.find_first_not_of("0123456789") == std::string::npos,
            "engine", "got device ", device, ", want a kind and an index such as cuda:0");
  return {device.substr(0, colon), std::stoi(digits)};
}

PassContext make_context(const CompileOptions& options) {
  PassContext context;
  context.skip = options.skip;
  context.disabled = options.disabled;
  for (const std::string& name : setting_list("disable")) context.disabled.insert(name);
  context.level = options.level;
  context.device = split_device(options.device).first;
  return context;
}

void add_again(std::vector<Pass>& passes, std::string_view name, int order) {
  const Pass* pass = pass_registry().find(name);
  KPT_ASSERT(pass, "engine", "no pass ", name);
  passes.push_back(*pass);
  passes.back().order = order;
}

// Fusion and grouping run through the same choke point as every pass: timed, verified, dumped, switched off by name.
std::vector<Pass> all_passes() {
  std::vector<Pass> passes = pass_registry().ordered();
  constexpr int kFusionOrder = 1000;  // behind every pass folder
  passes.push_back({"fusion", kFusionOrder, "text patterns of fusion/patterns",
                    [](Graph& g, PassContext& c) { run_fusions(g, c, fusion_registry()); }});
  // Attention written out by hand becomes kpt.attention only in fusion: its mask is recognised then.
  add_again(passes, "recognise_masks", kFusionOrder + 1);
  add_again(passes, "cse", kFusionOrder + 2);  // what fusions of several layers made alike, before it is grouped
  passes.push_back(
      {"group_pointwise", kFusionOrder + 10, "leftover pointwise nodes into generated loops", group_pointwise});
  add_again(passes, "cse", kFusionOrder + 20);
  add_again(passes, "dce", kFusionOrder + 21);
  return passes;
}

const Backend& find_backend(const std::string& device) {
  const Backend* backend = backend_registry().find(split_device(device).first);
  if (!backend) {
    std::string known;
    for (const Backend* b : backend_registry().all()) known += cat(known.empty() ? "" : ", ", b->device());
    throw_error(ErrorKind::unsupported, "engine", cat("got device ", device, ", want one of ", known));
  }
  const Verdict there = backend->available();
  if (!there) {
    backend->open(split_device(device).second);  // throws what exactly is missing
    throw_error(ErrorKind::device, "engine", cat("device ", device, " is not usable: ", there.reason));
  }
  return *backend;
}

void check_level(const std::string& level) {
  for (const char* known : {"conservative", "balanced", "aggressive"})
    if (level == known) return;
  throw_error(ErrorKind::bad_input, "engine", cat("got level ", level, ", want conservative, balanced or aggressive"));
}

int thread_count(int wanted) {
  if (wanted <= 0) wanted = static_cast<int>(setting_int("num_threads"));
  return wanted > 0 ? wanted : cpu_info().processors;
}

}  // namespace

namespace {

struct Planned {
  Plan plan;
  CompileRecord record;
};

Planned plan_graph(Graph graph, const Backend& backend, const CompileOptions& options,
                   const std::set<std::string>& skip) {
  CompileRecord record;
  if (options.rewrite) {
    PassContext context = make_context(options);
    context.skip = skip;
    std::vector<Pass> passes = all_passes();
    if (!options.only.empty()) std::erase_if(passes, [&](const Pass& p) { return !options.only.count(p.name); });
    record.passes = run_passes(graph, context, passes, make_dump(options));
    record.rewrites = std::move(context.rewrites);
  }
  const Stopwatch planning;
  PlanOptions plan_options;
  plan_options.select = {options.providers, options.ban, options.allow_fallback && setting_bool("allow_fallback")};
  plan_options.threads = thread_count(options.threads);
  plan_options.device_index = split_device(options.device).second;
  plan_options.prologue = options.prologue;
  Plan plan = make_plan(std::move(graph), backend, plan_options);
  record.plan_seconds = planning.seconds();
  return {std::move(plan), std::move(record)};
}

// A rewrite may have made an operator that this device has no kernel for, at these types or sizes. Keys of the rewrites
// that made what is not supported.
std::set<std::string> makers_of(const std::set<std::string>& values, const std::vector<Rewrite>& rewrites) {
  std::set<std::string> keys;
  for (const Rewrite& r : rewrites)
    for (const std::string& value : r.values)
      if (r.applied && values.count(value)) keys.insert(r.key);
  return keys;
}

Planned plan_what_runs(Graph graph, const Backend& backend, const CompileOptions& options) {
  constexpr int kAttempts = 4;  // a rewrite put back may uncover another: epilogue, then view
  const bool again = backend.device() != "cpu" && options.rewrite;
  std::set<std::string> skip = options.skip;
  for (int attempt = 1;; ++attempt) {
    // NOLINTNEXTLINE(bugprone-use-after-move): moved from in the last turn alone, for only `again` goes on
    Planned planned = plan_graph(again ? graph.clone() : std::move(graph), backend, options, skip);
    if (planned.plan.unsupported.empty()) return planned;
    const std::set<std::string> makers = makers_of(planned.plan.unsupported_values, planned.record.rewrites);
    if (again && attempt < kAttempts && !makers.empty()) {
      for (const std::string& key : makers)
        log(LogLevel::info, "engine", "event=rewrite_put_back rewrite=\"", key, "\" reason=\"no kernel on ",
            options.device, '"');
      skip.insert(makers.begin(), makers.end());
      continue;
    }
    std::string list;
    for (const std::string& line : planned.plan.unsupported) list += "\n  " + line;
    throw_error(ErrorKind::unsupported, "engine",
                cat("got ", planned.plan.unsupported.size(), " operators without a kernel of ours",
                    options.allow_fallback ? "" : " in strict mode", ":", list,
                    "\n  try allow_fallback=True (they run through ATen) or another level"));
  }
}

}  // namespace

int64_t trim_idle_models() { return trim_idle(); }

std::shared_ptr<Model> Model::compile(Graph graph, std::shared_ptr<WeightSource> weights,
                                      const CompileOptions& options) {
  static SpanCounters compiles("engine.compile");
  const Span span(compiles);
  const Stopwatch total;
  check_level(options.level);
  const Backend& backend = find_backend(options.device);
  const Verdict valid = verify(graph);
  KPT_CHECK(valid.ok, "engine", valid.reason);
  auto [plan, record] = plan_what_runs(std::move(graph), backend, options);
  const Stopwatch prologue;
  auto model = std::make_shared<CompiledModel>(std::move(plan), std::move(weights), std::move(record));
  model->executor().instance(model->executor().plan().hints());  // kernels at the sample's sizes: faults show here
  model->record().prologue_seconds = prologue.seconds();
  model->record().total_seconds = total.seconds();
  log(LogLevel::info, "engine", "event=plan device=", options.device, " level=", options.level,
      " steps=", model->executor().plan().steps.size(), " rewrites=", model->record().rewrites.size(),
      " seconds=", model->record().total_seconds);
  return model;
}

}  // namespace kpt

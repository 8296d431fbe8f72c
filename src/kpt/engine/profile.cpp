// SPDX-License-Identifier: Apache-2.0
#include "kpt/engine/profile.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "kpt/runtime/cost.h"

namespace kpt {

namespace {

using Json = nlohmann::json;
using Time = std::chrono::steady_clock;

int64_t ns_between(Time::time_point from, Time::time_point to) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(to - from).count();
}

struct StepTimes {
  const BoundStep* step = nullptr;
  std::vector<int64_t> start_ns, ns;
};

class StepTimer final : public StepObserver {
 public:
  void begin_call() {
    at_ = 0;
    call_ = Time::now();
  }
  int64_t end_call() const { return ns_between(call_, Time::now()); }
  Time::time_point call() const { return call_; }

  void before(const BoundStep& step) override {
    if (at_ == times.size()) times.emplace_back();  // in the first round only
    times[at_].step = &step;
    begin_ = Time::now();
  }
  void after(const BoundStep&, const std::vector<char*>&) override {
    const Time::time_point end = Time::now();
    times[at_].start_ns.push_back(ns_between(call_, begin_));
    times[at_].ns.push_back(ns_between(begin_, end));
    ++at_;
  }

  std::vector<StepTimes> times;

 private:
  size_t at_ = 0;
  Time::time_point call_, begin_;
};

Json step_json(const StepTimes& times, const Plan& plan, const SymEnv& env) {
  const BoundStep& step = *times.step;
  const Node& node = *step.step->node;
  const Cost cost = cost_of(make_problem(node, step.step->inputs, step.step->outputs, env, plan.options));
  return {{"value", node.out()->name},         {"op", node.op},
          {"provider", step.kernel->provider}, {"kernel", step.kernel->name},
          {"config", step.launch->config()},   {"where", node.loc.scope},
          {"stack", node.loc.stack},           {"flops", cost.flops ? Json(*cost.flops) : Json()},
          {"bytes_read", cost.bytes_read},     {"bytes_written", cost.bytes_written},
          {"start_ns", times.start_ns},        {"ns", times.ns}};
}

std::vector<int64_t> live_bytes(const Plan& plan, const SymEnv& env) {
  std::vector<int64_t> live(plan.steps.size(), 0);
  for (const BufferInfo& b : plan.buffers) {
    if (b.kind != BufferKind::arena) continue;
    const int64_t bytes = b.bytes.eval(env);
    for (int i = std::max(b.first, 0); i <= b.last && i < static_cast<int>(live.size()); ++i)
      live[static_cast<size_t>(i)] += bytes;
  }
  return live;
}

}  // namespace

std::string profile_json(Executor& executor, const std::vector<Tensor>& inputs, int rounds) {
  KPT_CHECK(rounds >= 1 && rounds <= 100000, "engine.profile", "got ", rounds, " rounds, want 1 to 100000");
  const std::shared_ptr<const Instance> instance = executor.instance_for(inputs);
  StepTimer timer;
  std::vector<int64_t> call_start, call_ns;
  Time::time_point first;
  for (int round = 0; round < rounds; ++round) {
    timer.begin_call();
    if (round == 0) first = timer.call();
    executor.run(inputs, nullptr, &timer);
    call_ns.push_back(timer.end_call());
    call_start.push_back(ns_between(first, timer.call()));
  }
  const Plan& plan = executor.plan();
  Json steps = Json::array();
  for (const StepTimes& t : timer.times) steps.push_back(step_json(t, plan, instance->env));
  return Json{{"rounds", rounds},
              {"threads", plan.options.threads},
              {"call_start_ns", call_start},
              {"call_ns", call_ns},
              {"steps", std::move(steps)},
              {"memory",
               {{"arena_bytes", instance->arena_bytes},
                {"workspace_bytes", instance->workspace_bytes},
                {"in_outputs_bytes", instance->scratch.used},
                {"live_bytes", live_bytes(plan, instance->env)}}}}
      .dump();
}

}  // namespace kpt

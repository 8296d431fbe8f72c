// SPDX-License-Identifier: Apache-2.0
#include "kpt/engine/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kpt/ir/text.h"

namespace kpt {

namespace {

using Json = nlohmann::json;

bool is_fallback(const Kernel& kernel) { return kernel.provider == "aten" || kernel.provider == "reference"; }

// Why the kernels of ours said no: the first reason is the nearest miss.
std::string fallback_reason(const Plan& plan, const BoundStep& step, const SymEnv& env) {
  const Problem problem = make_problem(*step.step->node, step.step->inputs, step.step->outputs, env, plan.options);
  std::string out;
  for (const Candidate& c : plan.backend->candidates(*step.step->node, problem, plan.options.select)) {
    if (c.verdict.ok || is_fallback(*c.kernel)) continue;
    out += cat(out.empty() ? "" : "; ", c.kernel->name, ": ", c.verdict.reason);
  }
  return out.empty() ? "no kernel of ours computes it" : out;
}

Json step_json(const BoundStep& step) {
  const Node& node = *step.step->node;
  return {{"value", node.out()->name},
          {"op", node.op},
          {"provider", step.kernel->provider},
          {"kernel", step.kernel->name},
          {"config", step.launch->config()},
          {"where", node.loc.scope},
          {"stack", node.loc.stack}};
}

Json rewrite_json(const Rewrite& r) {
  return {{"key", r.key}, {"pass", r.pass},       {"what", r.what},    {"where", r.where},
          {"why", r.why}, {"applied", r.applied}, {"values", r.values}};
}

}  // namespace

std::string report_json(const CompileRecord& record, Executor& executor) {
  const Plan& plan = executor.plan();
  const SymEnv hints = plan.hints();
  const auto instance = executor.instance(hints);
  Json out;
  out["passes"] = Json::array();
  for (const PassTiming& t : record.passes)
    out["passes"].push_back(
        {{"name", t.pass}, {"seconds", t.seconds}, {"nodes_before", t.nodes_before}, {"nodes_after", t.nodes_after}});
  out["rewrites"] = Json::array();
  for (const Rewrite& r : record.rewrites) out["rewrites"].push_back(rewrite_json(r));
  out["steps"] = Json::array();
  out["fallbacks"] = Json::array();
  for (const BoundStep& step : instance->steps) {
    out["steps"].push_back(step_json(step));
    if (!is_fallback(*step.kernel)) continue;
    const Node& node = *step.step->node;
    out["fallbacks"].push_back({{"op", node.op},
                                {"value", node.out()->name},
                                {"provider", step.kernel->provider},
                                {"reason", fallback_reason(plan, step, hints)},
                                {"where", node.loc.scope},
                                {"stack", node.loc.stack}});
  }
  out["prologue"] = Json::array();
  if (auto prologue = executor.prologue())
    for (const BoundStep& step : prologue->steps) out["prologue"].push_back(step_json(step));
  int64_t weights = 0;
  for (const BufferInfo& b : plan.buffers)
    if (b.kind == BufferKind::weight) weights += b.bytes.value();
  out["memory"] = {{"peak_bytes", instance->arena_bytes + instance->workspace_bytes},
                   {"arena_bytes", instance->arena_bytes},
                   {"workspace_bytes", instance->workspace_bytes},
                   {"in_outputs_bytes", instance->scratch.used},
                   {"no_reuse_bytes", plan.no_reuse_bytes().eval(hints)},
                   {"weights_bytes", weights},
                   {"derived_bytes", executor.derived_bytes()},
                   {"formula", plan.arena_bytes().str()}};
  out["hints"] = hints;
  out["seconds"] = {
      {"plan", record.plan_seconds}, {"prologue", record.prologue_seconds}, {"total", record.total_seconds}};
  return out.dump();
}

std::string explain_value(const CompileRecord& record, Executor& executor, std::string_view value) {
  const Plan& plan = executor.plan();
  const Value* v = plan.graph.find(value);
  std::ostringstream os;
  bool told = false;
  for (const Rewrite& r : record.rewrites) {
    const bool names = r.key == value || std::find(r.values.begin(), r.values.end(), value) != r.values.end();
    if (!names) continue;
    os << (r.applied ? "rewrite  " : "declined ") << r.key << ": " << r.what << (r.why.empty() ? "" : " - ") << r.why
       << '\n';
    told = true;
  }
  KPT_CHECK(v || told, "engine.explain", "got value ", value,
            ", want a name in the graph (see .graph) or in a rewrite");
  if (!v) return os.str() + "it is no value of the optimised graph any more\n";
  os << '%' << v->name << " : " << v->type << '\n';
  if (!v->producer) {
    os << (v->kind == Value::Kind::input ? "an input of the model\n" : cat("the weight ", v->fqn, "\n"));
    return os.str();
  }
  const Node& node = *v->producer;
  os << print(node) << '\n';
  if (!node.loc.scope.empty()) os << "module   " << node.loc.scope << '\n';
  if (!node.loc.stack.empty()) os << "source   " << node.loc.stack << '\n';
  const SymEnv hints = plan.hints();
  auto show = [&](const std::vector<PlanStep>& steps, const char* when) {
    for (const PlanStep& step : steps) {
      if (step.node != &node) continue;
      os << "runs     " << when << '\n';
      const Problem problem = make_problem(node, step.inputs, step.outputs, hints, plan.options);
      bool chosen = false;
      for (const Candidate& c : plan.backend->candidates(node, problem, plan.options.select)) {
        os << "kernel   " << c.kernel->provider << '/' << c.kernel->name << ": ";
        if (!c.verdict.ok)
          os << "no, " << c.verdict.reason << '\n';
        else
          os << (chosen ? "yes, not needed" : cat("chosen, ", c.kernel->make(problem)->config())) << '\n';
        chosen |= c.verdict.ok;
      }
    }
  };
  show(plan.prologue, "once at load (weights only), again when a weight changed");
  show(plan.steps, "at every call");
  const ValuePlace& place = plan.places.at(v);
  const BufferInfo& b = plan.buffers[static_cast<size_t>(place.buffer)];
  os << "memory   " << b.bytes << " bytes" << (b.kind == BufferKind::arena ? cat(", arena slot ", b.slot) : "") << '\n';
  return os.str();
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/instance.h"

#include <algorithm>
#include <set>

#include "kpt/base/threads.h"
#include "kpt/ir/text.h"
#include "kpt/runtime/memory.h"
#include "kpt/runtime/shortage.h"

namespace kpt {

namespace {

std::vector<BoundPlace> bind(const std::vector<ValuePlace>& places, const std::vector<Value*>& values,
                             const SymEnv& env) {
  std::vector<BoundPlace> out;
  for (size_t i = 0; i < places.size(); ++i)
    out.push_back(
        {places[i].buffer, places[i].layout.offset.eval(env) * static_cast<int64_t>(size_of(values[i]->type.dtype))});
  return out;
}

// Problem::lasting: weights, and what the prologue made of them, but for states that a step writes in place.
uint64_t lasting_inputs(const Plan& plan, const PlanStep& step, const std::set<int>& written) {
  uint64_t bits = 0;
  for (size_t i = 0; i < step.inputs.size() && i < 64; ++i) {
    const int buffer = step.inputs[i].buffer;
    const BufferKind kind = plan.buffers[static_cast<size_t>(buffer)].kind;
    if ((kind == BufferKind::weight || kind == BufferKind::persistent) && !written.count(buffer)) bits |= 1ull << i;
  }
  return bits;
}

// A problem solved: the first kernel that takes it.
struct Solved {
  Problem problem;
  std::shared_ptr<const Kernel> kernel;
  std::shared_ptr<Launch> launch;
};

Solved solve(const Plan& plan, const Node& node, Problem problem) {
  std::string reasons;
  for (Candidate& c : plan.backend->candidates(node, problem, plan.options.select)) {
    if (!c.verdict.ok) {
      reasons += cat("\n  ", c.kernel->provider, "/", c.kernel->name, ": ", c.verdict.reason);
      continue;
    }
    std::shared_ptr<Launch> launch = c.kernel->make(problem);
    return {std::move(problem), std::move(c.kernel), std::move(launch)};
  }
  throw_error(ErrorKind::unsupported, "runtime",
              cat("no kernel for ", print(node), "\n  as ", problem.str(),
                  node.loc.stack.empty() ? "" : cat("\n  at ", node.loc.stack), reasons,
                  "\n  try allow_fallback=True, or load the torch bridge"));
}

}  // namespace

namespace {

void lay_out_arena(const Plan& plan, const SymEnv& env, Instance* out) {
  Scratch& scratch = out->scratch;
  if (plan.scratch_output >= 0) {
    const int buffer = plan.output_buffers[static_cast<size_t>(plan.scratch_output)];
    scratch.room = plan.buffers[static_cast<size_t>(buffer)].bytes.eval(env);
    if (scratch.room <= kCopiedOutput) scratch.room = 0;
  }
  const SlotPlaces places = place_slots(plan.buffers, plan.slots.size(), env, scratch.room);
  scratch.used = places.scratch_bytes;
  out->arena_bytes = places.arena_bytes;
  for (const BufferInfo& b : plan.buffers) {
    const bool arena = b.kind == BufferKind::arena;
    const auto slot = static_cast<size_t>(std::max(0, b.slot));
    out->arena_offset.push_back(arena ? places.offset[slot] : -1);
    scratch.holds.push_back(arena && places.scratch[slot]);
  }
}

void lay_out_workspaces(const Plan& plan, Instance* out) {
  int64_t early = 0;
  for (size_t i = 0; i < out->steps.size(); ++i) {
    const auto bytes = static_cast<int64_t>(out->steps[i].launch->workspace_bytes());
    int64_t& most = i < static_cast<size_t>(plan.scratch_until) ? early : out->workspace_bytes;
    most = std::max(most, bytes);
  }
  Scratch& scratch = out->scratch;
  const int64_t start = round_up(scratch.used, kWorkspaceAlignment);
  if (early && start + early <= scratch.room) {
    scratch.workspace = start;
    scratch.used = start + early;
  } else {
    out->workspace_bytes = std::max(out->workspace_bytes, early);
  }
}

// Kernels of the CPU are ready when made. Those of a GPU may have to be compiled, each on its own thread; the one that
// fails is named by its exception.
void prepare(const Plan& plan, const std::vector<Solved>& solved, Effort effort, Instance* out) {
  auto ready = [&](int64_t i, int) {
    const std::shared_ptr<void> current = plan.device->enter();
    solved[static_cast<size_t>(i)].launch->prepare(effort);
  };
  if (plan.options.gpu.arch) parallel(static_cast<int64_t>(solved.size()), plan.options.threads, ready);
  for (const BoundStep& step : out->steps) out->recordable &= step.launch->recordable();
  lay_out_workspaces(plan, out);
}

}  // namespace

std::shared_ptr<const Instance> make_instance(const Plan& plan, const std::vector<PlanStep>& steps, const SymEnv& env,
                                              Effort effort) {
  auto out = std::make_shared<Instance>();
  out->env = env;
  out->effort = effort;
  const bool every_call = &steps == &plan.steps;  // the prologue uses no arena and knows no symbols
  if (every_call) lay_out_arena(plan, env, out.get());
  std::set<int> written;
  for (const PlanStep& step : plan.steps)
    if (step.node->op == "kpt.write_") written.insert(step.inputs[0].buffer);
  std::vector<Solved> solved;                            // the layers of a model ask the same few questions
  const bool banned = !plan.options.select.ban.empty();  // some kernel for one step alone
  for (const PlanStep& step : steps) {
    const Node& node = *step.node;
    Problem problem = make_problem(node, step.inputs, step.outputs, env, plan.options);
    if (every_call) problem.lasting = lasting_inputs(plan, step, written);  // the prologue's have just been written
    auto it = std::find_if(solved.begin(), solved.end(), [&](const Solved& s) { return s.problem.same(problem); });
    if (it == solved.end() || banned) it = solved.insert(solved.end(), solve(plan, node, std::move(problem)));
    out->steps.push_back(
        {&step, it->kernel, it->launch, bind(step.inputs, node.inputs, env), bind(step.outputs, node.outputs, env)});
  }
  prepare(plan, solved, effort, out.get());
  if (every_call)
    for (const Value* v : plan.graph.outputs()) {
      Dims sizes;
      for (const Sym& s : v->type.sizes) sizes.push_back(s.eval(env));
      out->outputs.push_back(TensorDesc::contiguous(v->type.dtype, sizes));
    }
  return out;
}

// [runtime] kernel linear_cpu (kpt) failed at %h = aten.linear(...): what. Keeps the kind of a kpt::Error.
void step_failed(const BoundStep& step, ErrorKind kind, const char* what) {
  const Node& node = *step.step->node;
  throw_error(kind, "runtime",
              cat("kernel ", step.kernel->name, " (", step.kernel->provider, ") failed at ", print(node), ": ", what,
                  node.loc.stack.empty() ? "" : cat("; source: ", node.loc.stack)));
}

namespace {

// A fault is seen late: at the launch of this step, or at one before it that had already been queued.
[[noreturn]] void queued_fault(const Instance& instance, const BoundStep& step, const char* what) {
  const auto number = static_cast<size_t>(&step - instance.steps.data());
  const std::string& first = instance.steps.front().step->node->out()->name;
  const std::string& last = step.step->node->out()->name;
  throw_error(ErrorKind::fault, "runtime",
              cat("the device failed, seen when launching step ", number + 1, " of ", instance.steps.size(), ", %",
                  last, ": the fault is of a step from %", first, " to %", last,
                  " or of other work queued before; KPT_SYNC=1 names the step: ", what));
}

struct Pointers {
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
};

void launch(const Instance& instance, const BoundStep& step, const std::vector<char*>& buffers, void* workspace,
            void* stream, bool observed, const Device* device, Pointers& at) {
  at.inputs.clear();
  at.outputs.clear();
  for (const BoundPlace& p : step.inputs) at.inputs.push_back(buffers[static_cast<size_t>(p.buffer)] + p.offset);
  for (const BoundPlace& p : step.outputs) at.outputs.push_back(buffers[static_cast<size_t>(p.buffer)] + p.offset);
  const auto run = [&] { step.launch->run({at.inputs.data(), at.outputs.data(), workspace, stream}); };
  try {
    if (device)
      with_room(*device, 0, "what a kernel takes for itself", run);
    else
      run();
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::fault && !observed) queued_fault(instance, step, e.what());
    step_failed(step, e.kind(), e.what());
  } catch (const std::exception& e) {
    step_failed(step, ErrorKind::internal, e.what());
  }
}

}  // namespace

void run_steps(const Instance& instance, const std::vector<char*>& buffers, const Workspaces& workspaces, void* stream,
               StepObserver* observer, const Device* device) {
  Pointers at;
  for (size_t i = 0; i < instance.steps.size(); ++i) {
    const BoundStep& step = instance.steps[i];
    if (observer) observer->before(step);
    launch(instance, step, buffers, workspaces.of(i), stream, observer, device, at);
    if (observer) observer->after(step, buffers);
  }
}

void run_step(const Instance& instance, size_t step, const std::vector<char*>& buffers, void* workspace, void* stream) {
  Pointers at;
  launch(instance, instance.steps[step], buffers, workspace, stream, false, nullptr, at);
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/plan.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "kpt/ir/ops.h"
#include "kpt/ir/text.h"
#include "kpt/runtime/memory.h"

namespace kpt {

namespace {

Sym bytes_of(const TensorType& type) { return numel(type.sizes) * Sym(static_cast<int64_t>(size_of(type.dtype))); }

bool is_random(std::string_view op) {
  for (std::string_view prefix : {"aten.rand", "aten.bernoulli", "aten.multinomial", "aten.normal", "aten.dropout",
                                  "aten.native_dropout", "aten.poisson", "aten.exponential"})
    if (op.substr(0, prefix.size()) == prefix) return true;
  return false;
}

bool is_static(const Attr& attr) {
  if (attr.is<Sym>()) return attr.as<Sym>().is_const();
  if (!attr.is<AttrList>()) return true;
  const auto& list = attr.as<AttrList>();
  return std::all_of(list.begin(), list.end(), is_static);
}

bool is_static(const std::vector<Sym>& sizes) {
  return std::all_of(sizes.begin(), sizes.end(), [](const Sym& s) { return s.is_const(); });
}

bool is_static(const Node& node) {
  for (const Value* v : node.outputs)
    if (!is_static(v->type.sizes)) return false;
  for (const Attr& a : node.args)
    if (!is_static(a)) return false;
  for (const auto& kw : node.kwargs)
    if (!is_static(kw.second)) return false;
  return true;
}

class Planner {
 public:
  Planner(Graph graph, const Backend& backend, const PlanOptions& options) {
    plan_.graph = std::move(graph);
    plan_.backend = &backend;
    plan_.device = backend.open(options.device_index);
    plan_.options = options;
    plan_.options.gpu = plan_.device->traits();
    hints_ = plan_.hints();
  }

  Plan run() {
    check_symbols();
    place_given(plan_.graph.inputs(), BufferKind::input);
    place_given(plan_.graph.weights(), BufferKind::weight);
    copy_given_outputs();
    for (Node* node : plan_.graph.nodes()) {
      if (node->outputs.empty()) continue;  // assertions of the capture: nothing to compute
      is_view(node->op) ? place_view(node) : place_step(node);
    }
    place_outputs();
    find_lifetimes();
    assign_memory();
    return std::move(plan_);
  }

 private:
  // Every symbol must be the plain size of some input, else a call could not bind it.
  void check_symbols() {
    std::set<std::string> bound;
    for (const Value* in : plan_.graph.inputs())
      for (const Sym& s : in->type.sizes)
        for (const auto& d : plan_.graph.symbols)
          if (s == Sym::symbol(d.name)) bound.insert(d.name);
    for (const auto& d : plan_.graph.symbols)
      KPT_CHECK(bound.count(d.name), "runtime.plan", "got symbol ", d.name,
                ", which is not a size of any input by itself, want one input axis of that size");
  }

  int add_buffer(BufferKind kind, int index, const Value* value) {
    BufferInfo b;
    b.kind = kind;
    b.index = index;
    b.bytes = bytes_of(value->type);
    b.value = value->name;
    plan_.buffers.push_back(std::move(b));
    return static_cast<int>(plan_.buffers.size()) - 1;
  }

  void place_given(const std::vector<Value*>& values, BufferKind kind) {
    for (size_t i = 0; i < values.size(); ++i)
      plan_.places[values[i]] = {add_buffer(kind, static_cast<int>(i), values[i]),
                                 contiguous_layout(values[i]->type.sizes)};
  }

  // Inputs and weights returned as they are, and values returned twice, are copied: outputs belong to the caller.
  void copy_given_outputs() {
    std::vector<Value*> outputs = plan_.graph.outputs();
    std::set<const Value*> seen;
    for (Value*& out : outputs)
      if (out->kind != Value::Kind::node || !seen.insert(out).second) out = add_copy(out, nullptr);
    plan_.graph.set_outputs(outputs);
  }

  Value* add_copy(Value* of, Node* before) {
    NodeSpec spec;
    spec.op = "kpt.copy";
    spec.tensor(of).type(of->type.dtype, of->type.sizes);
    spec.names = {"copy." + of->name};
    if (of->producer) spec.loc = of->producer->loc;
    return plan_.graph.add_node(std::move(spec), before)->out();
  }

  void place_view(Node* node) {
    Value* base = node->operand(0);
    ValuePlace place = plan_.places.at(base);
    if (auto layout = view_layout(*node, place.layout, plan_.graph.symbols)) {
      place.layout = std::move(*layout);
    } else {
      Value* copy = add_copy(base, node);
      place_step(copy->producer);
      plan_.graph.replace_uses_in(node, base, copy);
      place = plan_.places.at(copy);
      auto again = view_layout(*node, place.layout, plan_.graph.symbols);
      KPT_ASSERT(again, "runtime.plan", "no layout over a contiguous copy for ", print(*node));
      place.layout = std::move(*again);
    }
    if (prologue_.count(node->operand(0)) || node->operand(0)->kind == Value::Kind::weight)
      prologue_.insert(node->out());
    plan_.places[node->out()] = std::move(place);
  }

  bool in_prologue(const Node& node) const {
    if (!plan_.options.prologue || is_random(node.op) || !is_static(node)) return false;
    return std::all_of(node.inputs.begin(), node.inputs.end(), [&](const Value* v) {
      // A view of a weight may still depend on the sizes: an expand to the batch, a slice up to the length.
      const Layout& layout = plan_.places.at(v).layout;
      return (v->kind == Value::Kind::weight || prologue_.count(v)) && is_static(v->type.sizes) &&
             layout.offset.is_const() && is_static(layout.strides);
    });
  }

  std::vector<ValuePlace> places_of(const std::vector<Value*>& values) const {
    std::vector<ValuePlace> out;
    for (const Value* v : values) out.push_back(plan_.places.at(v));
    return out;
  }

  void place_step(Node* node) {
    if (node->op == "kpt.write_") return place_write(node);
    const bool once = in_prologue(*node);
    for (Value* out : node->outputs) {
      if (once) prologue_.insert(out);
      const int index = once ? persistent_++ : 0;
      plan_.places[out] = {add_buffer(once ? BufferKind::persistent : BufferKind::arena, index, out),
                           contiguous_layout(out->type.sizes)};
    }
    choose_layout(node);
    PlanStep step{node, places_of(node->inputs), places_of(node->outputs)};
    (once ? plan_.prologue : plan_.steps).push_back(std::move(step));
  }

  // In place: the weight's own memory, which nobody reads before (ir/rules_matmul.cpp asks for that).
  void place_write(Node* node) {
    plan_.places[node->out()] = plan_.places.at(node->operand(0));
    choose_layout(node);
    plan_.steps.push_back({node, places_of(node->inputs), places_of(node->outputs)});
  }

  enum class Answer { none, fallback, own };

  Answer ask(const Node& node, const std::vector<ValuePlace>& inputs, std::string* reasons = nullptr) const {
    const Problem problem = make_problem(node, inputs, places_of(node.outputs), hints_, plan_.options);
    Answer answer = Answer::none;
    for (const Candidate& c : plan_.backend->candidates(node, problem, plan_.options.select)) {
      if (c.verdict.ok) {
        const bool own = c.kernel->provider != "aten" && c.kernel->provider != "reference";
        answer = own ? Answer::own : Answer::fallback;
        break;
      }
      if (reasons) *reasons += cat(reasons->empty() ? "" : "; ", c.kernel->name, ": ", c.verdict.reason);
    }
    return answer;
  }

  // Where no kernel of ours takes the strides, contiguous copies of the inputs may win one: a copy costs less than
  // leaving the plan. One input at a time first, then all of them.
  void choose_layout(Node* node) {
    std::vector<ValuePlace> inputs = places_of(node->inputs);
    std::string reasons;
    const Answer first = ask(*node, inputs, &reasons);
    if (first == Answer::own) return;
    std::vector<size_t> strided;
    for (size_t i = 0; i < inputs.size(); ++i)
      if (!is_contiguous(inputs[i].layout, node->inputs[i]->type.sizes)) strided.push_back(i);
    for (size_t i : strided) {
      auto tried = inputs;
      tried[i].layout = contiguous_layout(node->inputs[i]->type.sizes);
      if (ask(*node, tried) == Answer::own) return copy_inputs(node, {i});
    }
    auto tried = inputs;
    for (size_t i : strided) tried[i].layout = contiguous_layout(node->inputs[i]->type.sizes);
    if (strided.size() > 1 && ask(*node, tried) == Answer::own) return copy_inputs(node, strided);
    if (first != Answer::none) return;
    plan_.unsupported_values.insert(node->out()->name);
    plan_.unsupported.push_back(cat(node->op, " (%", node->out()->name, ")",
                                    node->loc.stack.empty() ? "" : cat(" at ", node->loc.stack), ": ",
                                    reasons.empty() ? "no kernel is registered" : reasons));
  }

  void copy_inputs(Node* node, const std::vector<size_t>& which) {
    std::set<Value*> values;
    for (size_t i : which) values.insert(node->inputs[i]);
    for (Value* v : values) {
      Value* copy = add_copy(v, node);
      place_step(copy->producer);
      plan_.graph.replace_uses_in(node, v, copy);
    }
  }

  // An output that fills its buffer in row-major order is computed straight into the caller's memory; any other is
  // copied.
  void place_outputs() {
    std::vector<Value*> outputs = plan_.graph.outputs();
    plan_.output_buffers.resize(outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      const ValuePlace* place = &plan_.places.at(outputs[i]);
      if (!fills_buffer(*outputs[i], *place)) {
        outputs[i] = add_copy(outputs[i], nullptr);
        place_step(outputs[i]->producer);
        place = &plan_.places.at(outputs[i]);
      }
      BufferInfo& b = plan_.buffers[static_cast<size_t>(place->buffer)];
      if (b.kind == BufferKind::persistent) {  // a copy of a weights-only value landed in the prologue: move it out
        b.kind = BufferKind::arena;
        prologue_.erase(outputs[i]);
        plan_.steps.push_back(std::move(plan_.prologue.back()));
        plan_.prologue.pop_back();
      }
      b.kind = BufferKind::output;
      b.index = static_cast<int>(i);
      plan_.output_buffers[i] = place->buffer;
    }
    plan_.graph.set_outputs(outputs);
  }

  bool fills_buffer(const Value& value, const ValuePlace& place) const {
    const BufferInfo& b = plan_.buffers[static_cast<size_t>(place.buffer)];
    return b.kind == BufferKind::arena && place.layout.offset == Sym(0) && b.bytes == bytes_of(value.type) &&
           is_contiguous(place.layout, value.type.sizes);
  }

  void find_lifetimes() {
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      const int t = static_cast<int>(s);
      for (const auto& p : plan_.steps[s].outputs) {
        auto& b = plan_.buffers[static_cast<size_t>(p.buffer)];
        b.first = b.last = t;
      }
      for (const auto& p : plan_.steps[s].inputs) plan_.buffers[static_cast<size_t>(p.buffer)].last = t;
    }
  }

  // Early buffers share slots with no others: a scratch that holds too few of them would enlarge the arena. One that
  // wins nothing there may still hold workspaces.
  void assign_memory() {
    plan_.slots = assign_slots(plan_.buffers, hints_);
    find_scratch();
    if (plan_.scratch_output < 0) return;
    const auto arena_bytes = [&](const std::vector<BufferInfo>& buffers, size_t slots, int64_t room) {
      return place_slots(buffers, slots, hints_, room).arena_bytes;
    };
    const int buffer = plan_.output_buffers[static_cast<size_t>(plan_.scratch_output)];
    const int64_t room = plan_.buffers[static_cast<size_t>(buffer)].bytes.eval(hints_);
    std::vector<BufferInfo> apart = plan_.buffers;
    for (BufferInfo& b : apart) b.early = b.kind == BufferKind::arena && b.last < plan_.scratch_until;
    std::vector<Sym> slots = assign_slots(apart, hints_);
    if (arena_bytes(apart, slots.size(), room) <= arena_bytes(plan_.buffers, plan_.slots.size(), 0)) {
      plan_.buffers = std::move(apart);
      plan_.slots = std::move(slots);
    } else {
      plan_.scratch_output = -1;
      plan_.scratch_until = 0;
    }
  }

  void find_scratch() {
    if (!plan_.device->records()) return;
    int64_t most = kCopiedOutput;
    for (const BufferInfo& b : plan_.buffers) {
      if (b.kind != BufferKind::output || b.bytes.eval(hints_) <= most) continue;
      most = b.bytes.eval(hints_);
      plan_.scratch_output = b.index;
      plan_.scratch_until = b.first;
    }
  }

  Plan plan_;
  SymEnv hints_;
  std::set<const Value*> prologue_;
  int persistent_ = 0;
};

const char* kind_name(BufferKind kind) {
  switch (kind) {
    case BufferKind::input: return "input";
    case BufferKind::weight: return "weight";
    case BufferKind::persistent: return "kept";
    case BufferKind::output: return "output";
    case BufferKind::arena: return "slot";
  }
  return "?";
}

Dims eval(const std::vector<Sym>& syms, const SymEnv& env) {
  Dims out;
  for (const Sym& s : syms) out.push_back(s.eval(env));
  return out;
}

}  // namespace

SymEnv Plan::hints() const {
  SymEnv env;
  for (const auto& d : graph.symbols) env[d.name] = d.hint;
  return env;
}

Sym Plan::arena_bytes() const {
  Sym total = 0;
  for (const Sym& s : slots) total = total + Sym(kAlignment) * floordiv(s + Sym(kAlignment - 1), kAlignment);
  return total;
}

Sym Plan::no_reuse_bytes() const {
  Sym total = 0;
  for (const auto& b : buffers)
    if (b.kind == BufferKind::arena) total = total + b.bytes;
  return total;
}

std::string Plan::text() const {
  std::ostringstream os;
  auto list = [&](const char* title, const std::vector<PlanStep>& steps) {
    os << title << '\n';
    for (const auto& step : steps) {
      os << "  " << step.node->op << " ->";
      for (const auto& p : step.outputs) {
        const auto& b = buffers[static_cast<size_t>(p.buffer)];
        os << " %" << b.value << " in " << kind_name(b.kind) << ' ' << (b.kind == BufferKind::arena ? b.slot : b.index);
      }
      os << '\n';
    }
  };
  list("prologue", prologue);
  list("steps", steps);
  std::set<int> early;
  for (const BufferInfo& b : buffers)
    if (b.early) early.insert(b.slot);
  os << "slots\n";
  for (size_t i = 0; i < slots.size(); ++i)
    os << "  " << i << ": " << slots[i] << " bytes"
       << (early.count(static_cast<int>(i)) ? cat(", in output ", scratch_output, " where they fit") : "") << '\n';
  os << "arena " << arena_bytes().eval(hints()) << " bytes at the hints, " << no_reuse_bytes().eval(hints())
     << " without reuse\n";
  return os.str();
}

Problem make_problem(const Node& node, const std::vector<ValuePlace>& inputs, const std::vector<ValuePlace>& outputs,
                     const SymEnv& env, const PlanOptions& options) {
  Problem p;
  p.op = node.op;
  p.threads = options.threads;
  p.gpu = options.gpu;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& type = node.inputs[i]->type;
    p.inputs.push_back({type.dtype, eval(type.sizes, env), eval(inputs[i].layout.strides, env)});
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const TensorType& type = node.outputs[i]->type;
    p.outputs.push_back({type.dtype, eval(type.sizes, env), eval(outputs[i].layout.strides, env)});
  }
  for (const Attr& a : node.args) p.args.push_back(concrete(a, env));
  for (const auto& [name, a] : node.kwargs) p.kwargs.emplace_back(name, concrete(a, env));
  return p;
}

Plan make_plan(Graph graph, const Backend& backend, const PlanOptions& options) {
  return Planner(std::move(graph), backend, options).run();
}

}  // namespace kpt

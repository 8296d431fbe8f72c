// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/executor.h"

#include <algorithm>
#include <cstring>

#include "kpt/base/counters.h"
#include "kpt/runtime/memory.h"

namespace kpt {

namespace {
// Sets of sizes kept ready. An instance of a 24-layer model is about 300 kB, so the cache stays under 20 MB.
constexpr size_t kShapeCache = 64;
}  // namespace

// The state of one run.
struct Executor::Frame {
  Tensor arena;
  int64_t arena_bytes = 0;
  std::vector<char*> buffers;
  std::vector<int64_t> symbols;
  std::shared_ptr<const Instance> instance;  // of the last run
  std::vector<int64_t> instance_symbols;
};

// Weights as last seen: pointers, versions, and what the prologue made of them. Immutable once published.
struct Executor::Weights {
  std::vector<uint64_t> versions;
  std::vector<Tensor> tensors;              // graph order; contiguous
  std::vector<Tensor> derived;              // by buffer index of persistent buffers
  std::map<int, size_t> derived_of_buffer;  // plan buffer -> index in derived
};

Executor::~Executor() = default;

Executor::Executor(Plan plan, std::shared_ptr<WeightSource> weights)
    : plan_(std::move(plan)), source_(std::move(weights)) {
  match_weights();
  for (const Value* in : plan_.graph.inputs()) {
    std::vector<int> axes;
    for (const Sym& size : in->type.sizes) {
      int symbol = -1;
      for (size_t i = 0; i < plan_.graph.symbols.size(); ++i)
        if (!size.is_const() && size == Sym::symbol(plan_.graph.symbols[i].name)) symbol = static_cast<int>(i);
      axes.push_back(symbol);
    }
    size_symbol_.push_back(std::move(axes));
  }
  if (!plan_.prologue.empty()) prologue_ = make_instance(plan_, plan_.prologue, {});
  if (plan_.backend->executes()) weights_ = load_weights(nullptr);
}

void Executor::match_weights() {
  std::map<std::string, size_t> index;
  for (size_t i = 0; i < source_->size(); ++i) index[source_->fqn(i)] = i;
  for (const Value* w : plan_.graph.weights()) {
    auto it = index.find(w->fqn);
    KPT_CHECK(it != index.end(), "runtime.weights", "got no tensor for weight ", w->fqn, " (%", w->name, "), want ",
              w->type);
    source_index_.push_back(it->second);
  }
  feeds_prologue_.assign(source_index_.size(), false);
  for (const PlanStep& step : plan_.prologue)
    for (const ValuePlace& p : step.inputs) {
      const BufferInfo& b = plan_.buffers[static_cast<size_t>(p.buffer)];
      if (b.kind == BufferKind::weight) feeds_prologue_[static_cast<size_t>(b.index)] = true;
    }
}

Tensor Executor::checked_weight(size_t i) const {
  const Value& w = *plan_.graph.weights()[i];
  Tensor t = source_->tensor(source_index_[i]);
  bool fits = t.desc.dtype == w.type.dtype && t.desc.sizes.rank() == w.type.rank();
  for (int d = 0; fits && d < w.type.rank(); ++d) fits = Sym(t.desc.sizes[d]) == w.type.sizes[static_cast<size_t>(d)];
  KPT_CHECK(fits, "runtime.weights", "got ", w.fqn, " as ", t.desc, ", want ", w.type,
            ": it changed since the model was optimised; try optimising again");
  return t.desc.is_contiguous() ? t : t.clone();
}

std::shared_ptr<const Executor::Weights> Executor::load_weights(const Weights* old) {
  auto fresh = std::make_shared<Weights>();
  bool derive = !old;
  for (size_t i = 0; i < source_index_.size(); ++i) {
    const uint64_t version = source_->version(source_index_[i]);
    const bool same = old && old->versions[i] == version;
    fresh->versions.push_back(version);
    fresh->tensors.push_back(same ? old->tensors[i] : checked_weight(i));
    derive |= !same && feeds_prologue_[i];
  }
  if (old && !derive) {
    fresh->derived = old->derived;
    fresh->derived_of_buffer = old->derived_of_buffer;
  } else if (prologue_) {
    run_prologue(*fresh);
  }
  return fresh;
}

void Executor::run_prologue(Weights& weights) {
  counters_.prologue_runs++;
  std::vector<char*> buffers(plan_.buffers.size(), nullptr);
  std::map<int, Tensor> made;
  for (size_t i = 0; i < plan_.buffers.size(); ++i) {
    const BufferInfo& b = plan_.buffers[i];
    if (b.kind == BufferKind::weight)
      buffers[i] = static_cast<char*>(weights.tensors[static_cast<size_t>(b.index)].data);
  }
  for (const PlanStep& step : plan_.prologue)
    for (const ValuePlace& p : step.outputs) {
      Tensor t = Tensor::empty(DType::u8, {plan_.buffers[static_cast<size_t>(p.buffer)].bytes.value()});
      buffers[static_cast<size_t>(p.buffer)] = static_cast<char*>(t.data);
      made[p.buffer] = std::move(t);
    }
  Tensor workspace = Tensor::empty(DType::u8, {prologue_->workspace_bytes});
  run_steps(*prologue_, buffers, workspace.data, nullptr);
  for (const PlanStep& step : plan_.steps)  // only what the steps read is kept
    for (const ValuePlace& p : step.inputs) {
      auto it = made.find(p.buffer);
      if (it == made.end()) continue;
      weights.derived_of_buffer[p.buffer] = weights.derived.size();
      weights.derived.push_back(std::move(it->second));
      made.erase(it);
    }
}

int64_t Executor::derived_bytes() const {
  std::lock_guard<std::mutex> lock(weights_mutex_);
  int64_t total = 0;
  if (weights_)
    for (const Tensor& t : weights_->derived) total += static_cast<int64_t>(t.desc.bytes());
  return total;
}

std::shared_ptr<const Executor::Weights> Executor::fresh_weights() {
  std::lock_guard<std::mutex> lock(weights_mutex_);
  for (size_t i = 0; i < source_index_.size(); ++i)
    if (source_->version(source_index_[i]) != weights_->versions[i]) {
      weights_ = load_weights(weights_.get());
      break;
    }
  return weights_;
}

std::unique_ptr<Executor::Frame> Executor::take_frame() {
  {
    std::lock_guard<std::mutex> lock(frames_mutex_);
    if (!free_frames_.empty()) {
      auto frame = std::move(free_frames_.back());
      free_frames_.pop_back();
      return frame;
    }
  }
  counters_.frames++;
  auto frame = std::make_unique<Frame>();
  frame->buffers.resize(plan_.buffers.size());
  return frame;
}

void Executor::give_frame(std::unique_ptr<Frame> frame) {
  std::lock_guard<std::mutex> lock(frames_mutex_);
  free_frames_.push_back(std::move(frame));
}

void Executor::bad_input(size_t index, const Tensor& got, const std::string& what) const {
  const Value& in = *plan_.graph.inputs()[index];
  throw_error(ErrorKind::bad_input, "runtime",
              cat("input ", in.name, " has type ", got.desc, ", want ", in.type, ": ", what));
}

void Executor::bind_symbols(const std::vector<Tensor>& inputs, std::vector<int64_t>& symbols) const {
  const auto& wanted = plan_.graph.inputs();
  KPT_CHECK(inputs.size() == wanted.size(), "runtime", "got ", inputs.size(), " inputs, want ", wanted.size());
  constexpr int64_t kUnbound = INT64_MIN;
  symbols.assign(plan_.graph.symbols.size(), kUnbound);
  bool formulas = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorDesc& got = inputs[i].desc;
    const TensorType& want = wanted[i]->type;
    if (got.dtype != want.dtype) bad_input(i, inputs[i], "the dtype differs");
    if (got.sizes.rank() != want.rank()) bad_input(i, inputs[i], "the rank differs");
    for (int d = 0; d < want.rank(); ++d) {
      const int s = size_symbol_[i][static_cast<size_t>(d)];
      const Sym& size = want.sizes[static_cast<size_t>(d)];
      if (s < 0) {
        if (!size.is_const())
          formulas = true;
        else if (size.value() != got.sizes[d])
          bad_input(i, inputs[i], cat("axis ", d, " was fixed when the model was captured"));
        continue;
      }
      int64_t& bound = symbols[static_cast<size_t>(s)];
      const SymbolDecl& decl = plan_.graph.symbols[static_cast<size_t>(s)];
      if (bound == kUnbound) {
        bound = got.sizes[d];
        if (bound < decl.lo || bound > decl.hi)
          bad_input(i, inputs[i], cat("the plan was made for ", decl.name, " in [", decl.lo, ", ", decl.hi, "]"));
      } else if (bound != got.sizes[d]) {
        bad_input(i, inputs[i], cat("axis ", d, " is ", decl.name, " = ", bound, " in an earlier input"));
      }
    }
  }
  if (!formulas) return;
  SymEnv env;
  for (size_t i = 0; i < symbols.size(); ++i) env[plan_.graph.symbols[i].name] = symbols[i];
  for (size_t i = 0; i < inputs.size(); ++i)
    for (int d = 0; d < wanted[i]->type.rank(); ++d) {
      const int64_t want = wanted[i]->type.sizes[static_cast<size_t>(d)].eval(env);
      if (want != inputs[i].desc.sizes[d]) bad_input(i, inputs[i], cat("axis ", d, " should be ", want));
    }
}

std::shared_ptr<const Instance> Executor::instance(const std::vector<int64_t>& symbols) {
  {
    std::lock_guard<std::mutex> lock(shapes_mutex_);
    for (auto it = shapes_.begin(); it != shapes_.end(); ++it)
      if (it->first == symbols) {
        shapes_.splice(shapes_.begin(), shapes_, it);
        return it->second;
      }
  }
  SymEnv env;
  for (size_t i = 0; i < symbols.size(); ++i) env[plan_.graph.symbols[i].name] = symbols[i];
  auto made = make_instance(plan_, plan_.steps, env);
  counters_.shapes_planned++;
  std::lock_guard<std::mutex> lock(shapes_mutex_);
  shapes_.emplace_front(symbols, made);
  if (shapes_.size() > kShapeCache) shapes_.pop_back();
  return made;
}

std::shared_ptr<const Instance> Executor::instance(const SymEnv& env) {
  std::vector<int64_t> symbols;
  for (const auto& d : plan_.graph.symbols) symbols.push_back(env.at(d.name));
  return instance(symbols);
}

std::shared_ptr<const Instance> Executor::instance_for(const std::vector<Tensor>& inputs) {
  std::vector<int64_t> symbols;
  bind_symbols(inputs, symbols);
  return instance(symbols);
}

std::vector<Tensor> Executor::execute(const std::vector<Tensor>& inputs, const OutputAllocator& allocate,
                                      StepObserver* observer,
                                      const std::function<void(const Instance&, const std::vector<char*>&)>& finish) {
  KPT_CHECK(plan_.backend->executes(), "runtime", "got a run on device ", plan_.backend->device(),
            ", which only plans; try device cpu");
  static Counter& calls = counter("runtime.calls");
  calls.add();
  counters_.calls++;
  auto frame = take_frame();
  struct Return {
    Executor* self;
    std::unique_ptr<Frame>& frame;
    ~Return() { self->give_frame(std::move(frame)); }
  } give_back{this, frame};

  bind_symbols(inputs, frame->symbols);
  if (!frame->instance || frame->instance_symbols != frame->symbols) {
    frame->instance = instance(frame->symbols);
    frame->instance_symbols = frame->symbols;
  }
  const Instance& instance = *frame->instance;
  const std::shared_ptr<const Weights> weights = fresh_weights();

  const int64_t need = instance.arena_bytes + instance.workspace_bytes;
  if (frame->arena_bytes < need) {
    frame->arena = Tensor();  // freed before the larger one is taken
    frame->arena = Tensor::empty(DType::u8, {need});
    frame->arena_bytes = need;
    counters_.arena_allocations++;
  }
  char* const arena = static_cast<char*>(frame->arena.data);

  std::vector<Tensor> held;  // contiguous copies of strided inputs
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < instance.outputs.size(); ++i)
    outputs.push_back(allocate(static_cast<int>(i), instance.outputs[i]));
  for (size_t i = 0; i < plan_.buffers.size(); ++i) {
    const BufferInfo& b = plan_.buffers[i];
    const auto index = static_cast<size_t>(b.index);
    char*& start = frame->buffers[i];
    switch (b.kind) {
      case BufferKind::arena: start = arena + instance.arena_offset[i]; break;
      case BufferKind::weight: start = static_cast<char*>(weights->tensors[index].data); break;
      case BufferKind::output: start = static_cast<char*>(outputs[index].data); break;
      case BufferKind::persistent: {
        auto it = weights->derived_of_buffer.find(static_cast<int>(i));
        start =
            it == weights->derived_of_buffer.end() ? nullptr : static_cast<char*>(weights->derived[it->second].data);
        break;
      }
      case BufferKind::input:
        if (inputs[index].desc.is_contiguous()) {
          start = static_cast<char*>(inputs[index].data);
        } else {
          counters_.input_copies++;
          held.push_back(inputs[index].clone());
          start = static_cast<char*>(held.back().data);
        }
        break;
    }
  }
  run_steps(instance, frame->buffers, arena + instance.arena_bytes, observer);
  if (finish) finish(instance, frame->buffers);
  return outputs;
}

std::vector<Tensor> Executor::run(const std::vector<Tensor>& inputs, const OutputAllocator& allocate,
                                  StepObserver* observer) {
  return execute(inputs, allocate, observer, nullptr);
}

namespace {

// Clones wanted values right behind the step that makes their buffer, before its slot is used again.
class Probe final : public StepObserver {
 public:
  Probe(const Plan& plan, const std::vector<std::string>& keep) : plan_(plan) {
    for (const std::string& name : keep) {
      const Value* v = plan.graph.find(name);
      KPT_CHECK(v, "runtime.probe", "got value ", name, ", want a name of the optimised graph");
      values_.push_back(v);
    }
    found_.resize(values_.size());
  }

  void after(const BoundStep& step, const std::vector<char*>& buffers) override {
    for (const BoundPlace& p : step.outputs) clone(p.buffer, buffers);
  }
  // What no step of the plan makes: inputs, weights, results of the prologue.
  void finish(const SymEnv& env, const std::vector<char*>& buffers) {
    env_ = &env;
    for (size_t i = 0; i < values_.size(); ++i)
      if (!found_[i].defined() || !found_[i].owner) take(i, buffers);
  }
  void set_env(const SymEnv& env) { env_ = &env; }
  std::vector<Tensor> results() { return std::move(found_); }

 private:
  void clone(int buffer, const std::vector<char*>& buffers) {
    for (size_t i = 0; i < values_.size(); ++i)
      if (plan_.places.at(values_[i]).buffer == buffer) take(i, buffers);
  }
  void take(size_t i, const std::vector<char*>& buffers) {
    const ValuePlace& place = plan_.places.at(values_[i]);
    const TensorType& type = values_[i]->type;
    char* start = buffers[static_cast<size_t>(place.buffer)];
    if (!start) return;  // a weights-only value that the prologue did not keep: stays undefined
    Tensor view;
    view.desc.dtype = type.dtype;
    for (const Sym& s : type.sizes) view.desc.sizes.push_back(s.eval(*env_));
    for (const Sym& s : place.layout.strides) view.desc.strides.push_back(s.eval(*env_));
    view.data = start + place.layout.offset.eval(*env_) * static_cast<int64_t>(size_of(type.dtype));
    found_[i] = view.clone();
  }

  const Plan& plan_;
  const SymEnv* env_ = nullptr;
  std::vector<const Value*> values_;
  std::vector<Tensor> found_;
};

}  // namespace

std::vector<Tensor> Executor::probe(const std::vector<Tensor>& inputs, const std::vector<std::string>& keep) {
  Probe probe(plan_, keep);
  std::vector<int64_t> symbols;
  bind_symbols(inputs, symbols);
  SymEnv env;
  for (size_t i = 0; i < symbols.size(); ++i) env[plan_.graph.symbols[i].name] = symbols[i];
  probe.set_env(env);
  auto allocate = [](int, const TensorDesc& d) { return Tensor::empty(d.dtype, d.sizes); };
  execute(inputs, allocate, &probe,
          [&](const Instance&, const std::vector<char*>& buffers) { probe.finish(env, buffers); });
  return probe.results();
}

}  // namespace kpt

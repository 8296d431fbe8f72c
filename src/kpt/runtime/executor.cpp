// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/executor.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "kpt/base/counters.h"
#include "kpt/base/log.h"
#include "kpt/base/settings.h"
#include "kpt/runtime/frame.h"
#include "kpt/runtime/memory.h"

namespace kpt {

namespace {
// Sets of sizes kept ready. An instance of a 24-layer model is about 300 kB, so the cache stays under 20 MB.
constexpr size_t kShapeCache = 64;
// A size that comes back this often on a GPU is planned once more, with its choices timed. That took
// 54 and 56 ms for BERT-base at two lengths on an H200.
constexpr int kRunsBeforeTiming = 16;

}  // namespace

Executor::~Executor() { leave(); }

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
  const std::shared_ptr<void> current = plan_.device->enter();
  if (!plan_.prologue.empty()) prologue_ = make_instance(plan_, plan_.prologue, {}, Effort::timed);
  if (plan_.backend->executes()) weights_ = load_weights(nullptr);
  join();
}

std::unique_ptr<Executor::Frame> Executor::take_frame(Stream stream) {
  {
    std::lock_guard<std::mutex> lock(frames_mutex_);
    for (auto it = free_frames_.rbegin(); it != free_frames_.rend(); ++it)
      if ((*it)->stream == stream) {
        auto frame = std::move(*it);
        free_frames_.erase(std::next(it).base());
        return frame;
      }
  }
  counters_.frames++;
  auto frame = std::make_unique<Frame>();
  frame->stream = stream;
  frame->buffers.resize(plan_.buffers.size());
  return frame;
}

void Executor::give_frame(std::unique_ptr<Frame> frame) {
  std::lock_guard<std::mutex> lock(frames_mutex_);
  free_frames_.push_back(std::move(frame));
}

int64_t Executor::trim() {
  const std::shared_ptr<void> current = plan_.device->enter();
  std::lock_guard<std::mutex> lock(frames_mutex_);
  int64_t bytes = 0;
  for (const auto& frame : free_frames_) {
    bytes += frame->arena_bytes;
    for (const auto& r : frame->recordings) bytes += r.places_bytes;
  }
  free_frames_.clear();
  return bytes;
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

std::shared_ptr<const Instance> Executor::instance(const std::vector<int64_t>& symbols, Effort effort) {
  {
    std::lock_guard<std::mutex> lock(shapes_mutex_);
    for (auto it = shapes_.begin(); it != shapes_.end(); ++it)
      if (it->first == symbols && (effort == Effort::known || it->second->effort == Effort::timed)) {
        shapes_.splice(shapes_.begin(), shapes_, it);
        return it->second;
      }
  }
  SymEnv env;
  for (size_t i = 0; i < symbols.size(); ++i) env[plan_.graph.symbols[i].name] = symbols[i];
  const std::shared_ptr<void> current = plan_.device->enter();
  auto made = make_instance(plan_, plan_.steps, env, effort);
  counters_.shapes_planned++;
  std::lock_guard<std::mutex> lock(shapes_mutex_);
  shapes_.remove_if([&](const auto& shape) { return shape.first == symbols; });
  shapes_.emplace_front(symbols, made);
  if (shapes_.size() > kShapeCache) shapes_.pop_back();
  return made;
}

std::shared_ptr<const Instance> Executor::instance(const SymEnv& env) {
  std::vector<int64_t> symbols;
  for (const auto& d : plan_.graph.symbols) symbols.push_back(env.at(d.name));
  return instance(symbols, Effort::timed);
}

std::shared_ptr<const Instance> Executor::instance_for(const std::vector<Tensor>& inputs) {
  std::vector<int64_t> symbols;
  bind_symbols(inputs, symbols);
  return instance(symbols, Effort::known);
}

void Executor::make_ready(const std::vector<Tensor>& inputs) {
  std::vector<int64_t> symbols;
  bind_symbols(inputs, symbols);
  instance(symbols, Effort::timed);
}

Tensor Executor::allocate(const TensorDesc& desc, Stream stream) const {
  Tensor out{desc, nullptr, plan_.device->allocate(bytes_of(desc), stream)};
  out.data = out.owner.get();
  return out;
}

void Executor::grow_arena(Frame& frame, int64_t bytes) {
  if (frame.arena_bytes >= bytes) return;
  if (!frame.recordings.empty())
    log(LogLevel::info, "runtime", "event=recording_dropped reason=\"a larger arena\" count=", frame.recordings.size());
  frame.recordings.clear();  // they hold the old arena's addresses
  frame.unrecorded.clear();
  frame.seen.clear();
  frame.arena = nullptr;  // freed before the larger one is taken
  frame.arena_bytes = 0;
  with_room(*plan_.device, bytes, "the arena of a call",
            [&] { frame.arena = plan_.device->allocate(bytes, frame.stream); });
  frame.arena_bytes = bytes;
  counters_.arena_allocations++;
}

void Executor::place_buffers(Frame& frame, const Weights& weights, const std::vector<const void*>& inputs,
                             const std::vector<void*>& outputs) const {
  char* const arena = static_cast<char*>(frame.arena.get());
  for (size_t i = 0; i < plan_.buffers.size(); ++i) {
    const BufferInfo& b = plan_.buffers[i];
    const auto index = static_cast<size_t>(b.index);
    char*& start = frame.buffers[i];
    switch (b.kind) {
      case BufferKind::arena: {
        const Instance& of = *frame.instance;
        start = (of.scratch.holds[i] ? static_cast<char*>(outputs[static_cast<size_t>(plan_.scratch_output)]) : arena) +
                of.arena_offset[i];
        break;
      }
      case BufferKind::weight: start = static_cast<char*>(weights.tensors[index].data); break;
      case BufferKind::output: start = static_cast<char*>(outputs[index]); break;
      case BufferKind::input: start = static_cast<char*>(const_cast<void*>(inputs[index])); break;
      case BufferKind::persistent: {
        const auto it = weights.derived_of_buffer.find(static_cast<int>(i));
        start = it == weights.derived_of_buffer.end() ? nullptr : static_cast<char*>(weights.derived[it->second].get());
        break;
      }
    }
  }
}

namespace {

// On a GPU a step has only been queued when its launch returns: an observer wants it done, and so does whoever wants to
// know which step failed.
class Waiting final : public StepObserver {
 public:
  Waiting(StepObserver* inner, const Device& device, Stream stream) : inner_(inner), device_(device), stream_(stream) {}
  void before(const BoundStep& step) override {
    if (inner_) inner_->before(step);
  }
  void after(const BoundStep& step, const std::vector<char*>& buffers) override {
    try {
      device_.wait(stream_);
    } catch (const Error& e) {
      step_failed(step, e.kind(), e.what());
    }
    if (inner_) inner_->after(step, buffers);
  }

 private:
  StepObserver* inner_;
  const Device& device_;
  Stream stream_;
};

}  // namespace

Workspaces Executor::workspaces(const Frame& frame, const std::vector<void*>& outputs) const {
  const Instance& of = *frame.instance;
  Workspaces out{static_cast<char*>(frame.arena.get()) + of.arena_bytes};
  if (of.scratch.workspace < 0) return out;
  out.scratch = static_cast<char*>(outputs[static_cast<size_t>(plan_.scratch_output)]) + of.scratch.workspace;
  out.until = static_cast<size_t>(plan_.scratch_until);
  return out;
}

std::vector<Tensor> Executor::attempt(const std::vector<Tensor>& inputs, const OutputAllocator& allocate,
                                      StepObserver* observer, const Finish& finish, Stream stream) {
  KPT_CHECK(plan_.backend->executes(), "runtime", "got a run on device ", plan_.backend->device(),
            ", which only plans; try device cpu");
  static Counter& calls = counter("runtime.calls");
  calls.add();
  counters_.calls++;
  const std::shared_ptr<void> current = plan_.device->enter();
  auto frame = take_frame(stream);
  struct Return {
    Executor* self;
    std::unique_ptr<Frame>& frame;
    ~Return() { self->give_frame(std::move(frame)); }
  } give_back{this, frame};

  bind_symbols(inputs, frame->symbols);
  if (!frame->instance || frame->instance_symbols != frame->symbols) {
    frame->instance = instance(frame->symbols, Effort::known);
    frame->instance_symbols = frame->symbols;
  }
  if (frame->instance->effort == Effort::known && plan_.device->records() &&
      frame->instance->runs.load(std::memory_order_relaxed) >= kRunsBeforeTiming) {
    std::erase_if(frame->recordings, [&](const auto& r) { return r.instance == frame->instance; });
    frame->instance = instance(frame->symbols, Effort::timed);
  }
  const Instance& instance = *frame->instance;
  const std::shared_ptr<const Weights> weights = fresh_weights();
  grow_arena(*frame, instance.arena_bytes + instance.workspace_bytes);

  std::vector<Tensor> held;  // contiguous copies of strided inputs
  frame->from.clear();
  for (const Tensor& in : inputs) {
    frame->from.push_back(in.data);
    if (in.desc.is_contiguous()) continue;
    KPT_CHECK(!plan_.device->records(), "runtime", "got a strided input ", in.desc, " on a GPU, try a contiguous one");
    counters_.input_copies++;
    held.push_back(in.clone());
    frame->from.back() = held.back().data;
  }
  std::vector<Tensor> outputs;
  outputs.reserve(instance.outputs.size());
  for (size_t i = 0; i < instance.outputs.size(); ++i) {
    const TensorDesc& desc = instance.outputs[i];
    with_room(*plan_.device, bytes_of(desc), "an output", [&] {
      outputs.push_back(allocate ? allocate(static_cast<int>(i), desc) : this->allocate(desc, stream));
    });
  }
  const bool sync = plan_.device->records() && setting_bool("sync");
  if (!observer && !finish && !sync && replay(*frame, weights, inputs, outputs)) return outputs;

  std::vector<void*> to;
  for (const Tensor& out : outputs) to.push_back(out.data);
  place_buffers(*frame, *weights, frame->from, to);
  std::optional<Waiting> waiting;
  if (sync || (observer && plan_.device->records())) {
    plan_.device->wait(stream);  // what was queued before is not this call's
    observer = &waiting.emplace(observer, *plan_.device, stream);
  }
  run_steps(instance, frame->buffers, workspaces(*frame, to), stream, observer, plan_.device.get());
  if (finish) finish(instance, frame->buffers);
  return outputs;
}

std::vector<Tensor> Executor::run(const std::vector<Tensor>& inputs, const OutputAllocator& allocate,
                                  StepObserver* observer, Stream stream) {
  return execute(inputs, allocate, observer, nullptr, stream);
}

std::vector<Tensor> Executor::execute(const std::vector<Tensor>& inputs, const OutputAllocator& allocate,
                                      StepObserver* observer, const Finish& finish, Stream stream) {
  try {
    return attempt(inputs, allocate, observer, finish, stream);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::fault) throw;
    log(LogLevel::error, "runtime", "event=device_error device=", plan_.device->label(), " error=\"", e.what(), '"');
    // run_steps and replay() have named the steps already; a fault seen elsewhere is of work queued earlier.
    if (std::string_view(e.what()).starts_with("[runtime]")) throw;
    queued_fault(e, "starting a call");
  }
}

void Executor::queued_fault(const Error& error, const char* where) const {
  const auto& steps = plan_.steps;
  const std::string range = steps.empty() ? "of no steps"
                                          : cat("of ", steps.size(), " steps, %", steps.front().node->out()->name,
                                                " to %", steps.back().node->out()->name);
  throw_error(ErrorKind::fault, "runtime",
              cat("the device failed, seen when ", where, " of the model ", range,
                  ": the fault is of one of these steps or of other work queued before; KPT_SYNC=1 names the step: ",
                  error.what()));
}

int64_t Executor::call_bytes(const std::vector<Tensor>& inputs) {
  const std::shared_ptr<const Instance> made = instance_for(inputs);
  int64_t bytes = made->arena_bytes + made->workspace_bytes;
  for (const TensorDesc& d : made->outputs) bytes += bytes_of(d);
  return bytes;
}

namespace {

// Clones wanted values right behind the step that makes their buffer, before its slot is used again.
class Probe final : public StepObserver {
 public:
  Probe(const Plan& plan, const std::vector<std::string>& keep, Stream stream) : plan_(plan), stream_(stream) {
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
    found_[i] = plan_.device->records() ? extent_copy(view) : view.clone();
  }
  // On a device only bytes are copied: the clone keeps the strides.
  Tensor extent_copy(const Tensor& view) const {
    int64_t elements = view.desc.numel() ? 1 : 0;
    for (int d = 0; d < view.desc.sizes.rank() && elements; ++d)
      elements += (view.desc.sizes[d] - 1) * view.desc.strides[d];
    const int64_t bytes = elements * static_cast<int64_t>(size_of(view.desc.dtype));
    Tensor out{view.desc, nullptr, plan_.device->allocate(bytes, stream_)};
    out.data = out.owner.get();
    plan_.device->copy(out.data, view.data, bytes, stream_);
    return out;
  }

  const Plan& plan_;
  Stream stream_;
  const SymEnv* env_ = nullptr;
  std::vector<const Value*> values_;
  std::vector<Tensor> found_;
};

}  // namespace

std::vector<Tensor> Executor::probe(const std::vector<Tensor>& inputs, const std::vector<std::string>& keep,
                                    Stream stream) {
  Probe probe(plan_, keep, stream);
  std::vector<int64_t> symbols;
  bind_symbols(inputs, symbols);
  SymEnv env;
  for (size_t i = 0; i < symbols.size(); ++i) env[plan_.graph.symbols[i].name] = symbols[i];
  probe.set_env(env);
  execute(
      inputs, nullptr, &probe, [&](const Instance&, const std::vector<char*>& buffers) { probe.finish(env, buffers); },
      stream);
  return probe.results();
}

}  // namespace kpt

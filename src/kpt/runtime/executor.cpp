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
#include "kpt/runtime/memory.h"

namespace kpt {

namespace {
// Sets of sizes kept ready. An instance of a 24-layer model is about 300 kB, so the cache stays under 20 MB.
constexpr size_t kShapeCache = 64;

// Recordings kept by one frame. A CUDA graph of 200 kernels takes about 1 MB of device memory.
constexpr size_t kRecordings = 16;
// A recording copies its outputs out. Above this size the copy costs more than the launches it saves.
constexpr int64_t kRecordedOutputs = 32 << 20;

// Workspaces that a recording gives to steps of its own: cuBLASLt's products on an H200 ask for less.
constexpr int64_t kOwnWorkspace = 1 << 20, kOwnWorkspaces = 64 << 20;

int64_t bytes_of(const TensorDesc& desc) { return static_cast<int64_t>(desc.bytes()); }
int64_t aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

// The state of one run.
struct Executor::Frame {
  // One shape's calls kept by the device. It holds the arena's addresses and those of the weights.
  struct Recorded {
    std::shared_ptr<const Instance> instance;
    std::shared_ptr<const Weights> weights;
    Memory places;  // of inputs and outputs, and workspaces of single steps
    int64_t places_bytes = 0;
    std::unique_ptr<Recording> recording;
  };
  Stream stream = nullptr;
  Memory arena;
  int64_t arena_bytes = 0;
  std::list<Recorded> recordings;        // most recent first
  std::set<const Instance*> unrecorded;  // refused by the device: run step by step
  std::vector<char*> buffers;
  std::vector<int64_t> symbols;
  std::shared_ptr<const Instance> instance;  // of the last run
  std::vector<int64_t> instance_symbols;
};

// Weights as last seen: pointers, versions, and what the prologue made of them. Immutable once published.
struct Executor::Weights {
  std::vector<uint64_t> versions;
  std::vector<Tensor> tensors;              // graph order; contiguous
  std::vector<Memory> derived;              // by buffer index of persistent buffers
  std::map<int, size_t> derived_of_buffer;  // plan buffer -> index in derived
};

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
  if (!plan_.prologue.empty()) prologue_ = make_instance(plan_, plan_.prologue, {});
  if (plan_.backend->executes()) weights_ = load_weights(nullptr);
  join();
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
  std::map<int, Memory> made;
  for (size_t i = 0; i < plan_.buffers.size(); ++i) {
    const BufferInfo& b = plan_.buffers[i];
    if (b.kind == BufferKind::weight)
      buffers[i] = static_cast<char*>(weights.tensors[static_cast<size_t>(b.index)].data);
  }
  for (const PlanStep& step : plan_.prologue)
    for (const ValuePlace& p : step.outputs) {
      const int64_t bytes = plan_.buffers[static_cast<size_t>(p.buffer)].bytes.value();
      Memory memory;
      with_room(*plan_.device, bytes, "weights made ready", [&] { memory = plan_.device->allocate(bytes, nullptr); });
      buffers[static_cast<size_t>(p.buffer)] = static_cast<char*>(memory.get());
      made[p.buffer] = std::move(memory);
    }
  Memory workspace;
  with_room(*plan_.device, prologue_->workspace_bytes, "the workspace of weights made ready",
            [&] { workspace = plan_.device->allocate(prologue_->workspace_bytes, nullptr); });
  run_steps(*prologue_, buffers, workspace.get(), nullptr, nullptr);
  plan_.device->wait(nullptr);              // calls on any stream may read the results from here on
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
    for (const auto& [buffer, index] : weights_->derived_of_buffer)
      total += plan_.buffers[static_cast<size_t>(buffer)].bytes.value();
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
  const std::shared_ptr<void> current = plan_.device->enter();
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
      case BufferKind::arena: start = arena + frame.instance->arena_offset[i]; break;
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

// The second call of a shape is worth recording.
bool Executor::repeats(const Frame& frame) const {
  const Instance& instance = *frame.instance;
  if (!plan_.device->records() || !instance.recordable || frame.unrecorded.count(&instance)) return false;
  int64_t bytes = 0;
  for (const TensorDesc& d : instance.outputs) bytes += bytes_of(d);
  return bytes <= kRecordedOutputs && instance.runs.fetch_add(1, std::memory_order_relaxed) > 0;
}

// Runs the frame's instance as one recording, made first where there is none. False where it does not repeat.
bool Executor::replay(Frame& frame, const std::shared_ptr<const Weights>& weights, const std::vector<Tensor>& inputs,
                      const std::vector<Tensor>& outputs) {
  if (!repeats(frame)) return false;
  std::vector<const void*> from;
  std::vector<void*> to;
  for (const Tensor& t : inputs) from.push_back(t.data);
  for (const Tensor& t : outputs) to.push_back(t.data);
  auto& kept = frame.recordings;
  auto it = std::find_if(kept.begin(), kept.end(), [&](const auto& r) { return r.instance == frame.instance; });
  if (it != kept.end() && it->weights != weights) {
    log(LogLevel::info, "runtime", "event=recording_dropped reason=\"weights changed\" count=1");
    it = (kept.erase(it), kept.end());
  }
  if (it != kept.end())
    kept.splice(kept.begin(), kept, it);
  else if (!record(frame, weights, inputs, outputs))
    return false;
  try {
    kept.front().recording->replay(from, to, frame.stream);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::fault) throw;
    queued_fault(e, "replaying the recorded call");
  }
  counters_.replays++;
  return true;
}

// Puts a recording of the frame's instance first. A device that refuses one (memory, an operation that it does not
// record) is not asked again by this frame: the call runs step by step. A fault is thrown.
bool Executor::record(Frame& frame, const std::shared_ptr<const Weights>& weights, const std::vector<Tensor>& inputs,
                      const std::vector<Tensor>& outputs) {
  const Instance& instance = *frame.instance;
  Frame::Recorded made{frame.instance, weights, nullptr, 0, nullptr};
  for (const Tensor& t : inputs) made.places_bytes += aligned(bytes_of(t.desc));
  for (const Tensor& t : outputs) made.places_bytes += aligned(bytes_of(t.desc));
  RecordedWork work;
  int64_t left = kOwnWorkspaces;
  for (const BoundStep& step : instance.steps) {
    const int64_t bytes = aligned(static_cast<int64_t>(step.launch->workspace_bytes()));
    const bool own = bytes <= std::min(left, kOwnWorkspace);
    work.own.push_back({nullptr, own ? bytes : 0});
    left -= work.own.back().bytes;
    made.places_bytes += work.own.back().bytes;
  }
  try {
    with_room(*plan_.device, made.places_bytes, "what a recorded call keeps for itself",
              [&] { made.places = plan_.device->allocate(made.places_bytes, frame.stream); });
    std::vector<RecordedPlace> in, out;
    std::vector<const void*> in_pointers;
    std::vector<void*> out_pointers;
    char* at = static_cast<char*>(made.places.get());
    const auto place = [&](const Tensor& t, std::vector<RecordedPlace>& places) {
      places.push_back({at, bytes_of(t.desc)});
      return std::exchange(at, at + aligned(bytes_of(t.desc)));
    };
    for (const Tensor& t : inputs) in_pointers.push_back(place(t, in));
    for (const Tensor& t : outputs) out_pointers.push_back(place(t, out));
    for (RecordedPlace& own : work.own) own.place = std::exchange(at, at + own.bytes);
    place_buffers(frame, *weights, in_pointers, out_pointers);
    char* const shared = static_cast<char*>(frame.arena.get()) + instance.arena_bytes;
    work.run = [&instance, &buffers = frame.buffers, own = work.own, shared](size_t step, Stream stream) {
      run_step(instance, step, buffers, own[step].bytes ? own[step].place : shared, stream);
    };
    made.recording = plan_.device->record(in, out, work);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::resource && e.kind() != ErrorKind::device && e.kind() != ErrorKind::launch) throw;
    counters_.recordings_refused++;
    log(LogLevel::warn, "runtime", "event=recording_refused kind=", name(e.kind()), " error=\"", e.what(), '"');
    frame.unrecorded.insert(frame.instance.get());
    return false;
  }
  counters_.recordings++;
  auto& kept = frame.recordings;
  if (kept.size() >= kRecordings) {
    log(LogLevel::info, "runtime", "event=recording_dropped reason=\"least recently used\" count=1");
    kept.pop_back();
  }
  kept.push_front(std::move(made));
  return true;
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
    frame->instance = instance(frame->symbols);
    frame->instance_symbols = frame->symbols;
  }
  const Instance& instance = *frame->instance;
  const std::shared_ptr<const Weights> weights = fresh_weights();
  grow_arena(*frame, instance.arena_bytes + instance.workspace_bytes);

  std::vector<Tensor> held;  // contiguous copies of strided inputs
  std::vector<const void*> from;
  for (const Tensor& in : inputs) {
    from.push_back(in.data);
    if (in.desc.is_contiguous()) continue;
    KPT_CHECK(!plan_.device->records(), "runtime", "got a strided input ", in.desc, " on a GPU, try a contiguous one");
    counters_.input_copies++;
    held.push_back(in.clone());
    from.back() = held.back().data;
  }
  std::vector<Tensor> outputs;
  std::vector<void*> to;
  for (size_t i = 0; i < instance.outputs.size(); ++i) {
    const TensorDesc& desc = instance.outputs[i];
    with_room(*plan_.device, bytes_of(desc), "an output", [&] {
      outputs.push_back(allocate ? allocate(static_cast<int>(i), desc) : this->allocate(desc, stream));
    });
    to.push_back(outputs.back().data);
  }
  const bool sync = plan_.device->records() && setting_bool("sync");
  if (!observer && !finish && !sync && replay(*frame, weights, inputs, outputs)) return outputs;

  place_buffers(*frame, *weights, from, to);
  char* const workspace = static_cast<char*>(frame->arena.get()) + instance.arena_bytes;
  std::optional<Waiting> waiting;
  if (sync || (observer && plan_.device->records())) {
    plan_.device->wait(stream);  // what was queued before is not this call's
    observer = &waiting.emplace(observer, *plan_.device, stream);
  }
  run_steps(instance, frame->buffers, workspace, stream, observer, plan_.device.get());
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

// SPDX-License-Identifier: Apache-2.0
// Weights: found by name, checked, noticed when they change, and what the prologue makes of them.
#include "kpt/runtime/frame.h"
#include "kpt/runtime/memory.h"

namespace kpt {

namespace {

bool lie_in_a_row(const std::vector<Tensor>& tensors, const std::vector<size_t>& group) {
  for (size_t i = 1; i < group.size(); ++i) {
    const Tensor& before = tensors[group[i - 1]];
    if (static_cast<char*>(before.data) + before.desc.bytes() != tensors[group[i]].data) return false;
  }
  return group.size() > 1;
}

}  // namespace

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
    fresh->in_place = old->in_place;
  } else if (prologue_) {
    run_prologue(*fresh);
  }
  return fresh;
}

std::vector<size_t> Executor::joined(const PlanStep& step) const {
  if (step.node->op != "aten.cat" || get_int(step.node->kwargs, "dim", 0) != 0) return {};
  std::vector<size_t> found;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    const BufferInfo& b = plan_.buffers[static_cast<size_t>(step.inputs[i].buffer)];
    const auto index = static_cast<size_t>(b.index);
    // A view of a weight lies in the weight's buffer, too.
    if (b.kind != BufferKind::weight || step.node->inputs[i] != plan_.graph.weights()[index]) return {};
    if (step.node->inputs[i]->type.dtype != step.node->out()->type.dtype) return {};
    found.push_back(index);
  }
  return found;
}

std::vector<std::vector<size_t>> Executor::joined_weights() const {
  std::vector<std::vector<size_t>> out;
  for (const PlanStep& step : plan_.prologue) {
    std::vector<size_t> group = joined(step);
    for (size_t& i : group) i = source_index_[i];
    if (group.size() > 1) out.push_back(std::move(group));
  }
  return out;
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
  std::vector<bool> done(plan_.prologue.size());
  for (size_t i = 0; i < plan_.prologue.size(); ++i) {
    const PlanStep& step = plan_.prologue[i];
    const std::vector<size_t> group = joined(step);
    if (!lie_in_a_row(weights.tensors, group)) continue;
    const int buffer = step.outputs[0].buffer;
    const Tensor& first = weights.tensors[group[0]];
    buffers[static_cast<size_t>(buffer)] = static_cast<char*>(first.data);
    made[buffer] = Memory(first.owner, first.data);
    weights.in_place.insert(buffer);
    done[i] = true;
  }
  for (const PlanStep& step : plan_.prologue)
    for (const ValuePlace& p : step.outputs) {
      if (made.count(p.buffer)) continue;
      const int64_t bytes = plan_.buffers[static_cast<size_t>(p.buffer)].bytes.value();
      Memory memory;
      with_room(*plan_.device, bytes, "weights made ready", [&] { memory = plan_.device->allocate(bytes, nullptr); });
      buffers[static_cast<size_t>(p.buffer)] = static_cast<char*>(memory.get());
      made[p.buffer] = std::move(memory);
    }
  Memory workspace;
  with_room(*plan_.device, prologue_->workspace_bytes, "the workspace of weights made ready",
            [&] { workspace = plan_.device->allocate(prologue_->workspace_bytes, nullptr); });
  for (size_t i = 0; i < done.size(); ++i)
    if (!done[i]) run_step(*prologue_, i, buffers, workspace.get(), nullptr);
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
      if (!weights_->in_place.count(buffer)) total += plan_.buffers[static_cast<size_t>(buffer)].bytes.value();
  return total;
}

std::shared_ptr<const Executor::Weights> Executor::fresh_weights() {
  std::lock_guard<std::mutex> lock(weights_mutex_);
  const auto generation = source_->generation();  // read first: an edit from here on is seen by the next call
  if (generation && generation == weights_generation_) return weights_;
  for (size_t i = 0; i < source_index_.size(); ++i)
    if (source_->version(source_index_[i]) != weights_->versions[i]) {
      weights_ = load_weights(weights_.get());
      break;
    }
  weights_generation_ = generation;
  return weights_;
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <ATen/EmptyTensor.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

#include "gpu.h"
#include "kpt/ir/text.h"
#include "tensors.h"

namespace kpt::bridge {

TorchWeights::TorchWeights(std::vector<std::string> fqns, std::vector<at::Tensor> tensors, at::Device device)
    : fqns_(std::move(fqns)), tensors_(std::move(tensors)), is_state_(fqns_.size()), device_(device) {
  KPT_CHECK(fqns_.size() == tensors_.size(), "bridge", "got ", fqns_.size(), " names and ", tensors_.size(),
            " weights, want as many");
}

Tensor TorchWeights::tensor(size_t i) const {
  const at::Tensor& t = tensors_[i];
  // The engine copies strided weights on the CPU alone.
  return borrow(device_.is_cpu() ? t : t.contiguous(), cat("weight ", fqns_[i]), device_, true);
}

// What tells of an edit, word by word, for as long as `take` returns true: where its storage begins (weights are dense,
// they have one), offset, torch's count of edits in place (inference tensors have none, and the model's own writes to
// its state are none), rank, then each axis' size and stride.
template <typename Take>
bool TorchWeights::each_word(size_t i, const Take& take) const {
  c10::TensorImpl& t = *tensors_[i].unsafeGetTensorImpl();  // Tensor::_version() asks through a virtual call
  const bool counted = !is_state_[i] && !t.is_inference();
  const auto sizes = t.sizes(), strides = t.strides();
  if (!take(reinterpret_cast<intptr_t>(t.unsafe_storage().data())) || !take(t.storage_offset()) ||
      !take(counted ? static_cast<int64_t>(t.version_counter().current_version()) : 0) ||
      !take(static_cast<int64_t>(sizes.size())))
    return false;
  for (size_t d = 0; d < sizes.size(); ++d)
    if (!take(sizes[d]) || !take(strides[d])) return false;
  return true;
}

uint64_t TorchWeights::version(size_t i) const {
  // FNV-1a over words: two states that differ in one word never meet, since multiplying by an odd number is one to one.
  uint64_t hash = salt_;
  each_word(i, [&hash](int64_t word) {
    hash = (hash ^ static_cast<uint64_t>(word)) * 0x100000001b3u;
    return true;
  });
  return hash;
}

template <size_t rank>
TorchWeights::Seen<rank>::Seen(const c10::TensorImpl& t)
    : tensor(&t),
      data(t.unsafe_storage().data()),
      offset(t.storage_offset()),
      version(t.version_counter().current_version()),
      sizes_at(t.sizes().data()),
      strides_at(t.strides().data()) {
  std::copy_n(sizes_at, rank, sizes);
  std::copy_n(strides_at, rank, strides);
}

// One branch for all words, of which none is likely to differ. Above rank five a tensor keeps its sizes elsewhere: what
// sizes_at points to is still inside it then, and the rank differs.
template <size_t rank>
bool TorchWeights::Seen<rank>::same() const {
  uint64_t other = static_cast<uint64_t>(tensor->dim()) ^ rank;
  other |= reinterpret_cast<uintptr_t>(tensor->unsafe_storage().data()) ^ reinterpret_cast<uintptr_t>(data);
  other |= static_cast<uint64_t>(tensor->storage_offset() ^ offset);
  other |= tensor->version_counter().current_version() ^ version;
  for (size_t d = 0; d < rank; ++d)
    other |= static_cast<uint64_t>((sizes_at[d] ^ sizes[d]) | (strides_at[d] ^ strides[d]));
  return other == 0;
}

void TorchWeights::look() const {
  vectors_.clear();
  matrices_.clear();
  filters_.clear();
  others_.clear();
  others_seen_.clear();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    c10::TensorImpl& t = *tensors_[i].unsafeGetTensorImpl();
    const bool counted = !is_state_[i] && !t.is_inference();
    if (counted && t.dim() == 1)
      vectors_.emplace_back(t);
    else if (counted && t.dim() == 2)
      matrices_.emplace_back(t);
    else if (counted && t.dim() == 4)
      filters_.emplace_back(t);
    else
      others_.push_back(i);
  }
  for (size_t i : others_)
    each_word(i, [this](int64_t word) {
      others_seen_.push_back(word);
      return true;
    });
  looked_ = true;
}

std::optional<uint64_t> TorchWeights::generation() const {
  const std::lock_guard<std::mutex> lock(seen_mutex_);
  const int64_t* seen = others_seen_.data();
  // The rank comes before the sizes: a comparison never leaves its weight's words.
  const auto same = [&seen](int64_t word) { return *seen++ == word; };
  const auto all_same = [](const auto& all) {
    return std::all_of(all.begin(), all.end(), [](const auto& s) { return s.same(); });
  };
  if (looked_ && all_same(vectors_) && all_same(matrices_) && all_same(filters_) &&
      std::all_of(others_.begin(), others_.end(), [&](size_t i) { return each_word(i, same); }))
    return generation_;
  look();
  return ++generation_;
}

void TorchWeights::touch() {
  const std::lock_guard<std::mutex> lock(seen_mutex_);
  ++salt_;
  ++generation_;
}

void TorchWeights::set_state(const std::vector<std::string>& fqns) {
  for (size_t i = 0; i < fqns_.size(); ++i) {
    is_state_[i] = std::find(fqns.begin(), fqns.end(), fqns_[i]) != fqns.end();
    if (is_state_[i]) state_.push_back(i);
    KPT_CHECK(!is_state_[i] || tensors_[i].is_contiguous(), "bridge", "got the state ", fqns_[i],
              " with strides, want it contiguous: the model writes it in place");
  }
}

void TorchWeights::written() {
  for (size_t i : state_)
    if (!tensors_[i].is_inference()) tensors_[i].unsafeGetTensorImpl()->bump_version();
}

void TorchWeights::set(size_t i, at::Tensor tensor) {
  KPT_CHECK(i < tensors_.size(), "bridge", "got weight ", i, ", want one of ", tensors_.size());
  const Tensor old = borrow(tensors_[i], fqns_[i], device_), fresh = borrow(tensor, cat("weight ", fqns_[i]), device_);
  KPT_CHECK(old.desc.dtype == fresh.desc.dtype && old.desc.sizes == fresh.desc.sizes, "bridge", "got ", fqns_[i],
            " as ", fresh.desc, ", want ", old.desc, ": optimise the model again");
  KPT_CHECK(!is_state_[i] || tensor.is_contiguous(), "bridge", "got the state ", fqns_[i],
            " with strides, want it contiguous");
  tensors_[i] = std::move(tensor);
  looked_ = false;  // it points to the old one
}

namespace {

std::vector<std::string> state_of(const Graph& graph) {
  std::vector<std::string> fqns;
  for (const Node* node : graph.nodes())
    if (node->op == "kpt.write_") fqns.push_back(node->operand(0)->fqn);
  return fqns;
}

// "cuda" means torch's current one; it is written out, since the model stays where it was made.
at::Device model_device(const CompileOptions& options) {
  if (options.device.rfind("cuda", 0) != 0) return at::kCPU;
  const at::Device device(options.device);
  return device.has_index() ? device : c10::impl::VirtualGuardImpl(at::kCUDA).getDevice();
}

CompileOptions on_device(CompileOptions options, at::Device device) {
  if (!device.is_cpu()) options.device = device.str();
  return options;
}

}  // namespace

TorchModel::TorchModel(std::string text, std::vector<std::string> fqns, std::vector<at::Tensor> weights,
                       std::string options)
    : device_(model_device(parse_options(options))),
      weights_(std::make_shared<TorchWeights>(std::move(fqns), std::move(weights), device_)),
      model_(Model::compile(parse(text), weights_, on_device(parse_options(options), device_))) {
  weights_->set_state(state_of(model_->graph()));
  const at::Tensor any = at::empty({0}, at::TensorOptions(at::kByte).device(device_));
  allocator_ = any.storage().allocator();
  keys_ = c10::DispatchKeySet(c10::computeDispatchKey(at::kByte, at::kStrided, device_));
}

std::vector<Tensor> TorchModel::borrow_inputs(const std::vector<at::Tensor>& inputs) const {
  const auto& wanted = model_->graph().inputs();
  KPT_CHECK(inputs.size() == wanted.size(), "bridge", "got ", inputs.size(), " inputs, want ", wanted.size());
  std::vector<Tensor> result;
  result.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) result.push_back(borrow(inputs[i], wanted[i]->name, device_));
  return result;
}

namespace {

// The model's device made current for a call, its inputs made dense there (the engine has no strided inputs on a GPU).
class Place {
 public:
  Place(at::Device device, std::vector<at::Tensor>& inputs) {
    if (device.is_cpu()) return;
    // A guard that changes nothing still asks the driver when it ends.
    if (c10::impl::VirtualGuardImpl(device.type()).getDevice() != device) guard_.reset_device(device);
    for (at::Tensor& t : inputs) t = t.contiguous();
    stream_ = current_stream(device);
  }
  void* stream() const { return stream_; }

 private:
  c10::OptionalDeviceGuard guard_;
  void* stream_ = nullptr;
};

}  // namespace

std::vector<at::Tensor> TorchModel::run(std::vector<at::Tensor> inputs) {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  std::vector<at::Tensor> outputs(model_->graph().outputs().size());
  const Place place(device_, inputs);
  const RunOptions options{place.stream(), [&outputs, this](int index, const TensorDesc& desc) {
                             const at::IntArrayRef sizes(desc.sizes.begin(), static_cast<size_t>(desc.sizes.rank()));
                             at::Tensor& out = outputs[static_cast<size_t>(index)];
                             try {
                               out = at::detail::empty_generic(sizes, allocator_, keys_, to_torch(desc.dtype), {});
                             } catch (const c10::OutOfMemoryError& e) {
                               throw_error(ErrorKind::resource, "bridge", e.what_without_backtrace());
                             }
                             return Tensor{desc, out.mutable_data_ptr(), nullptr};
                           }};
  const std::vector<Tensor> results = model_->run(borrow_inputs(inputs), options);
  weights_->written();
  for (size_t i = 0; i < results.size(); ++i)
    if (!outputs[i].defined()) outputs[i] = give(results[i], device_);
  return outputs;
}

std::vector<at::Tensor> TorchModel::probe(std::vector<at::Tensor> inputs, std::vector<std::string> keep) {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  std::vector<at::Tensor> outputs;
  const Place place(device_, inputs);
  for (const Tensor& t : model_->probe(borrow_inputs(inputs), keep, {place.stream(), nullptr}))
    outputs.push_back(give(t.owner ? t : t.clone(), device_));
  weights_->written();
  return outputs;
}

std::string TorchModel::profile(std::vector<at::Tensor> inputs, int64_t rounds) {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  KPT_CHECK(rounds >= 1 && rounds <= 100000, "bridge", "got ", rounds, " rounds, want 1 to 100000");
  const Place place(device_, inputs);
  std::string rows = model_->profile(borrow_inputs(inputs), static_cast<int>(rounds));
  weights_->written();
  return rows;
}

void TorchModel::make_ready(std::vector<at::Tensor> inputs) {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  const Place place(device_, inputs);
  model_->make_ready(borrow_inputs(inputs));
}

int64_t TorchModel::call_bytes(std::vector<at::Tensor> inputs) {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  const Place place(device_, inputs);
  return model_->call_bytes(borrow_inputs(inputs));
}

void TorchModel::set_weight(int64_t index, at::Tensor tensor) {
  const std::unique_lock<std::shared_mutex> lock(mutex_);
  KPT_CHECK(index >= 0, "bridge", "got weight ", index, ", want 0 or more");
  weights_->set(static_cast<size_t>(index), std::move(tensor));
}

std::vector<std::vector<int64_t>> TorchModel::joined_weights() const {
  std::vector<std::vector<int64_t>> out;
  for (const std::vector<size_t>& group : model_->joined_weights()) out.emplace_back(group.begin(), group.end());
  return out;
}

void TorchModel::take_weights() {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  std::vector<at::Tensor> none;
  const Place place(device_, none);
  model_->take_weights();
}

void TorchModel::refresh_weights() {
  const std::unique_lock<std::shared_mutex> lock(mutex_);
  weights_->touch();
}

CompileOptions parse_options(const std::string& text) {
  CompileOptions options;
  try {
    const auto json = nlohmann::json::parse(text);
    for (const auto& [key, value] : json.items()) {
      if (key == "level")
        options.level = value.get<std::string>();
      else if (key == "device")
        options.device = value.get<std::string>();
      else if (key == "allow_fallback")
        options.allow_fallback = value.get<bool>();
      else if (key == "threads")
        options.threads = value.get<int>();
      else if (key == "rewrite")
        options.rewrite = value.get<bool>();
      else if (key == "prologue")
        options.prologue = value.get<bool>();
      else if (key == "providers")
        options.providers = value.get<std::set<std::string>>();
      else if (key == "skip")
        options.skip = value.get<std::set<std::string>>();
      else if (key == "only")
        options.only = value.get<std::set<std::string>>();
      else if (key == "disabled")
        options.disabled = value.get<std::set<std::string>>();
      else if (key == "ban")
        options.ban = value.get<std::set<std::string>>();
      else
        throw_error(ErrorKind::bad_input, "bridge", cat("got the option ", key, ", want a field of CompileOptions"));
    }
  } catch (const nlohmann::json::exception& e) {
    throw_error(ErrorKind::bad_input, "bridge", cat("got options ", text, ": ", e.what()));
  }
  return options;
}

}  // namespace kpt::bridge

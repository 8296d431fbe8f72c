// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <mutex>
#include <nlohmann/json.hpp>

#include "kpt/ir/text.h"
#include "tensors.h"

namespace kpt::bridge {

TorchWeights::TorchWeights(std::vector<std::string> fqns, std::vector<at::Tensor> tensors)
    : fqns_(std::move(fqns)), tensors_(std::move(tensors)) {
  KPT_CHECK(fqns_.size() == tensors_.size(), "bridge", "got ", fqns_.size(), " names and ", tensors_.size(),
            " weights, want as many");
}

Tensor TorchWeights::tensor(size_t i) const { return borrow(tensors_[i], cat("weight ", fqns_[i]), true); }

uint64_t TorchWeights::version(size_t i) const {
  const at::Tensor& t = tensors_[i];
  // FNV-1a over words: two states that differ in one word never meet, since multiplying by an odd number is one to one.
  uint64_t hash = salt_;
  const auto mix = [&hash](uint64_t word) { hash = (hash ^ word) * 0x100000001b3u; };
  mix(reinterpret_cast<uintptr_t>(t.const_data_ptr()));
  mix(t.is_inference() ? 0 : static_cast<uint64_t>(t._version()));
  for (int64_t stride : t.strides()) mix(static_cast<uint64_t>(stride));
  for (int64_t size : t.sizes()) mix(static_cast<uint64_t>(size));
  return hash;
}

void TorchWeights::set(size_t i, at::Tensor tensor) {
  KPT_CHECK(i < tensors_.size(), "bridge", "got weight ", i, ", want one of ", tensors_.size());
  const Tensor old = borrow(tensors_[i], fqns_[i]), fresh = borrow(tensor, cat("weight ", fqns_[i]));
  KPT_CHECK(old.desc.dtype == fresh.desc.dtype && old.desc.sizes == fresh.desc.sizes, "bridge", "got ", fqns_[i],
            " as ", fresh.desc, ", want ", old.desc, ": optimise the model again");
  tensors_[i] = std::move(tensor);
}

TorchModel::TorchModel(std::string text, std::vector<std::string> fqns, std::vector<at::Tensor> weights,
                       std::string options)
    : weights_(std::make_shared<TorchWeights>(std::move(fqns), std::move(weights))),
      model_(Model::compile(parse(text), weights_, parse_options(options))) {}

std::vector<Tensor> TorchModel::borrow_inputs(const std::vector<at::Tensor>& inputs) const {
  const auto& wanted = model_->graph().inputs();
  KPT_CHECK(inputs.size() == wanted.size(), "bridge", "got ", inputs.size(), " inputs, want ", wanted.size());
  std::vector<Tensor> result;
  result.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) result.push_back(borrow(inputs[i], wanted[i]->name));
  return result;
}

std::vector<at::Tensor> TorchModel::run(std::vector<at::Tensor> inputs) {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  std::vector<at::Tensor> outputs(model_->graph().outputs().size());
  const RunOptions options{[&outputs](int index, const TensorDesc& desc) {
    const at::IntArrayRef sizes(desc.sizes.begin(), static_cast<size_t>(desc.sizes.rank()));
    at::Tensor& out = outputs[static_cast<size_t>(index)];
    out = at::empty(sizes, at::TensorOptions(to_torch(desc.dtype)));
    return Tensor{desc, out.mutable_data_ptr(), nullptr};
  }};
  const std::vector<Tensor> results = model_->run(borrow_inputs(inputs), options);
  for (size_t i = 0; i < results.size(); ++i)
    if (!outputs[i].defined()) outputs[i] = give(results[i]);
  return outputs;
}

std::vector<at::Tensor> TorchModel::probe(std::vector<at::Tensor> inputs, std::vector<std::string> keep) {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  std::vector<at::Tensor> outputs;
  for (const Tensor& t : model_->probe(borrow_inputs(inputs), keep)) outputs.push_back(give(t.owner ? t : t.clone()));
  return outputs;
}

std::string TorchModel::profile(std::vector<at::Tensor> inputs, int64_t rounds) {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  KPT_CHECK(rounds >= 1 && rounds <= 100000, "bridge", "got ", rounds, " rounds, want 1 to 100000");
  return model_->profile(borrow_inputs(inputs), static_cast<int>(rounds));
}

void TorchModel::set_weight(int64_t index, at::Tensor tensor) {
  const std::unique_lock<std::shared_mutex> lock(mutex_);
  KPT_CHECK(index >= 0, "bridge", "got weight ", index, ", want 0 or more");
  weights_->set(static_cast<size_t>(index), std::move(tensor));
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

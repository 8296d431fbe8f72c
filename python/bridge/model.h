// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <torch/custom_class.h>

#include <mutex>
#include <shared_mutex>

#include "kpt/engine/engine.h"

namespace kpt::bridge {

// Weights held as at::Tensor, so that they share memory and version counters with the module's parameters. Reads are
// thread-safe; set() and touch() want no run in flight (TorchModel's lock).
class TorchWeights final : public WeightSource {
 public:
  TorchWeights(std::vector<std::string> fqns, std::vector<at::Tensor> tensors, at::Device device);
  size_t size() const override { return tensors_.size(); }
  const std::string& fqn(size_t i) const override { return fqns_[i]; }
  // Keeps the storage alive: its address cannot come back as another tensor's while the engine compares pointers.
  Tensor tensor(size_t i) const override;
  // Changes with in-place edits (version counter), a new pointer, new strides, and touch(). Not with edits through
  // `.data` or of inference tensors: torch keeps no count of those.
  uint64_t version(size_t i) const override;
  // One walk of comparisons with what was seen at the last call. Of 392 weights that are no longer in the first cache:
  // 18 cycles each while every word was asked for in a loop, 12 since vectors, matrices and filters have code of their
  // own (EPYC).
  std::optional<uint64_t> generation() const override;
  void set(size_t i, at::Tensor tensor);
  // These are written by the model itself (kpt.write_): their version tells of another place alone. Error{bad_input}
  // where one is strided, since the engine would write to a dense copy.
  void set_state(const std::vector<std::string>& fqns);
  void written();  // after a call: torch learns of the edit
  void touch();

 private:
  // What generation() saw of a weight of this rank, whose edits torch counts.
  template <size_t rank>
  struct Seen {
    const c10::TensorImpl* tensor;
    const void* data;
    int64_t offset;
    uint32_t version;
    const int64_t *sizes_at, *strides_at;  // inside the tensor, whatever its rank up to five
    int64_t sizes[rank], strides[rank];
    explicit Seen(const c10::TensorImpl& t);
    bool same() const;
  };

  template <typename Take>
  bool each_word(size_t i, const Take& take) const;
  void look() const;

  std::vector<std::string> fqns_;
  std::vector<at::Tensor> tensors_;
  std::vector<char> is_state_;
  std::vector<size_t> state_;
  at::Device device_;
  uint64_t salt_ = 0;
  mutable std::mutex seen_mutex_;
  mutable bool looked_ = false;
  mutable std::vector<Seen<1>> vectors_;
  mutable std::vector<Seen<2>> matrices_;
  mutable std::vector<Seen<4>> filters_;
  mutable std::vector<size_t> others_;
  mutable std::vector<int64_t> others_seen_;  // each_word() of them
  mutable uint64_t generation_ = 0;
};

// torch.classes.kernel_pytorch.Model. On a GPU calls are queued on torch's current stream. Methods run without the GIL;
// run() and probe() from many threads at once.
class TorchModel final : public torch::CustomClassHolder {
 public:
  TorchModel(std::string text, std::vector<std::string> fqns, std::vector<at::Tensor> weights, std::string options);
  std::vector<at::Tensor> run(std::vector<at::Tensor> inputs);
  std::vector<at::Tensor> probe(std::vector<at::Tensor> inputs, std::vector<std::string> keep);
  std::string profile(std::vector<at::Tensor> inputs, int64_t rounds);
  void set_weight(int64_t index, at::Tensor tensor);   // waits for runs in flight
  void refresh_weights();                              // what was derived from weights is made again at the next run
  void make_ready(std::vector<at::Tensor> inputs);     // plans these sizes with every choice timed
  int64_t call_bytes(std::vector<at::Tensor> inputs);  // what a call takes beside the weights
  int64_t trim() { return model_->trim(); }            // idle arenas are freed; the bytes they held
  std::vector<std::vector<int64_t>> joined_weights() const;  // Model::joined_weights
  void take_weights();                                       // Model::take_weights
  const Model& model() const { return *model_; }

 private:
  std::vector<Tensor> borrow_inputs(const std::vector<at::Tensor>& inputs) const;

  at::Device device_;
  // For outputs, which are made without torch's dispatcher: what it would call (a pluggable allocator, where one is
  // set).
  at::Allocator* allocator_ = nullptr;
  c10::DispatchKeySet keys_;
  std::shared_ptr<TorchWeights> weights_;
  std::shared_ptr<Model> model_;
  std::shared_mutex mutex_;  // shared: runs; exclusive: set_weight
};

// JSON with the names of CompileOptions' fields; an unknown name is Error{bad_input}.
CompileOptions parse_options(const std::string& json);

}  // namespace kpt::bridge

// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/cudnn_attention.h"

#include "kpt/base/counters.h"
#include "kpt/cuda/cudnn_engines.h"
#include "kpt/cuda/once.h"

namespace kpt {
namespace {

enum Uid : int64_t { kQ = 1, kK, kV, kY, kQueryLengths, kKeyLengths };

void describe(const CudnnAttention& p, fe::graph::Graph& graph) {
  const auto tensor = [&](Uid uid, const char* name, const auto& sizes, const auto& strides, DType dtype) {
    return graph.tensor(fe::graph::Tensor_attributes()
                            .set_uid(uid)
                            .set_name(name)
                            .set_dim(cudnn_list(sizes))
                            .set_stride(cudnn_list(strides))
                            .set_data_type(cudnn_type(dtype)));
  };
  graph.set_io_data_type(cudnn_type(p.dtype))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  auto attributes = fe::graph::SDPA_attributes()
                        .set_name("attention")
                        .set_generate_stats(false)
                        .set_attn_scale(static_cast<float>(p.scale));
  if (p.causal) attributes.set_causal_mask(true);
  if (p.lengths) {
    const std::array<int64_t, 4> sizes{p.q[0], 1, 1, 1}, strides{1, 1, 1, 1};
    attributes.set_padding_mask(true)
        .set_seq_len_q(tensor(kQueryLengths, "query_lengths", sizes, strides, DType::i32))
        .set_seq_len_kv(tensor(kKeyLengths, "key_lengths", sizes, strides, DType::i32));
  }
  const auto outputs =
      graph.sdpa(tensor(kQ, "q", p.q, p.q_strides, p.dtype), tensor(kK, "k", p.k, p.k_strides, p.dtype),
                 tensor(kV, "v", p.v, p.v_strides, p.dtype), attributes);
  outputs[0]
      ->set_output(true)
      .set_uid(kY)
      .set_dim(cudnn_list(p.y))
      .set_stride(cudnn_list(p.y_strides))
      .set_data_type(cudnn_type(p.dtype));
}

class Plan final : public CudnnAttentionPlan {
 public:
  Plan(std::unique_ptr<CudnnEngines> engines, int64_t index, bool lengths)
      : engines_(std::move(engines)), index_(index), lengths_(lengths) {}
  size_t workspace_bytes() const override { return engines_->workspace_bytes(index_); }
  std::string config() const override { return cat("cudnn ", engines_->name(index_)); }
  void run(const CudnnAttentionPointers& at, CUstream stream) const override {
    cuda_check(CUDA_SUCCESS, "cuda.cudnn");
    std::vector<std::pair<int64_t, void*>> operands = {
        {kQ, const_cast<void*>(at.q)}, {kK, const_cast<void*>(at.k)}, {kV, const_cast<void*>(at.v)}, {kY, at.y}};
    if (lengths_) {
      operands.emplace_back(kQueryLengths, const_cast<int*>(at.query_lengths));
      operands.emplace_back(kKeyLengths, const_cast<int*>(at.key_lengths));
    }
    if (Verdict v = engines_->run(index_, std::move(operands), at.workspace, stream); !v)
      throw_error(ErrorKind::device, "cuda.cudnn", cat("attention: ", v.reason));
  }

 private:
  std::unique_ptr<CudnnEngines> engines_;
  int64_t index_;
  bool lengths_;
};

CudnnAttentionChoice choose(const CudnnAttention& problem, int device) {
  static SpanCounters choices("cuda.cudnn_attention");
  const Span span(choices);
  auto engines = std::make_unique<CudnnEngines>(device);
  describe(problem, engines->graph());
  if (Verdict v = engines->query(true, true); !v) return {nullptr, v};
  for (int64_t i = 0; i < engines->count(); ++i)
    if (engines->build(i)) return {std::make_shared<Plan>(std::move(engines), i, problem.lengths), yes()};
  return {nullptr, no("cuDNN has no engine for ", problem.key())};
}

}  // namespace

std::string CudnnAttention::key() const {
  std::string text = cat(dtype, causal ? " causal" : "", lengths ? " lengths" : "", " scale ", scale);
  for (const auto* numbers : {&q, &q_strides, &k, &k_strides, &v, &v_strides, &y, &y_strides})
    text += cat(" ", (*numbers)[0], ",", (*numbers)[1], ",", (*numbers)[2], ",", (*numbers)[3]);
  return text;
}

namespace {
OncePerKey<CudnnAttentionChoice>& built() {
  static OncePerKey<CudnnAttentionChoice> choices;
  return choices;
}
}  // namespace

bool cudnn_attention_built(const CudnnAttention& problem, int device) { return built().find(device, problem.key()); }

CudnnAttentionChoice cudnn_attention(const CudnnAttention& problem, int device) {
  if (Verdict v = cudnn_here(); !v) return {nullptr, v};
  return built().get(device, problem.key(), [&] {
    return cudnn_choice<CudnnAttentionChoice>(device, [&] { return choose(problem, device); });
  });
}

}  // namespace kpt

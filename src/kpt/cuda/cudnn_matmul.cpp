// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/cudnn_matmul.h"

#include <limits>

#include "kpt/base/counters.h"
#include "kpt/cuda/cudnn_engines.h"

namespace kpt {
namespace {

enum Uid : int64_t { kX = 1, kW, kBias, kResidual, kY };

using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

fe::PointwiseMode_t mode_of(CudnnAct act) {
  switch (act) {
    case CudnnAct::gelu: return fe::PointwiseMode_t::GELU_FWD;
    case CudnnAct::gelu_tanh: return fe::PointwiseMode_t::GELU_APPROX_TANH_FWD;
    case CudnnAct::silu: return fe::PointwiseMode_t::SWISH_FWD;
    case CudnnAct::tanh: return fe::PointwiseMode_t::TANH_FWD;
    case CudnnAct::sigmoid: return fe::PointwiseMode_t::SIGMOID_FWD;
    default: return fe::PointwiseMode_t::IDENTITY;
  }
}

// The problem as cuDNN's graph: a batch of one.
void describe(const CudnnMatmul& p, fe::graph::Graph& graph) {
  using List = std::vector<int64_t>;
  const auto tensor = [&](Uid uid, const char* name, const List& sizes, const List& strides) {
    return graph.tensor(
        fe::graph::Tensor_attributes().set_uid(uid).set_name(name).set_dim(sizes).set_stride(strides).set_data_type(
            cudnn_type(p.dtype)));
  };
  const List sizes{1, p.m, p.n}, strides{p.m * p.y_m, p.y_m, 1};
  const auto as_y = [&](const Tensor& t) { t->set_dim(sizes).set_stride(strides); };
  const auto pointwise = [&](const char* name, fe::PointwiseMode_t mode) {
    return fe::graph::Pointwise_attributes().set_name(name).set_mode(mode).set_compute_data_type(fe::DataType_t::FLOAT);
  };
  graph.set_io_data_type(cudnn_type(p.dtype))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  Tensor y =
      graph.matmul(tensor(kX, "x", {1, p.m, p.k}, {p.m * p.x_m, p.x_m, 1}),
                   tensor(kW, "w", {1, p.k, p.n}, {p.w_k == 1 ? p.n * p.w_n : p.k * p.w_k, p.w_k, p.w_n}),
                   fe::graph::Matmul_attributes().set_name("product").set_compute_data_type(fe::DataType_t::FLOAT));
  as_y(y);
  if (p.bias) {
    y = graph.pointwise(y, tensor(kBias, "bias", {1, 1, p.n}, {p.n, p.n, 1}),
                        pointwise("add_bias", fe::PointwiseMode_t::ADD));
    as_y(y);
  }
  if (p.act != CudnnAct::none) {
    y = graph.pointwise(y, pointwise("act", mode_of(p.act)));
    as_y(y);
  }
  if (p.residual) {
    y = graph.pointwise(y, tensor(kResidual, "residual", sizes, {p.m * p.residual_m, p.residual_m, 1}),
                        pointwise("add_residual", fe::PointwiseMode_t::ADD));
    as_y(y);
  }
  y->set_output(true).set_uid(kY).set_data_type(cudnn_type(p.dtype));
}

class Plan final : public CudnnMatmulPlan {
 public:
  Plan(const CudnnMatmul& problem, std::shared_ptr<const CudnnEngines> engines, int64_t index)
      : problem_(problem), engines_(std::move(engines)), index_(index) {}
  int64_t index() const override { return index_; }
  size_t workspace_bytes() const override { return engines_->workspace_bytes(index_); }
  std::string config() const override { return cat("cudnn ", engines_->name(index_)); }
  Verdict run(const CudnnMatmulPointers& at, CUstream stream) const override {
    cuda_check(CUDA_SUCCESS, "cuda.cudnn");
    const auto in = [](const void* p) { return const_cast<void*>(p); };
    std::vector<std::pair<int64_t, void*>> operands{{kX, in(at.x)}, {kW, in(at.w)}, {kY, at.y}};
    if (problem_.bias) operands.emplace_back(kBias, in(at.bias));
    if (problem_.residual) operands.emplace_back(kResidual, in(at.residual));
    return engines_->run(index_, std::move(operands), at.workspace, stream);
  }

 private:
  CudnnMatmul problem_;
  std::shared_ptr<const CudnnEngines> engines_;
  int64_t index_;
};

// Engines from `first` on, the first `most` of them that build; `last`: no further than this one.
CudnnMatmulPlans build(const CudnnMatmul& problem, int device, int64_t first, int64_t last, int most) {
  if (Verdict v = cudnn_here(); !v) return {{}, v};
  static SpanCounters choices("cuda.cudnn_matmul");
  const Span span(choices);
  const CudaGuard guard(device);
  CudnnMatmulPlans out;
  try {
    auto engines = std::make_shared<CudnnEngines>(device);
    describe(problem, engines->graph());
    if (Verdict v = engines->query(true, true); !v) return {{}, v};
    std::vector<int64_t> built;
    for (int64_t i = first; i < engines->count() && i <= last && static_cast<int>(built.size()) < most; ++i)
      if (engines->build(i)) built.push_back(i);
    for (int64_t i : built) out.plans.push_back(std::make_shared<Plan>(problem, engines, i));
  } catch (const Error&) {
    throw;
  } catch (const std::runtime_error& e) {  // the frontend's own, for a function or library that it lacks
    return {{}, no("cuDNN: ", e.what())};
  }
  if (out.plans.empty()) out.verdict = no("cuDNN has no engine for ", problem.key());
  return out;
}

}  // namespace

std::string CudnnMatmul::family() const {
  return cat(dtype, " n", n, " k", k, " w ", w_k, ",", w_n, bias ? " bias" : "", " act", static_cast<int>(act),
             residual ? " residual" : "");
}

std::string CudnnMatmul::key() const { return cat(family(), " m", m, " rows ", x_m, ",", y_m, ",", residual_m); }

CudnnMatmulPlans cudnn_matmul(const CudnnMatmul& problem, int device, int most) {
  return build(problem, device, 0, std::numeric_limits<int64_t>::max(), most);
}

CudnnMatmulPlans cudnn_matmul_engine(const CudnnMatmul& problem, int device, int64_t index) {
  return build(problem, device, index, index, 1);
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/cudnn_convolution.h"

#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "kpt/base/counters.h"
#include "kpt/cuda/choices.h"
#include "kpt/cuda/cudnn_engines.h"
#include "kpt/cuda/once.h"
#include "kpt/cuda/timing.h"

namespace kpt {
namespace {

// Compiling a plan takes a third of a second, and a vision model has two dozen problems.
constexpr size_t kTimedFused = 2, kTimedPlain = 3;

enum Uid : int64_t { kX = 1, kW, kY, kBias, kResidual };

using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

// The problem as cuDNN's graph, with or without its epilogue.
void describe(const CudnnConvolution& problem, bool fused, fe::graph::Graph& graph) {
  const auto tensor = [&](Uid uid, const char* name, const auto& sizes, const auto& strides) {
    return graph.tensor(fe::graph::Tensor_attributes()
                            .set_uid(uid)
                            .set_name(name)
                            .set_dim(cudnn_list(sizes))
                            .set_stride(cudnn_list(strides))
                            .set_data_type(cudnn_type(problem.dtype)));
  };
  const auto as_y = [&](const Tensor& t) {
    t->set_dim(cudnn_list(problem.y)).set_stride(cudnn_list(problem.y_strides));
  };
  const auto pointwise = [&](const char* name, fe::PointwiseMode_t mode) {
    return fe::graph::Pointwise_attributes().set_name(name).set_mode(mode).set_compute_data_type(fe::DataType_t::FLOAT);
  };
  graph.set_io_data_type(cudnn_type(problem.dtype))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  auto attributes = fe::graph::Conv_fprop_attributes()
                        .set_padding(cudnn_list(problem.padding))
                        .set_stride(cudnn_list(problem.stride))
                        .set_dilation(cudnn_list(problem.dilation));
  Tensor y = graph.conv_fprop(tensor(kX, "x", problem.x, problem.x_strides),
                              tensor(kW, "w", problem.w, problem.w_strides), attributes);
  as_y(y);
  if (fused && problem.bias) {
    const int64_t o = problem.y[1];
    const std::array<int64_t, 4> sizes{1, o, 1, 1}, strides{o, 1, o, o};
    y = graph.pointwise(y, tensor(kBias, "bias", sizes, strides), pointwise("add_bias", fe::PointwiseMode_t::ADD));
    as_y(y);
  }
  if (fused && problem.residual) {
    y = graph.pointwise(y, tensor(kResidual, "residual", problem.y, problem.y_strides),
                        pointwise("add_residual", fe::PointwiseMode_t::ADD));
    as_y(y);
  }
  if (fused && problem.relu) {
    y = graph.pointwise(y, pointwise("relu", fe::PointwiseMode_t::RELU_FWD));
    as_y(y);
  }
  y->set_output(true).set_uid(kY).set_data_type(cudnn_type(problem.dtype));
}

// One of cuDNN's engines for a problem, built.
struct Engine {
  std::shared_ptr<CudnnEngines> of;
  int64_t index = 0;
  bool fused = false;

  Verdict run(const CudnnConvolution& problem, const CudnnPointers& at, CUstream stream) const {
    const auto in = [](const void* p) { return const_cast<void*>(p); };
    std::vector<std::pair<int64_t, void*>> operands{{kX, in(at.x)}, {kW, in(at.w)}, {kY, at.y}};
    if (fused && problem.bias) operands.emplace_back(kBias, in(at.bias));
    if (fused && problem.residual) operands.emplace_back(kResidual, in(at.residual));
    return of->run(index, std::move(operands), at.workspace, stream);
  }
};

class Plan final : public CudnnConvolutionPlan {
 public:
  Plan(const CudnnConvolution& problem, Engine engine, std::string how)
      : problem_(problem), engine_(std::move(engine)), how_(std::move(how)) {}
  size_t workspace_bytes() const override { return engine_.of->workspace_bytes(engine_.index); }
  std::string config() const override {
    return cat("cudnn ", engine_.of->name(engine_.index), engine_.fused ? " with epilogue, " : ", ", how_);
  }
  bool has_epilogue() const override { return engine_.fused; }
  void run(const CudnnPointers& at, CUstream stream) const override {
    cuda_check(CUDA_SUCCESS, "cuda.cudnn");
    if (Verdict v = engine_.run(problem_, at, stream); !v)
      throw_error(ErrorKind::device, "cuda.cudnn", cat("convolution: ", v.reason));
  }

 private:
  CudnnConvolution problem_;
  Engine engine_;
  std::string how_;
};

// The engines of a problem, asked for as they are needed.
class Shelf {
 public:
  Shelf(const CudnnConvolution& problem, int device) : problem_(problem), device_(device) {}

  // Engines that compile cost a new size a third of a second: only where there is an epilogue to gain.
  bool may_fuse() const {
    return problem_.has_epilogue() && problem_.dtype != DType::f32 && problem_.y_strides[1] == 1;
  }
  // null where cuDNN has none; then reason() says why.
  std::shared_ptr<CudnnEngines> engines(bool fused) {
    auto& [asked, engines] = kinds_[fused];
    if (asked) return engines;
    asked = true;
    auto fresh = std::make_shared<CudnnEngines>(device_);
    describe(problem_, fused, fresh->graph());
    // On f32 the products of tensor cores are TF32.
    const Verdict v = fresh->query(fused, problem_.dtype != DType::f32);
    if (v)
      engines = std::move(fresh);
    else
      reason_ = v.reason;
    return engines;
  }
  // The first ones that can be built, at most `wanted`.
  void build(bool fused, size_t wanted, std::vector<Engine>& out) {
    const auto of = engines(fused);
    if (!of) return;
    const size_t most = out.size() + wanted;
    for (int64_t i = 0; i < of->count() && out.size() < most; ++i)
      if (of->build(i)) out.push_back({of, i, fused});
  }
  const std::string& reason() const { return reason_; }

 private:
  const CudnnConvolution& problem_;
  int device_;
  std::array<std::pair<bool, std::shared_ptr<CudnnEngines>>, 2> kinds_;
  std::string reason_;
};

// Microseconds of each built engine, its tail included, on temporary memory; empty where there is not enough of it.
std::vector<double> time_engines(const CudnnConvolution& p, const std::vector<Engine>& engines, const CudnnTail& tail) {
  int64_t workspace = 0;
  for (const Engine& e : engines) workspace = std::max(workspace, e.of->workspace(e.index));
  const int64_t x = cudnn_bytes(p.dtype, cudnn_list(p.x), cudnn_list(p.x_strides)),
                w = cudnn_bytes(p.dtype, cudnn_list(p.w), cudnn_list(p.w_strides)),
                y = cudnn_bytes(p.dtype, cudnn_list(p.y), cudnn_list(p.y_strides)),
                bias = p.bias ? cudnn_bytes(p.dtype, {p.y[1]}, {1}) : 0, residual = p.residual ? y : 0;
  CudaTimer timer;
  CudaScratch scratch(x + w + y + bias + residual + workspace + kCudnnLine, timer.stream());
  if (!scratch) return {};
  scratch.fill_normal();
  char* to = scratch.data();
  const auto take = [&to](int64_t bytes) { return std::exchange(to, to + bytes); };
  CudnnPointers at{};
  at.x = take(x), at.w = take(w), at.y = take(y);
  if (p.bias) at.bias = take(bias);
  if (p.residual) at.residual = take(residual);
  at.workspace = to;
  std::vector<CudaTimer::Work> works;
  for (const Engine& e : engines)
    works.push_back([&p, &e, &timer, &tail, at](int) {
      if (!e.run(p, at, timer.stream())) return false;
      if (!e.fused && p.has_epilogue()) tail(at, timer.stream());
      return true;
    });
  return timer.times(works, true);
}

CudnnChoice choose(const CudnnConvolution& problem, int device, const CudnnTail& tail, bool timed) {
  static SpanCounters choices("cuda.cudnn_choices");
  const Span span(choices);
  // A build keeps its handle to itself for long, and what is timed would wait for it: no timing while one builds.
  static std::shared_mutex builds;
  std::shared_lock building(builds);
  Shelf shelf(problem, device);
  const auto made = [&](const Engine& engine, std::string how) {
    return CudnnChoice{std::make_shared<Plan>(problem, engine, std::move(how)), yes()};
  };
  ChoiceStore& store = ChoiceStore::of("cudnn", cudnn_version(), device);
  const std::string family = problem.family(), key = problem.key();
  if (const auto kept = store.find(family, key)) {
    const Engine engine{shelf.engines(kept->words[1] != 0), static_cast<int64_t>(kept->words[0]), kept->words[1] != 0};
    if (engine.of && engine.index < engine.of->count() && engine.of->build(engine.index))
      return made(engine, cat("kept choice of ", kept->microseconds, " us"));
  }
  const bool known = !timed || store.knows(family);
  std::vector<Engine> built;
  if (shelf.may_fuse()) shelf.build(true, known ? 1 : kTimedFused, built);
  if (built.empty() || !known) shelf.build(false, known || !built.empty() ? 1 : kTimedPlain, built);
  if (built.empty()) return {nullptr, no("cuDNN has no engine for ", key, ": ", shelf.reason())};
  std::vector<double> times;
  building.unlock();
  if (built.size() > 1) {
    const std::lock_guard timing(builds);
    times = time_engines(problem, built, tail);
  }
  const int best = times.empty() ? 0 : fastest(times);
  if (best < 0) return {nullptr, no("no engine of cuDNN runs ", key)};
  const Engine& engine = built[static_cast<size_t>(best)];
  if (times.empty()) return made(engine, "heuristic");
  const double time = times[static_cast<size_t>(best)];
  store.add(family, key, {{static_cast<uint64_t>(engine.index), uint64_t{engine.fused}}, time, problem.x[0]});
  return made(engine, cat("best of ", built.size(), ": ", time, " us"));
}

std::string text_of(const std::array<int64_t, 4>& n) { return cat(" ", n[0], ",", n[1], ",", n[2], ",", n[3]); }

}  // namespace

std::string CudnnConvolution::family() const {
  return cat(dtype, " groups", groups, " x ", x[1], ",", x[2], ",", x[3], " w", text_of(w), " stride ", stride[0], ",",
             stride[1], " pad ", padding[0], ",", padding[1], " dilation ", dilation[0], ",", dilation[1],
             bias ? " bias" : "", residual ? " residual" : "", relu ? " relu" : "");
}

std::string CudnnConvolution::key() const {
  return cat(family(), " batch", x[0], " strides", text_of(x_strides), text_of(w_strides), text_of(y_strides));
}

CudnnChoice cudnn_convolution(const CudnnConvolution& problem, int device, const CudnnTail& tail, bool timed) {
  if (Verdict v = cudnn_here(); !v) return {nullptr, v};
  static OncePerKey<CudnnChoice> best, first;
  const std::string key = problem.key();
  if (!timed)
    if (const CudnnChoice* made = best.find(device, key)) return *made;
  return (timed ? best : first).get(device, key, [&] {
    return cudnn_choice<CudnnChoice>(device, [&] { return choose(problem, device, tail, timed); });
  });
}

}  // namespace kpt

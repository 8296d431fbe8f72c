// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/cudnn_convolution.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "kpt/base/counters.h"
#include "kpt/cuda/choices.h"
#include "kpt/cuda/cudnn_engines.h"
#include "kpt/cuda/timing.h"

namespace kpt {
namespace {

constexpr size_t kTimedEngines = 4;

enum Uid : int64_t { kX = 1, kW, kY };

// The problem as cuDNN's graph.
void describe(const CudnnConvolution& problem, fe::graph::Graph& graph) {
  const auto tensor = [&](Uid uid, const char* name, const auto& sizes, const auto& strides) {
    return graph.tensor(fe::graph::Tensor_attributes()
                            .set_uid(uid)
                            .set_name(name)
                            .set_dim(cudnn_list(sizes))
                            .set_stride(cudnn_list(strides))
                            .set_data_type(cudnn_type(problem.dtype)));
  };
  graph.set_io_data_type(cudnn_type(problem.dtype))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  auto attributes = fe::graph::Conv_fprop_attributes()
                        .set_padding(cudnn_list(problem.padding))
                        .set_stride(cudnn_list(problem.stride))
                        .set_dilation(cudnn_list(problem.dilation));
  auto y = graph.conv_fprop(tensor(kX, "x", problem.x, problem.x_strides),
                            tensor(kW, "w", problem.w, problem.w_strides), attributes);
  y->set_output(true)
      .set_uid(kY)
      .set_dim(cudnn_list(problem.y))
      .set_stride(cudnn_list(problem.y_strides))
      .set_data_type(cudnn_type(problem.dtype));
}

Verdict run(const CudnnEngines& engines, int64_t index, const CudnnPointers& at, CUstream stream) {
  return engines.run(index, {{kX, const_cast<void*>(at.x)}, {kW, const_cast<void*>(at.w)}, {kY, at.y}}, at.workspace,
                     stream);
}

class Plan final : public CudnnConvolutionPlan {
 public:
  Plan(std::unique_ptr<CudnnEngines> engines, int64_t index, std::string how)
      : engines_(std::move(engines)), index_(index), how_(std::move(how)) {}
  size_t workspace_bytes() const override { return engines_->workspace_bytes(index_); }
  std::string config() const override { return cat("cudnn ", engines_->name(index_), ", ", how_); }
  void run(const CudnnPointers& at, CUstream stream) const override {
    cuda_check(CUDA_SUCCESS, "cuda.cudnn");
    if (Verdict v = kpt::run(*engines_, index_, at, stream); !v)
      throw_error(ErrorKind::device, "cuda.cudnn", cat("convolution: ", v.reason));
  }

 private:
  std::unique_ptr<CudnnEngines> engines_;
  int64_t index_;
  std::string how_;
};

// Microseconds of each built engine on temporary memory; empty where there is not enough of it.
std::vector<double> time_engines(const CudnnConvolution& p, const CudnnEngines& engines,
                                 const std::vector<int64_t>& built) {
  int64_t workspace = 0;
  for (int64_t index : built) workspace = std::max(workspace, engines.workspace(index));
  const int64_t x = cudnn_bytes(p.dtype, cudnn_list(p.x), cudnn_list(p.x_strides)),
                w = cudnn_bytes(p.dtype, cudnn_list(p.w), cudnn_list(p.w_strides)),
                y = cudnn_bytes(p.dtype, cudnn_list(p.y), cudnn_list(p.y_strides));
  CudaTimer timer;
  CudaScratch scratch(x + w + y + workspace + kCudnnLine, timer.stream());
  if (!scratch) return {};
  scratch.fill(0x3c);  // 0.0115 as f32 and bf16, 1.06 as f16
  char* const at = scratch.data();
  std::vector<CudaTimer::Work> works;
  for (int64_t index : built)
    works.push_back([&engines, &timer, index, at, x, w, y](int) {
      return run(engines, index, {at, at + x, at + x + w, at + x + w + y}, timer.stream()).ok;
    });
  return timer.times(works, true);
}

CudnnChoice choose(const CudnnConvolution& problem, int device) {
  static SpanCounters choices("cuda.cudnn_choices");
  const Span span(choices);
  auto engines = std::make_unique<CudnnEngines>(device);
  describe(problem, engines->graph());
  // Engines that compile cost a new size a quarter of a second and more; on f32 the tensor cores' products are TF32.
  if (Verdict v = engines->query(false, problem.dtype != DType::f32); !v) return {nullptr, v};
  ChoiceStore& store = ChoiceStore::of("cudnn", cudnn_version(), device);
  const std::string family = problem.family(), key = problem.key();
  if (const auto kept = store.find(family, key)) {
    const auto index = static_cast<int64_t>(kept->words[0]);
    if (index < engines->count() && engines->build(index))
      return {std::make_shared<Plan>(std::move(engines), index, cat("kept choice of ", kept->microseconds, " us")),
              yes()};
  }
  const size_t wanted = store.count(family) > 0 ? 1 : kTimedEngines;
  std::vector<int64_t> built;
  for (int64_t i = 0; i < engines->count() && built.size() < wanted; ++i)
    if (engines->build(i)) built.push_back(i);
  if (built.empty()) return {nullptr, no("cuDNN has no engine for ", key)};
  std::vector<double> times;
  if (built.size() > 1) times = time_engines(problem, *engines, built);
  const int best = times.empty() ? 0 : fastest(times);
  if (best < 0) return {nullptr, no("no engine of cuDNN runs ", key)};
  const int64_t index = built[static_cast<size_t>(best)];
  if (times.empty()) return {std::make_shared<Plan>(std::move(engines), index, "heuristic"), yes()};
  const double time = times[static_cast<size_t>(best)];
  store.add(family, key, {{static_cast<uint64_t>(index)}, time});
  return {std::make_shared<Plan>(std::move(engines), index, cat("best of ", built.size(), ": ", time, " us")), yes()};
}

struct Entry {
  std::once_flag once;
  CudnnChoice choice;
};

std::string text_of(const std::array<int64_t, 4>& n) { return cat(" ", n[0], ",", n[1], ",", n[2], ",", n[3]); }

}  // namespace

std::string CudnnConvolution::family() const {
  return cat(dtype, " groups", groups, " x ", x[1], ",", x[2], ",", x[3], " w", text_of(w), " stride ", stride[0], ",",
             stride[1], " pad ", padding[0], ",", padding[1], " dilation ", dilation[0], ",", dilation[1]);
}

std::string CudnnConvolution::key() const {
  return cat(family(), " batch", x[0], " strides", text_of(x_strides), text_of(w_strides), text_of(y_strides));
}

CudnnChoice cudnn_convolution(const CudnnConvolution& problem, int device) {
  if (Verdict v = cudnn_here(); !v) return {nullptr, v};
  static std::mutex mutex;
  static std::map<std::pair<int, std::string>, std::unique_ptr<Entry>> entries;
  Entry* entry;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    auto& slot = entries[{device, problem.key()}];
    if (!slot) slot = std::make_unique<Entry>();
    entry = slot.get();
  }
  std::call_once(entry->once, [&] {
    const CudaGuard guard(device);
    try {
      entry->choice = choose(problem, device);
    } catch (const Error&) {
      throw;
    } catch (const std::runtime_error& e) {  // the frontend's own, for a function or library that it lacks
      entry->choice = {nullptr, no("cuDNN: ", e.what())};
    }
  });
  return entry->choice;
}

}  // namespace kpt

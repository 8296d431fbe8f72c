// SPDX-License-Identifier: Apache-2.0
// The only file that includes cuDNN's frontend (header-only, half a minute to compile).
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include "kpt/cuda/cudnn_convolution.h"

#include <cudnn_frontend.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "kpt/base/counters.h"
#include "kpt/cuda/choices.h"
#include "kpt/cuda/library.h"
#include "kpt/cuda/timing.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // where the frontend looks its functions up
}

namespace kpt {
namespace {

namespace fe = cudnn_frontend;

constexpr size_t kOldest = 90000;
constexpr int64_t kLine = 256;                 // where the workspace starts
constexpr int64_t kMostWorkspace = 256 << 20;  // an engine that wants more is left out
constexpr size_t kTimedEngines = 4;

Verdict open_cudnn() {
  if (Verdict v = cuda_here(); !v) return v;
  // The frontend asks the loader for the runtime by name: one that is loaded already is found by it.
  if (const OpenLibrary runtime = open_library({"libcudart.so.13", "libcudart.so.12"}); !runtime.verdict)
    return runtime.verdict;
  const OpenLibrary library = open_library({"libcudnn.so.9"});
  if (!library.verdict) return library.verdict;
  if (!library.symbol("cudnnGetVersion") || !library.symbol("cudnnBackendExecute"))
    return no("libcudnn.so.9 lacks cudnnBackendExecute");
  fe::cudnn_dlhandle = library.handle;
  if (fe::detail::get_backend_version() < kOldest)
    return no("got cuDNN ", fe::detail::get_backend_version(), ", want ", kOldest, " or newer");
  return yes();
}

void check(fe::error_t error, std::string_view what) {
  cuda_check(CUDA_SUCCESS, "cuda.cudnn");
  if (error.is_bad()) throw_error(ErrorKind::device, "cuda.cudnn", cat(what, ": ", error.get_message()));
}

// One handle a device. It carries the stream of the next call: calls take turns.
struct Handle {
  std::mutex mutex;
  cudnnHandle_t handle = nullptr;
};

Handle& handle_of(int device) {
  static std::mutex mutex;
  static std::map<int, Handle> handles;
  const std::lock_guard<std::mutex> lock(mutex);
  Handle& out = handles[device];
  if (!out.handle) {
    const CudaGuard guard(device);
    const cudnnStatus_t status = fe::detail::create_handle(&out.handle);
    if (status != CUDNN_STATUS_SUCCESS)
      throw_error(ErrorKind::device, "cuda.cudnn", cat("cudnnCreate: ", fe::detail::get_error_string(status)));
  }
  return out;
}

fe::DataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::bf16: return fe::DataType_t::BFLOAT16;
    case DType::f16: return fe::DataType_t::HALF;
    default: return fe::DataType_t::FLOAT;
  }
}

template <size_t N>
std::vector<int64_t> list(const std::array<int64_t, N>& numbers) {
  return {numbers.begin(), numbers.end()};
}

enum Uid : int64_t { kX = 1, kW, kY };

// The problem as cuDNN's graph, and its engines by the heuristics, best guess first.
class Engines {
 public:
  Engines(const CudnnConvolution& problem, int device) : problem_(problem), handle_(handle_of(device)) {}

  // A no where nothing supports the graph.
  Verdict query() {
    const auto tensor = [&](Uid uid, const char* name, const auto& sizes, const auto& strides) {
      return graph_.tensor(fe::graph::Tensor_attributes()
                               .set_uid(uid)
                               .set_name(name)
                               .set_dim(list(sizes))
                               .set_stride(list(strides))
                               .set_data_type(data_type(problem_.dtype)));
    };
    graph_.set_io_data_type(data_type(problem_.dtype))
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    auto attributes = fe::graph::Conv_fprop_attributes()
                          .set_padding(list(problem_.padding))
                          .set_stride(list(problem_.stride))
                          .set_dilation(list(problem_.dilation));
    auto y = graph_.conv_fprop(tensor(kX, "x", problem_.x, problem_.x_strides),
                               tensor(kW, "w", problem_.w, problem_.w_strides), attributes);
    y->set_output(true)
        .set_uid(kY)
        .set_dim(list(problem_.y))
        .set_stride(list(problem_.y_strides))
        .set_data_type(data_type(problem_.dtype));
    const std::lock_guard<std::mutex> lock(handle_.mutex);
    fe::error_t error = graph_.validate();
    if (error.is_good()) error = graph_.build_operation_graph(handle_.handle);
    if (error.is_good()) error = graph_.create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK});
    if (error.is_bad()) return no("cuDNN: ", error.get_message());
    using Note = fe::NumericalNote_t;
    graph_.deselect_numeric_notes({Note::DOWN_CONVERT_INPUTS, Note::REDUCED_PRECISION_REDUCTION, Note::FFT,
                                   Note::WINOGRAD, Note::NONDETERMINISTIC});
    // On f32 the tensor cores' products are TF32.
    if (problem_.dtype == DType::f32) graph_.deselect_numeric_notes({Note::TENSOR_CORE});
    // Engines that compile cost a new size a quarter of a second and more.
    graph_.deselect_behavior_notes({fe::BehaviorNote_t::RUNTIME_COMPILATION});
    graph_.deselect_workspace_greater_than(kMostWorkspace);
    return yes();
  }

  int64_t count() const { return graph_.get_execution_plan_count(); }
  bool build(int64_t index) { return graph_.build_plan_at_index(handle_.handle, index).is_good(); }
  int64_t workspace(int64_t index) const { return graph_.get_workspace_size_plan_at_index(index); }
  std::string name(int64_t index) const {
    std::string text;
    return graph_.get_plan_name_at_index(index, text).is_good() ? text : cat("engine ", index);
  }

  fe::error_t run(int64_t index, const CudnnPointers& at, CUstream stream) const {
    void* pointers[] = {const_cast<void*>(at.x), const_cast<void*>(at.w), at.y};  // in the order of their numbers
    const auto line = (reinterpret_cast<uintptr_t>(at.workspace) + kLine - 1) / kLine * kLine;
    const std::lock_guard<std::mutex> lock(handle_.mutex);
    const cudnnStatus_t status = fe::detail::set_stream(handle_.handle, stream);
    if (status != CUDNN_STATUS_SUCCESS)
      return {fe::error_code_t::CUDNN_BACKEND_API_FAILED, fe::detail::get_error_string(status)};
    return graph_.execute_plan_at_index(handle_.handle, pointers, 3, reinterpret_cast<void*>(line), index);
  }

 private:
  CudnnConvolution problem_;
  Handle& handle_;
  fe::graph::Graph graph_;
};

class Plan final : public CudnnConvolutionPlan {
 public:
  Plan(std::unique_ptr<Engines> engines, int64_t index, std::string how)
      : engines_(std::move(engines)), index_(index), how_(std::move(how)) {}
  size_t workspace_bytes() const override {
    const int64_t bytes = engines_->workspace(index_);
    return bytes > 0 ? static_cast<size_t>(bytes + kLine) : 0;
  }
  std::string config() const override { return cat("cudnn ", engines_->name(index_), ", ", how_); }
  void run(const CudnnPointers& at, CUstream stream) const override {
    check(engines_->run(index_, at, stream), "convolution");
  }

 private:
  std::unique_ptr<Engines> engines_;
  int64_t index_;
  std::string how_;
};

int64_t bytes_of(DType dtype, const std::array<int64_t, 4>& sizes, const std::array<int64_t, 4>& strides) {
  int64_t last = 0;
  for (size_t i = 0; i < 4; ++i) last += (sizes[i] - 1) * strides[i];
  return ((last + 1) * static_cast<int64_t>(size_of(dtype)) + kLine - 1) / kLine * kLine;
}

// Microseconds of each built engine on temporary memory; empty where there is not enough of it.
std::vector<double> time_engines(const CudnnConvolution& p, const Engines& engines, const std::vector<int64_t>& built) {
  int64_t workspace = 0;
  for (int64_t index : built) workspace = std::max(workspace, engines.workspace(index));
  const int64_t x = bytes_of(p.dtype, p.x, p.x_strides), w = bytes_of(p.dtype, p.w, p.w_strides),
                y = bytes_of(p.dtype, p.y, p.y_strides);
  CudaTimer timer;
  CudaScratch scratch(x + w + y + workspace + kLine, timer.stream());
  if (!scratch) return {};
  scratch.fill(0x3c);  // 0.0115 as f32 and bf16, 1.06 as f16
  char* const at = scratch.data();
  std::vector<CudaTimer::Work> works;
  for (int64_t index : built)
    works.push_back([&engines, &timer, index, at, x, w, y](int) {
      return engines.run(index, {at, at + x, at + x + w, at + x + w + y}, timer.stream()).is_good();
    });
  return timer.times(works, true);
}

CudnnChoice choose(const CudnnConvolution& problem, int device) {
  static SpanCounters choices("cuda.cudnn_choices");
  const Span span(choices);
  auto engines = std::make_unique<Engines>(problem, device);
  if (Verdict v = engines->query(); !v) return {nullptr, v};
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

Verdict cudnn_here() {
  static const Verdict verdict = open_cudnn();
  return verdict;
}

size_t cudnn_version() { return cudnn_here() ? fe::detail::get_backend_version() : 0; }

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

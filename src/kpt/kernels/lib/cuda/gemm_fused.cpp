// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_fused.h"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

#include "kpt/cuda/choices.h"
#include "kpt/cuda/timing.h"

namespace kpt {
namespace {

constexpr double kLeastWork = 5e9;  // a product of some ten microseconds
constexpr int kEngines = 3;         // built for the first size of a family; one for a later size
constexpr int kTimedSizes = 4;      // of a family; beyond, building an engine would cost more than it saves
constexpr int64_t kLine = 256;

int64_t lines(int64_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

bool act_of(Act act, CudnnAct* out) {
  switch (act) {
    case Act::gelu: *out = CudnnAct::gelu; return true;
    case Act::gelu_tanh: *out = CudnnAct::gelu_tanh; return true;
    case Act::silu: *out = CudnnAct::silu; return true;
    case Act::tanh: *out = CudnnAct::tanh; return true;
    case Act::sigmoid: *out = CudnnAct::sigmoid; return true;
    default: return false;
  }
}

struct Race {
  std::once_flag once;
  std::shared_ptr<const CudnnMatmulPlan> plan;  // null: the library won
  std::string how;
};

class FusedGemm final : public Launch {
 public:
  FusedGemm(GemmCall call, const CudnnMatmul& problem, std::unique_ptr<Launch> library, GemmContest contest)
      : call_(std::move(call)),
        problem_(problem),
        contest_(contest),
        device_(current_cuda_device()),
        library_(std::move(library)) {}

  void prepare() override {
    library_->prepare();
    if (contest_ == GemmContest::fused) {
      CudnnMatmulPlans found = cudnn_matmul(problem_, device_, 1);
      KPT_CHECK(!found.plans.empty(), "kernels.gemm", found.verdict.reason);
      plan_ = found.plans[0];
      how_ = "as asked";
      return;
    }
    Race& race = race_of();
    std::call_once(race.once, [&] { decide(race); });
    plan_ = race.plan;
    how_ = race.how;
  }
  size_t workspace_bytes() const override {
    return std::max(library_->workspace_bytes(), plan_ ? plan_->workspace_bytes() : 0);
  }
  std::string config() const override { return cat(plan_ ? plan_->config() : library_->config(), ", ", how_); }
  void run(const RunArgs& args) const override {
    uintptr_t bits = reinterpret_cast<uintptr_t>(args.outputs[0]);
    for (int i : operands()) bits |= reinterpret_cast<uintptr_t>(args.inputs[i]);
    if (!plan_ || bits % 16 != 0) return library_->run(args);
    if (Verdict v = run_fused(*plan_, args); !v) throw_error(ErrorKind::device, "kernels.gemm", v.reason);
  }

 private:
  std::vector<int> operands() const {
    std::vector<int> out{call_.at.x, call_.at.w};
    if (problem_.bias) out.push_back(call_.at.bias);
    if (problem_.residual) out.push_back(call_.at.residual);
    return out;
  }
  Verdict run_fused(const CudnnMatmulPlan& plan, const RunArgs& args) const {
    return plan.run(
        {args.inputs[call_.at.x], args.inputs[call_.at.w], problem_.bias ? args.inputs[call_.at.bias] : nullptr,
         problem_.residual ? args.inputs[call_.at.residual] : nullptr, args.outputs[0], args.workspace},
        static_cast<CUstream>(args.stream));
  }
  Race& race_of() const {
    static std::mutex mutex;
    static std::map<std::pair<int, std::string>, std::unique_ptr<Race>> races;
    const std::lock_guard<std::mutex> lock(mutex);
    auto& slot = races[{device_, problem_.key()}];
    if (!slot) slot = std::make_unique<Race>();
    return *slot;
  }

  void decide(Race& race) const {
    if (Verdict v = cudnn_here(); !v) {
      race.how = v.reason;
      return;
    }
    ChoiceStore& store = ChoiceStore::of("gemm_fused", cudnn_version(), device_);
    const std::string family = problem_.family(), key = problem_.key();
    const auto kept = store.find(family, key);
    const int known = store.count(family);
    if (kept ? kept->words[0] == 0 : known >= kTimedSizes) {
      race.how = kept ? "kept choice over cudnn" : "not timed against cudnn";
      return;
    }
    CudnnMatmulPlans found = kept ? cudnn_matmul_engine(problem_, device_, static_cast<int64_t>(kept->words[0]) - 1)
                                  : cudnn_matmul(problem_, device_, known == 0 ? kEngines : 1);
    if (found.plans.empty()) {
      race.how = found.verdict.reason;
      return;
    }
    if (kept) {
      race.plan = found.plans[0];
      race.how = cat("kept choice of ", kept->microseconds, " us");
      return;
    }
    const std::vector<double> times = time(found.plans);
    const int winner = fastest(times);
    if (winner < 0) {
      race.how = "no memory to time cudnn on";
      return;
    }
    if (winner > 0) race.plan = found.plans[static_cast<size_t>(winner - 1)];
    const uint64_t word = race.plan ? static_cast<uint64_t>(race.plan->index()) + 1 : 0;
    store.add(family, key, {{word}, times[static_cast<size_t>(winner)]});
    race.how = cat("timed: library ", times[0], " us, cudnn");
    for (size_t i = 1; i < times.size(); ++i) race.how += cat(" ", times[i]);
    race.how += " us";
  }

  // Microseconds of the library's way and of each engine, on temporary memory; empty where there is not enough of it.
  std::vector<double> time(const std::vector<std::shared_ptr<const CudnnMatmulPlan>>& plans) const {
    const CudnnMatmul& p = problem_;
    size_t workspace = library_->workspace_bytes();
    for (const auto& plan : plans) workspace = std::max(workspace, plan->workspace_bytes());
    const int64_t size = static_cast<int64_t>(size_of(p.dtype)), y = lines(p.m * p.y_m * size);
    const std::vector<int64_t> bytes = {
        lines(p.m * p.x_m * size), lines((p.w_k == 1 ? p.n * p.w_n : p.k * p.w_k) * size),
        p.bias ? lines(p.n * size) : 0, p.residual ? lines(p.m * p.residual_m * size) : 0};
    int64_t all = y + static_cast<int64_t>(workspace);
    for (int64_t n : bytes) all += n;
    CudaTimer timer;
    CudaScratch scratch(all, timer.stream());
    if (!scratch) return {};
    scratch.fill(0x3c);  // 0.0115 as bf16, 1.06 as f16
    const std::vector<int> indexes = {call_.at.x, call_.at.w, call_.at.bias, call_.at.residual};
    std::vector<const void*> inputs(static_cast<size_t>(*std::max_element(indexes.begin(), indexes.end())) + 1);
    char* at = scratch.data();
    for (size_t i = 0; i < indexes.size(); at += bytes[i++])
      if (indexes[i] >= 0) inputs[static_cast<size_t>(indexes[i])] = at;
    void* output = at;
    const RunArgs args{inputs.data(), &output, at + y, timer.stream()};
    std::vector<CudaTimer::Work> works{[&](int) {
      library_->run(args);
      return true;
    }};
    for (const auto& plan : plans) works.push_back([&](int) { return run_fused(*plan, args).ok; });
    return timer.times(works, false);
  }

  GemmCall call_;
  CudnnMatmul problem_;
  GemmContest contest_;
  int device_;
  std::unique_ptr<Launch> library_;
  std::shared_ptr<const CudnnMatmulPlan> plan_;
  std::string how_;
};

}  // namespace

Verdict cudnn_matmul_problem(const GemmCall& call, CudnnMatmul& out) {
  if (call.dtype != DType::bf16 && call.dtype != DType::f16) return no("got ", call.dtype, ", want bf16 or f16");
  GemmProblem p = call.product;
  fold_batch(p);
  if (p.batch_dims > 0) return no("a batch of products");
  if (p.m < 2 || p.n < 1 || p.k < 1) return no("got ", p.m, " rows and depth ", p.k);
  if (p.alpha != 1 || (p.has_residual && p.beta != 1)) return no("a factor");
  GemmCut cut;
  if (Verdict v = cut_gemm(call, GemmFusion::most, cut); !v) return v;
  if (cut.tail_act == Act::none) return no("no activation is left to do");
  out = {};
  if (!act_of(cut.tail_act, &out.act)) return no("relu: cuDNN's drops NaN");
  if (p.x_k != 1) return no("got x with stride ", p.x_k, " along the depth, want 1");
  if (p.w_k != 1 && p.w_n != 1) return no("got w with strides ", p.w_n, " and ", p.w_k, ", want one of them 1");
  if (p.has_residual && p.residual_n != 1) return no("got a residual with stride ", p.residual_n, ", want 1");
  for (int64_t n : {p.n, p.k, p.x_m, p.w_k == 1 ? p.w_n : p.w_k, p.y_m, p.has_residual ? p.residual_m : 0})
    if (n % 8 != 0) return no("got a size or stride of ", n, ", want multiples of 8");
  out.dtype = call.dtype;
  out.m = p.m, out.n = p.n, out.k = p.k;
  out.x_m = p.x_m, out.w_k = p.w_k, out.w_n = p.w_n, out.y_m = p.y_m;
  out.bias = p.has_bias;
  out.residual = p.has_residual;
  out.residual_m = p.has_residual ? p.residual_m : 0;
  return yes();
}

bool is_large(const CudnnMatmul& problem) {
  return 2.0 * static_cast<double>(problem.m) * static_cast<double>(problem.n) * static_cast<double>(problem.k) >=
         kLeastWork;
}

std::unique_ptr<Launch> make_fused_gemm(GemmCall call, const CudnnMatmul& problem, std::unique_ptr<Launch> library,
                                        GemmContest contest) {
  return std::make_unique<FusedGemm>(std::move(call), problem, std::move(library), contest);
}

}  // namespace kpt

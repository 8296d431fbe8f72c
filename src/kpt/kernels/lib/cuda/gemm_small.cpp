// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_small.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "kpt/cuda/choices.h"
#include "kpt/cuda/cublaslt.h"
#include "kpt/cuda/timing.h"
#include "kpt/kernels/lib/cuda/gemm_skinny.h"

namespace kpt {
namespace {

constexpr int64_t kFewest = 17, kMost = 256;  // rows of x
constexpr int kColumns = 64, kDepth = 64, kStages = 4, kMostSplit = 8;
constexpr int64_t kLeastDepth = 128;  // of a block
constexpr int kTimedShapes = 4;       // of a family
constexpr int64_t kLine = 256;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t lines(int64_t bytes) { return ceil_div(bytes, kLine) * kLine; }

GemmProblem folded(const GemmCall& call) {
  GemmProblem p = call.product;
  fold_batch(p);
  return p;
}

int64_t w_rows_of(const GemmProblem& p, bool w_rows) { return w_rows ? p.n : p.k; }

}  // namespace

Verdict small_gemm(const GemmCall& call, const GpuTraits& gpu, int rows, SmallGemm& out) {
  const GemmProblem p = folded(call);
  if (call.dtype != DType::bf16 && call.dtype != DType::f16) return no("got ", call.dtype, ", want bf16 or f16");
  if (gpu.arch != 0 && gpu.arch < 80) return no("got compute capability ", gpu.arch, ", want 80 or newer");
  if (p.batch_dims > 0) return no("a batch of products");
  if (p.m < kFewest || p.m > kMost) return no("got ", p.m, " rows, want ", kFewest, " to ", kMost);
  if (p.alpha != 1) return no("a factor");
  if (p.x_k != 1) return no("got x with stride ", p.x_k, " along the depth, want 1");
  if (p.w_k != 1 && p.w_n != 1) return no("got w with strides ", p.w_n, " and ", p.w_k, ", want one of them 1");
  if (p.has_residual && p.residual_n != 1) return no("got a residual with stride ", p.residual_n, ", want 1");
  out = {};
  out.call = call;
  out.w_rows = p.w_k == 1;
  const int64_t w_step = out.w_rows ? p.w_n : p.w_k;
  for (int64_t n : {p.n, p.k, p.x_m, w_step, p.y_m, p.has_residual ? p.residual_m : 0})
    if (n % 8 != 0) return no("got a size or stride of ", n, ", want multiples of 8");
  if (p.n * p.k < (1 << 16) || p.n > (1 << 24) || p.k > (1 << 24)) return no("got n ", p.n, " k ", p.k);
  out.rows = rows;
  SmallGemmArguments& a = out.arguments;
  a.x_m = p.x_m * 2, a.w_step = w_step * 2, a.y_m = p.y_m * 2, a.residual_m = p.residual_m * 2;
  a.m = static_cast<int>(p.m), a.n = static_cast<int>(p.n), a.k = static_cast<int>(p.k);
  a.tiles_m = static_cast<int>(ceil_div(p.m, rows));
  a.act = static_cast<int>(p.act);
  a.beta = static_cast<float>(p.beta);
  out.tiles = a.tiles_m * static_cast<int>(ceil_div(p.n, kColumns));
  // About one block a multiprocessor.
  const bool clusters = gpu.arch >= 90;
  while (clusters && out.split < kMostSplit && out.tiles * out.split * 10 < gpu.multiprocessors * 9 &&
         p.k / (out.split * 2) >= kLeastDepth)
    out.split *= 2;
  a.k_part = static_cast<int>(ceil_div(ceil_div(p.k, out.split), kDepth) * kDepth);
  return yes();
}

CudaWork plan_small_gemm(const SmallGemm& g) {
  CudaCall call;
  call.program = {"lib/cuda/gemm_small.cu",
                  cuda_text("lib/cuda/gemm_small.cu"),
                  {cat("ELEM=", cuda_type(g.call.dtype)), cat("BM=", g.rows), cat("BN=", kColumns),
                   cat("STAGES=", kStages), cat("SPLIT=", g.split), cat("W_ROWS=", g.w_rows ? 1 : 0)},
                  "gemm_small"};
  const int64_t pitch = kDepth * 2 + 16, stage = (g.rows + kColumns) * pitch;
  call.shape.grid[0] = static_cast<uint32_t>(g.tiles * g.split);
  call.shape.block[0] = static_cast<uint32_t>(g.rows / 32 * (kColumns / 32) * 32);
  call.shape.shared_bytes = static_cast<uint32_t>(std::max<int64_t>(kStages * stage, 4 * g.rows * (kColumns + 4)));
  call.shape.overlap = true;
  const GemmOperands& at = g.call.at;
  const auto operand = [](int index) { return index < 0 ? null_param() : in_param(index); };
  call.params = {in_param(at.x),
                 in_param(at.w),
                 operand(g.call.product.has_bias ? at.bias : -1),
                 operand(g.call.product.has_residual ? at.residual : -1),
                 out_param(0),
                 value_param(g.arguments)};
  CudaWork work;
  work.config = cat("tile ", g.rows, "x", kColumns, ", blocks ", g.tiles, " x ", g.split);
  work.calls.push_back(std::move(call));
  return work;
}

namespace {

// Ways: 0 the library; 1 and 2 gemm_small.cu with tiles of 64 and 128 rows; for up to 16 rows 1, 2 and 3 gemm_skinny.cu
// with 1, 2 and 4 tiles.
constexpr int kWays = 4;

bool is_skinny(const GemmCall& call, const GpuTraits& gpu) {
  SkinnyGemm g;
  return static_cast<bool>(skinny_gemm(call, gpu, 1, g));
}

struct Race {
  std::once_flag once;
  int winner = 0;
  std::string how;
};

class RacedGemm final : public Launch {
 public:
  RacedGemm(GemmCall call, const GpuTraits& gpu, std::unique_ptr<Launch> library)
      : call_(std::move(call)), device_(current_cuda_device()), library_(std::move(library)) {
    SkinnyGemm skinny;
    for (int way = 1; way < kWays; ++way)
      if (skinny_gemm(call_, gpu, 1 << (way - 1), skinny)) work_[way] = plan_skinny_gemm(skinny);
    if (!work_[1].calls.empty()) return;
    SmallGemm g;
    for (int way = 1; way < 3; ++way) {
      if (way == 2 && folded(call_).m <= 64) break;
      if (!small_gemm(call_, gpu, 64 * way, g)) break;
      work_[way] = plan_small_gemm(g);
    }
  }

  void prepare() override {
    library_->prepare();
    Race& race = race_of(key());
    std::call_once(race.once, [&] { decide(race); });
    how_ = race.how;
    if (race.winner == 0) return;
    config_ = work_[race.winner].config;
    own_ = make_cuda_launch(std::move(work_[race.winner]));
    own_->prepare();
  }
  size_t workspace_bytes() const override { return library_->workspace_bytes(); }
  std::string config() const override { return cat(own_ ? config_ : library_->config(), ", ", how_); }
  void run(const RunArgs& args) const override {
    uintptr_t bits = reinterpret_cast<uintptr_t>(args.outputs[0]);
    const GemmProblem& p = call_.product;
    for (int i : {call_.at.x, call_.at.w, p.has_bias ? call_.at.bias : -1, p.has_residual ? call_.at.residual : -1})
      if (i >= 0) bits |= reinterpret_cast<uintptr_t>(args.inputs[i]);
    (own_ && bits % 16 == 0 ? own_ : library_)->run(args);
  }

 private:
  std::string family() const {
    const GemmProblem p = folded(call_);
    return cat(call_.dtype, " n", p.n, " k", p.k, " w ", p.w_n, ",", p.w_k, " act ", static_cast<int>(p.act),
               p.has_bias ? " bias" : "", p.has_residual ? " residual" : "", p.m < kFewest ? " few" : "");
  }
  std::string key() const {
    const GemmProblem p = folded(call_);
    return cat(family(), " m", p.m, " x ", p.x_m, " y ", p.y_m, " r ", p.residual_m);
  }

  Race& race_of(const std::string& name) const {
    static std::mutex mutex;
    static std::map<std::pair<int, std::string>, std::unique_ptr<Race>> races;
    const std::lock_guard<std::mutex> lock(mutex);
    auto& slot = races[{device_, name}];
    if (!slot) slot = std::make_unique<Race>();
    return *slot;
  }
  // The winner of the family's last race, -1 before the first.
  int& last_winner() const {
    static std::map<std::pair<int, std::string>, int> winners;
    return winners.try_emplace({device_, family()}, -1).first->second;
  }

  void decide(Race& race) {
    static std::mutex mutex;
    ChoiceStore& store = ChoiceStore::of("gemm_small", cublaslt_version(), device_);
    if (const auto kept = store.find(family(), key()); kept && kept->words[0] < kWays) {
      race.winner = static_cast<int>(kept->words[0]);
      race.how = cat("kept choice of ", kept->microseconds, " us");
    } else {
      const std::lock_guard<std::mutex> lock(mutex);
      int& last = last_winner();
      if (last >= 0 && store.count(family()) >= kTimedShapes) {
        race.winner = last;
        race.how = "as for another size";
      } else if (time(race, store)) {
        last = race.winner;
      }
    }
    if (race.winner > 0 && work_[race.winner].calls.empty()) race.winner = 0;
  }

  // Weights take turns in memory that outsizes the L2 cache, as they do in a model.
  bool time(Race& race, ChoiceStore& store) {
    const GemmProblem p = folded(call_);
    const int64_t w_bytes = lines(2 * (w_rows_of(p, p.w_k == 1) * (p.w_k == 1 ? p.w_n : p.w_k)));
    const int64_t x = lines(2 * p.m * p.x_m), y = lines(2 * p.m * p.y_m), bias = lines(2 * p.n),
                  residual = p.has_residual ? lines(2 * p.m * p.residual_m) : 0;
    const int64_t turns = std::clamp<int64_t>((int64_t{96} << 20) / w_bytes, 1, 16);
    CudaTimer timer;
    CudaScratch scratch(
        turns * w_bytes + x + y + bias + residual + kLine + static_cast<int64_t>(library_->workspace_bytes()),
        timer.stream());
    if (!scratch) {
      race.how = "no memory to time on";
      return false;
    }
    scratch.fill(0x3c);
    char* const at = scratch.data();
    char* const rest = at + turns * w_bytes;
    std::vector<std::unique_ptr<Launch>> own;
    for (int way = 1; way < kWays; ++way) {
      if (work_[way].calls.empty()) break;
      own.push_back(make_cuda_launch(work_[way]));
      own.back()->prepare();
    }
    std::vector<CudaTimer::Work> works;
    for (int way = 0; way <= static_cast<int>(own.size()); ++way) {
      const Launch* launch = way == 0 ? library_.get() : own[static_cast<size_t>(way - 1)].get();
      works.push_back([=, this, &timer](int turn) {
        const void* inputs[8] = {};
        inputs[call_.at.x] = rest;
        inputs[call_.at.w] = at + turn % turns * w_bytes;
        if (call_.at.bias >= 0) inputs[call_.at.bias] = rest + x + y;
        if (call_.at.residual >= 0) inputs[call_.at.residual] = rest + x + y + bias;
        void* output = rest + x;
        launch->run({inputs, &output, rest + x + y + bias + residual, timer.stream()});
        return true;
      });
    }
    const std::vector<double> times = timer.times(works, false);
    race.winner = std::max(0, fastest(times));
    race.how = "timed:";
    for (double t : times) race.how += cat(" ", t);
    race.how += " us";
    store.add(family(), key(), {{static_cast<uint64_t>(race.winner)}, times[static_cast<size_t>(race.winner)]});
    return true;
  }

  GemmCall call_;
  int device_;
  std::unique_ptr<Launch> library_, own_;
  CudaWork work_[kWays];
  std::string config_, how_;
};

}  // namespace

bool races(const GemmCall& call, const GpuTraits& gpu) {
  SmallGemm g;
  return is_skinny(call, gpu) || small_gemm(call, gpu, 64, g);
}

std::unique_ptr<Launch> make_raced_gemm(GemmCall call, const GpuTraits& gpu, std::unique_ptr<Launch> library) {
  return std::make_unique<RacedGemm>(std::move(call), gpu, std::move(library));
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_race.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "kpt/cuda/choices.h"
#include "kpt/cuda/cublaslt.h"
#include "kpt/cuda/once.h"
#include "kpt/cuda/timing.h"
#include "kpt/kernels/lib/cuda/gemm_skinny.h"

namespace kpt {
namespace {

constexpr int kTimedShapes = 4;  // of a family
constexpr int64_t kLine = 256;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t lines(int64_t bytes) { return ceil_div(bytes, kLine) * kLine; }

GemmProblem folded(const GemmCall& call) {
  GemmProblem p = call.product;
  fold_batch(p);
  return p;
}

// Ways: 0 the library; 1, 2 and 3 gemm_skinny.cu with 1, 2 and 4 tiles.
constexpr int kWays = 4;

struct Race {
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
  }

  void prepare() override {
    library_->prepare();
    static OncePerKey<Race> races;
    const Race& race = races.get(device_, key(), [&] { return decide(); });
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
               p.has_bias ? " bias" : "", p.has_residual ? " residual" : "");
  }
  std::string key() const {
    const GemmProblem p = folded(call_);
    return cat(family(), " m", p.m, " x ", p.x_m, " y ", p.y_m, " r ", p.residual_m);
  }

  // The winner of the family's last race, -1 before the first.
  int& last_winner() const {
    static std::map<std::pair<int, std::string>, int> winners;
    return winners.try_emplace({device_, family()}, -1).first->second;
  }

  Race decide() {
    static std::mutex mutex;
    Race race;
    ChoiceStore& store = ChoiceStore::of("gemm_skinny", cublaslt_version(), device_);
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
    return race;
  }

  // Weights take turns in memory that outsizes the L2 cache, as they do in a model.
  bool time(Race& race, ChoiceStore& store) {
    const GemmProblem p = folded(call_);
    const int64_t w_bytes = lines(2 * p.n * p.w_n);
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
  SkinnyGemm g;
  return static_cast<bool>(skinny_gemm(call, gpu, 1, g));
}

std::unique_ptr<Launch> make_raced_gemm(GemmCall call, const GpuTraits& gpu, std::unique_ptr<Launch> library) {
  return std::make_unique<RacedGemm>(std::move(call), gpu, std::move(library));
}

}  // namespace kpt

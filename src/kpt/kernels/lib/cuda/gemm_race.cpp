// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_race.h"

#include <algorithm>

#include "kpt/cuda/choices.h"
#include "kpt/cuda/cublaslt.h"
#include "kpt/cuda/once.h"
#include "kpt/cuda/timing.h"
#include "kpt/kernels/lib/cuda/gemm_narrow.h"
#include "kpt/kernels/lib/cuda/gemm_skinny.h"
#include "kpt/kernels/lib/cuda/gemm_wide.h"

namespace kpt {
namespace {

constexpr int64_t kLine = 256;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t lines(int64_t bytes) { return ceil_div(bytes, kLine) * kLine; }

GemmProblem folded(const GemmCall& call) {
  GemmProblem p = call.product;
  fold_batch(p);
  return p;
}

// Ways of doing a product: gemm_skinny.cu (up to 16 rows) with 1, 2 and 4 tiles, cuts of gemm_narrow.cu, gemm_wide.cu.
enum class Kind : uint8_t { library, skinny, narrow, wide };
struct Way {
  Kind kind;
  CudaWork work;
};

// Beside a library's kernel, one of ours lets the next kernel begin early: a next product finds its weights fetched.
// Five small products, each in a row of its own, took 0, 0.9, 1.2, 1.8 and 1.8 us less for that on an H200; what a norm
// or attention gains behind one was not measured, so less than the median counts.
constexpr double kNextBeginsEarly = 0.8;

std::vector<Way> own_ways(const GemmCall& call, const GpuTraits& gpu) {
  std::vector<Way> ways;
  SkinnyGemm skinny;
  for (int tiles : {1, 2, 4})
    if (skinny_gemm(call, gpu, tiles, skinny)) ways.push_back({Kind::skinny, plan_skinny_gemm(skinny)});
  for (const NarrowGemm& narrow : narrow_gemms(call, gpu)) ways.push_back({Kind::narrow, plan_narrow_gemm(narrow)});
  WideGemm wide;
  if (wide_gemm(call, gpu, wide)) ways.push_back({Kind::wide, plan_wide_gemm(wide)});
  if (wide.arguments.classes > 1 && wide_gemm(call, gpu, wide, false))
    ways.push_back({Kind::wide, plan_wide_gemm(wide)});
  return ways;
}

struct Race {
  size_t winner = 0;  // 0: the library; from 1 on our ways
  std::string how;
};

class RacedGemm final : public Launch {
 public:
  RacedGemm(GemmCall call, const GpuTraits& gpu, std::unique_ptr<Launch> library)
      : call_(std::move(call)),
        device_(current_cuda_device()),
        library_(std::move(library)),
        ways_(own_ways(call_, gpu)) {}

  void prepare(Effort effort) override {
    if (effort == Effort::timed) compile_ways();
    library_->prepare(effort);
    static OncePerKey<Race> timed, known;
    const std::string name = key();
    const Race* race = effort == Effort::known ? timed.find(device_, name) : nullptr;
    if (!race) race = &(effort == Effort::timed ? timed : known).get(device_, name, [&] { return decide(effort); });
    how_ = race->how;
    if (race->winner == 0) return;
    config_ = ways_[race->winner - 1].work.config;
    own_ = make_cuda_launch(std::move(ways_[race->winner - 1].work));
    own_->prepare(effort);
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
    std::string out = cat(family(), " m", p.m, " x ", p.x_m, " y ", p.y_m, " r ", p.residual_m);
    for (const Way& way : ways_) out += cat(" | ", way.work.config);  // a kept number means these
    return out;
  }

  // Side by side what the race would compile one after the other; of narrow ways every cut, since cuts go by size and a
  // new length must find all of them compiled.
  void compile_ways() const {
    std::vector<CudaProgram> programs;
    for (const Way& way : ways_)
      for (const CudaCall& call : way.work.calls) programs.push_back(call.program);
    if (std::any_of(ways_.begin(), ways_.end(), [](const Way& way) { return way.kind == Kind::narrow; }))
      for (CudaProgram& cut : narrow_programs(call_)) programs.push_back(std::move(cut));
    cuda_functions(programs, device_);
  }

  // The way at this size that is most like what won at another: of narrow cuts the best one comes first.
  size_t like(const ChoiceStore::Choice& other) const {
    const auto kind = static_cast<Kind>(other.words[1]);
    if (kind == Kind::skinny && other.words[0] <= ways_.size() && ways_[other.words[0] - 1].kind == kind)
      return other.words[0];
    for (size_t way = 0; way < ways_.size() && kind != Kind::library; ++way)
      if (ways_[way].kind == kind) return way + 1;
    return 0;
  }

  bool compiled(const Way& way) const {
    return std::all_of(way.work.calls.begin(), way.work.calls.end(),
                       [this](const CudaCall& call) { return cuda_function_compiled(call.program, device_); });
  }

  Race decide(Effort effort) {
    Race race;
    ChoiceStore& store = ChoiceStore::of("gemm_race", cublaslt_version(), device_);
    if (const auto kept = store.find(family(), key()); kept && kept->words[0] <= ways_.size()) {
      race.winner = kept->words[0];
      race.how = cat("kept choice of ", kept->microseconds, " us");
    } else if (effort == Effort::timed) {
      time(race, store);
    } else if (const auto other = store.nearest(family(), folded(call_).m)) {
      race.winner = like(*other);
      race.how = cat("as for ", other->size, " rows");
      if (race.winner > 0 && !compiled(ways_[race.winner - 1])) {  // no call waits for a compiler
        race.winner = 0;
        race.how = "the kernel for this size is not compiled";
      }
    } else {
      race.how = "no near size was timed";
    }
    return race;
  }

  // Weights take turns in memory that outsizes the L2 cache, as they do in a model.
  void time(Race& race, ChoiceStore& store) {
    const GemmProblem p = folded(call_);
    const int64_t w_bytes = lines(2 * (p.w_k == 1 ? p.n * p.w_n : p.k * p.w_k));
    const int64_t x = lines(2 * p.m * p.x_m), y = lines(2 * p.m * p.y_m), bias = lines(2 * p.n),
                  residual = p.has_residual ? lines(2 * p.m * p.residual_m) : 0;
    const int64_t turns = std::clamp<int64_t>((int64_t{96} << 20) / w_bytes, 1, 16);
    CudaTimer timer;
    CudaScratch scratch(
        turns * w_bytes + x + y + bias + residual + kLine + static_cast<int64_t>(library_->workspace_bytes()),
        timer.stream());
    if (!scratch) {
      race.how = "no memory to time on";
      return;
    }
    scratch.fill_normal();
    char* const at = scratch.data();
    char* const rest = at + turns * w_bytes;
    std::vector<std::unique_ptr<Launch>> own;
    for (const Way& way : ways_) {
      own.push_back(make_cuda_launch(way.work));
      own.back()->prepare(Effort::timed);
    }
    std::vector<CudaTimer::Work> works;
    for (size_t way = 0; way <= own.size(); ++way) {
      const Launch* launch = way == 0 ? library_.get() : own[way - 1].get();
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
    std::vector<double> counted = times;
    bool early = false;
    for (size_t way = 0; way < ways_.size(); ++way)
      if (ways_[way].kind == Kind::narrow) early = true, counted[way + 1] -= kNextBeginsEarly;
    race.winner = static_cast<size_t>(std::max(0, fastest(counted)));
    race.how = "timed:";
    for (double t : times) race.how += cat(" ", t);
    race.how += early ? cat(" us, narrow counted ", kNextBeginsEarly, " us less") : " us";
    const Kind kind = race.winner == 0 ? Kind::library : ways_[race.winner - 1].kind;
    store.add(family(), key(), {{race.winner, static_cast<uint64_t>(kind)}, times[race.winner], p.m});
  }

  GemmCall call_;
  int device_;
  std::unique_ptr<Launch> library_, own_;
  std::vector<Way> ways_;
  std::string config_, how_;
};

}  // namespace

bool races(const GemmCall& call, const GpuTraits& gpu) { return !own_ways(call, gpu).empty(); }

std::unique_ptr<Launch> make_raced_gemm(GemmCall call, const GpuTraits& gpu, std::unique_ptr<Launch> library) {
  return std::make_unique<RacedGemm>(std::move(call), gpu, std::move(library));
}

}  // namespace kpt

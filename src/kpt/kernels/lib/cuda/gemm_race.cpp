// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_race.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>

#include "kpt/cuda/choices.h"
#include "kpt/cuda/cublaslt.h"
#include "kpt/cuda/once.h"
#include "kpt/cuda/timing.h"
#include "kpt/kernels/lib/cuda/gemm_skinny.h"

namespace kpt {
namespace {

constexpr int kTimedShapes = 4;  // of a family
constexpr int64_t kLine = 256;
// A tail kernel finds y in the L2 cache (50 MB on an H200) where the product wrote no more than this just before it.
constexpr int64_t kPieceBytes = int64_t{17} << 20;
constexpr int64_t kCachedBytes = int64_t{24} << 20;  // of y: below, it is there anyway
constexpr int64_t kTileRows = 256;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t lines(int64_t bytes) { return ceil_div(bytes, kLine) * kLine; }

GemmProblem folded(const GemmCall& call) {
  GemmProblem p = call.product;
  fold_batch(p);
  return p;
}

struct Race {
  size_t winner = 0;
  std::string how;
};

// Way 0 is the library's whole product, which also runs what starts off 16 bytes.
class RacedGemm final : public Launch {
 public:
  RacedGemm(GemmCall call, const char* name, std::vector<std::unique_ptr<Launch>> ways)
      : call_(std::move(call)), name_(name), device_(current_cuda_device()), ways_(std::move(ways)) {}

  void prepare() override {
    ways_[0]->prepare();
    static OncePerKey<Race> races;
    const Race& race = races.get(device_, cat(name_, " ", key()), [&] { return decide(); });
    how_ = race.how;
    if (race.winner > 0) {
      own_ = std::move(ways_[race.winner]);
      own_->prepare();
    }
    ways_.resize(1);
  }
  size_t workspace_bytes() const override {
    return std::max(ways_[0]->workspace_bytes(), own_ ? own_->workspace_bytes() : 0);
  }
  std::string config() const override { return cat((own_ ? own_ : ways_[0])->config(), ", ", how_); }
  void run(const RunArgs& args) const override {
    uintptr_t bits = reinterpret_cast<uintptr_t>(args.outputs[0]);
    const GemmProblem& p = call_.product;
    for (int i : {call_.at.x, call_.at.w, p.has_bias ? call_.at.bias : -1, p.has_residual ? call_.at.residual : -1})
      if (i >= 0) bits |= reinterpret_cast<uintptr_t>(args.inputs[i]);
    (own_ && bits % 16 == 0 ? own_ : ways_[0])->run(args);
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

  // The winner of the family's last race; none before the first.
  std::optional<size_t>& last_winner() const {
    static std::map<std::pair<int, std::string>, std::optional<size_t>> winners;
    return winners[{device_, cat(name_, " ", family())}];
  }

  Race decide() {
    static std::mutex mutex;
    Race race;
    ChoiceStore& store = ChoiceStore::of(name_, cublaslt_version(), device_);
    if (const auto kept = store.find(family(), key()); kept && kept->words[0] < ways_.size()) {
      race.winner = static_cast<size_t>(kept->words[0]);
      race.how = cat("kept choice of ", kept->microseconds, " us");
      return race;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    auto& last = last_winner();
    if (last && store.count(family()) >= kTimedShapes) {
      race.winner = std::min(*last, ways_.size() - 1);
      race.how = "as for another size";
    } else if (time(race, store)) {
      last = race.winner;
    }
    return race;
  }

  // Weights take turns in memory that outsizes the L2 cache, as they do in a model.
  bool time(Race& race, ChoiceStore& store) {
    const GemmProblem p = folded(call_);
    const int64_t w_bytes = lines(2 * p.n * p.w_n);
    const int64_t x = lines(2 * p.m * p.x_m), y = lines(2 * p.m * p.y_m), bias = lines(2 * p.n),
                  residual = p.has_residual ? lines(2 * p.m * p.residual_m) : 0;
    const int64_t turns = std::clamp<int64_t>((int64_t{96} << 20) / w_bytes, 1, 16);
    size_t workspace = 0;
    for (const auto& way : ways_) {
      way->prepare();
      workspace = std::max(workspace, way->workspace_bytes());
    }
    CudaTimer timer;
    CudaScratch scratch(turns * w_bytes + x + y + bias + residual + kLine + static_cast<int64_t>(workspace),
                        timer.stream());
    if (!scratch) {
      race.how = "no memory to time on";
      return false;
    }
    scratch.fill(0x3c);
    char* const at = scratch.data();
    char* const rest = at + turns * w_bytes;
    std::vector<CudaTimer::Work> works;
    for (const auto& way : ways_)
      works.push_back([=, this, &timer, launch = way.get()](int turn) {
        const void* inputs[8] = {};
        inputs[call_.at.x] = rest;
        inputs[call_.at.w] = at + turn % turns * w_bytes;
        if (call_.at.bias >= 0) inputs[call_.at.bias] = rest + x + y;
        if (call_.at.residual >= 0) inputs[call_.at.residual] = rest + x + y + bias;
        void* output = rest + x;
        launch->run({inputs, &output, rest + x + y + bias + residual, timer.stream()});
        return true;
      });
    const std::vector<double> times = timer.times(works, false);
    race.winner = static_cast<size_t>(std::max(0, fastest(times)));
    race.how = "timed:";
    for (double t : times) race.how += cat(" ", t);
    race.how += " us";
    store.add(family(), key(), {{race.winner}, times[race.winner]});
    return true;
  }

  GemmCall call_;
  const char* name_;
  int device_;
  std::vector<std::unique_ptr<Launch>> ways_;
  std::unique_ptr<Launch> own_;
  std::string how_;
};

// The rows of the product piece by piece, each by a launch for its size.
class GemmInPieces final : public Launch {
 public:
  GemmInPieces(const GemmCall& call, int64_t rows, const MakeGemm& make) : at_(call.at), rows_(rows) {
    const GemmProblem p = folded(call);
    size_ = static_cast<int64_t>(size_of(call.dtype));
    x_row_ = p.x_m * size_;
    y_row_ = p.y_m * size_;
    whole_ = p.m / rows;
    GemmCall part = call;
    part.product = p;
    part.product.m = rows;
    piece_ = make(part);
    part.product.m = p.m % rows;
    if (part.product.m > 0) rest_ = make(part);
  }
  void prepare() override {
    piece_->prepare();
    if (rest_) rest_->prepare();
  }
  size_t workspace_bytes() const override {
    return std::max(piece_->workspace_bytes(), rest_ ? rest_->workspace_bytes() : 0);
  }
  std::string config() const override { return cat(piece_->config(), ", pieces of ", rows_, " rows"); }
  void run(const RunArgs& args) const override {
    const int count = std::max({at_.x, at_.w, at_.bias, at_.residual}) + 1;
    std::vector<const void*> inputs(args.inputs, args.inputs + count);
    for (int64_t i = 0; i < whole_ + (rest_ ? 1 : 0); ++i) {
      inputs[static_cast<size_t>(at_.x)] = static_cast<const char*>(args.inputs[at_.x]) + i * rows_ * x_row_;
      void* y = static_cast<char*>(args.outputs[0]) + i * rows_ * y_row_;
      (i < whole_ ? piece_ : rest_)->run({inputs.data(), &y, args.workspace, args.stream});
    }
  }

 private:
  GemmOperands at_;
  int64_t rows_, size_ = 0, x_row_ = 0, y_row_ = 0, whole_ = 0;
  std::unique_ptr<Launch> piece_, rest_;
};

}  // namespace

std::vector<int64_t> tail_pieces(const GemmCall& call) {
  GemmCut cut;
  const GemmProblem p = folded(call);
  if (p.batch_dims > 0 || p.has_residual || !cut_gemm(call, GemmFusion::most, cut) || !cut.has_tail()) return {};
  const int64_t bytes = p.m * p.n * static_cast<int64_t>(size_of(call.dtype));
  std::vector<int64_t> rows;
  for (int64_t most : {kPieceBytes, 2 * kPieceBytes}) {
    const int64_t count = ceil_div(bytes, most), each = ceil_div(ceil_div(p.m, count), kTileRows) * kTileRows;
    if (bytes > kCachedBytes && each < p.m && (rows.empty() || rows.back() != each)) rows.push_back(each);
  }
  return rows;
}

std::unique_ptr<Launch> gemm_in_pieces(const GemmCall& call, int64_t rows, const MakeGemm& make) {
  return std::make_unique<GemmInPieces>(call, rows, make);
}

std::unique_ptr<Launch> race_gemm(const GemmCall& call, const GpuTraits& gpu, std::unique_ptr<Launch> library,
                                  const MakeGemm& make) {
  std::vector<std::unique_ptr<Launch>> ways;
  ways.push_back(std::move(library));
  SkinnyGemm skinny;
  for (int tiles : {1, 2, 4})
    if (skinny_gemm(call, gpu, tiles, skinny)) ways.push_back(make_cuda_launch(plan_skinny_gemm(skinny)));
  const bool few_rows = ways.size() > 1;
  if (!few_rows)
    for (int64_t rows : tail_pieces(call)) ways.push_back(gemm_in_pieces(call, rows, make));
  if (ways.size() == 1) return std::move(ways[0]);
  return std::make_unique<RacedGemm>(call, few_rows ? "gemm_skinny" : "gemm_pieces", std::move(ways));
}

}  // namespace kpt

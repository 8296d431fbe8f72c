// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_padded.h"

#include <algorithm>
#include <limits>

namespace kpt {
namespace {

constexpr int64_t kLine = 128;                       // bytes that padded rows are multiples of
constexpr int64_t kLeastOutputs = int64_t{1} << 18;  // below, a call of the library is quicker than two kernels
constexpr int64_t kChunkBytes = int64_t{24} << 20;   // half of an H200's L2 cache
constexpr int64_t kLeastRows = 256;                  // as many fill its multiprocessors

int64_t lines(int64_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

class PaddedLaunch final : public Launch {
 public:
  PaddedLaunch(PaddedGemm padded, std::unique_ptr<Launch> any_address)
      : p_(std::move(padded)), device_(current_cuda_device()), any_address_(std::move(any_address)) {
    KPT_ASSERT(device_ >= 0, "kernels.gemm", "no CUDA context is current");
  }
  void prepare(Effort effort) override {
    const GemmEffort chosen = effort == Effort::timed ? GemmEffort::timed : GemmEffort::known;
    chunk_ = plan(p_.of(p_.chunk), chosen);
    if (const int64_t rest = p_.whole.m % p_.chunk) rest_ = plan(p_.of(rest), chosen);
    if (p_.has_edge()) edge_ = plan(p_.edge(), chosen);
    any_address_->prepare(effort);
    for (int64_t row = 0; row < p_.whole.m; row += p_.chunk) {
      copies_.push_back(make_cuda_launch(plan_unpad(p_, row, std::min(p_.chunk, p_.whole.m - row))));
      copies_.back()->prepare(effort);
    }
  }
  size_t workspace_bytes() const override {
    size_t most = 0;
    for (const auto& plan : {chunk_, rest_, edge_})
      if (plan) most = std::max(most, plan->workspace_bytes());
    return std::max(static_cast<size_t>(p_.bytes()) + most, any_address_->workspace_bytes());
  }
  std::string config() const override {
    return cat(chunk_->config(), ", rows padded to ", p_.ld, ", ", copies_.size(), " x ", p_.chunk,
               edge_ ? cat(", edge ", edge_->config()) : "");
  }
  void run(const RunArgs& args) const override {
    const auto size = static_cast<int64_t>(size_of(p_.whole.dtype));
    const GemmOperands& of = p_.whole.at;
    const GemmItem& item = p_.whole.items[0];
    const auto input = [&](int i) { return static_cast<const char*>(args.inputs[i]); };
    const char* const w = input(of.w) + item.w * size;
    const char* const x = input(of.x) + item.x * size;
    const char* const bias = p_.whole.gemm.has_bias ? input(of.bias) : nullptr;
    const auto bits =
        reinterpret_cast<uintptr_t>(w) | reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(bias);
    if (bits % static_cast<uintptr_t>(p_.whole.gemm.alignment) != 0) return any_address_->run(args);
    char* const rows = static_cast<char*>(args.workspace);
    const auto stream = static_cast<CUstream>(args.stream);
    if (edge_) {
      const int64_t row = p_.whole.n - p_.edge_columns();
      edge_->run({w + row * p_.whole.gemm.lda * size, x, nullptr, nullptr, rows + p_.edge_offset(), rows + p_.bytes()},
                 stream);
    }
    for (size_t c = 0; c < copies_.size(); ++c) {
      const int64_t first = static_cast<int64_t>(c) * p_.chunk;
      const CudaGemmPlan& plan = first + p_.chunk <= p_.whole.m ? *chunk_ : *rest_;
      plan.run({w, x + first * p_.x_m * size, nullptr, bias, rows, rows + p_.bytes()}, stream);
      copies_[c]->run(args);
    }
  }

 private:
  std::shared_ptr<const CudaGemmPlan> plan(const CudaGemm& gemm, GemmEffort effort) const {
    CudaGemmChoice choice = cuda_gemm(gemm, device_, effort);
    if (!choice.plan) throw_error(ErrorKind::unsupported, "kernels.gemm", choice.verdict.reason);
    return choice.plan;
  }

  PaddedGemm p_;
  int device_;
  std::shared_ptr<const CudaGemmPlan> chunk_, rest_, edge_;
  std::unique_ptr<Launch> any_address_;
  std::vector<std::unique_ptr<Launch>> copies_;
};

}  // namespace

CudaGemm PaddedGemm::of(int64_t rows) const {
  CudaGemm gemm = whole.gemm;
  gemm.rows = main;
  gemm.columns = rows;
  gemm.ldd = ld;
  if (rows == 1 && !gemm.b_transposed) gemm.ldb = gemm.depth;
  return gemm;
}

CudaGemm PaddedGemm::edge() const {
  CudaGemm gemm = whole.gemm;
  gemm.rows = gemm.ldd = edge_columns();
  gemm.has_bias = false;
  gemm.tail = GemmTail::none;
  return gemm;
}

int64_t PaddedGemm::edge_offset() const { return chunk * ld * static_cast<int64_t>(size_of(whole.dtype)); }
int64_t PaddedGemm::bytes() const { return edge_offset() + (has_edge() ? lines(whole.m * 16) : 0); }

bool pad_gemm(const GemmCall& call, PaddedGemm& out) {
  out = {};
  GemmProblem p = call.product;
  fold_batch(p);
  const auto size = static_cast<int64_t>(size_of(call.dtype));
  if (p.batch_dims > 0 || p.has_residual || p.k == 0 || p.m < 2 || p.n * size % 16 == 0 || p.m * p.n < kLeastOutputs ||
      p.y_m != p.n)
    return false;
  if (!cut_gemm(call, GemmFusion::most, out.whole) || out.whole.items.size() != 1 || out.whole.gemm.batch != 1)
    return false;
  out.ld = lines(p.n * size) / size;
  // Chunks begin on 16 bytes of y and of x.
  const int64_t fit = std::max(kChunkBytes / (out.ld * size), kLeastRows) / 8 * 8;
  out.chunk = std::min(p.m, fit);
  out.x_m = p.x_m;
  out.act = p.act;
  const CudaGemm& gemm = out.whole.gemm;
  const bool reachable = gemm.a_transposed && gemm.lda * size % 16 == 0 && p.n >= out.edge_columns();
  out.main = reachable ? p.n / out.edge_columns() * out.edge_columns() : p.n;
  return out.chunk * out.ld <= std::numeric_limits<int32_t>::max();  // gemm_unpad.cu counts in 32 bits
}

CudaWork plan_unpad(const PaddedGemm& padded, int64_t first, int64_t rows) {
  const GemmCut& cut = padded.whole;
  const auto size = static_cast<int64_t>(size_of(cut.dtype));
  const int64_t count = rows * cut.n, vectors = (count * size + 15) / 16;
  CudaCall call;
  call.program = {"lib/cuda/gemm_unpad.cu",
                  cuda_text("lib/cuda/gemm_unpad.cu"),
                  {cat("T=", cuda_type(cut.dtype)), cat("ACT=", static_cast<int>(cut.tail_act)),
                   cat("EDGE_ACT=", static_cast<int>(padded.act))},
                  "gemm_unpad"};
  call.shape.grid = {static_cast<uint32_t>((vectors + 255) / 256), 1, 1};
  call.shape.block = {256, 1, 1};
  call.shape.overlap = true;
  const CudaParam bias = cut.at.bias >= 0 ? in_param(cut.at.bias) : null_param();
  call.params = {work_param(),
                 work_param(padded.edge_offset() + first * 16),
                 cut.tail_bias ? bias : null_param(),
                 bias,
                 out_param(0, (cut.items[0].y + first * cut.n) * size),
                 value_param(static_cast<uint32_t>(count)),
                 value_param(static_cast<uint32_t>(padded.ld)),
                 value_param(static_cast<uint32_t>(cut.n)),
                 value_param(static_cast<uint32_t>(padded.main))};
  CudaWork work;
  work.calls.push_back(std::move(call));
  return work;
}

std::unique_ptr<Launch> make_padded_gemm(PaddedGemm padded, std::unique_ptr<Launch> any_address) {
  return std::make_unique<PaddedLaunch>(std::move(padded), std::move(any_address));
}

}  // namespace kpt

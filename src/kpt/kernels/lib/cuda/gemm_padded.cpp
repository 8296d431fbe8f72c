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

class PaddedLaunch final : public Launch {
 public:
  explicit PaddedLaunch(PaddedGemm padded) : p_(std::move(padded)), device_(current_cuda_device()) {
    KPT_ASSERT(device_ >= 0, "kernels.gemm", "no CUDA context is current");
  }
  void prepare() override {
    const int64_t rest = p_.whole.m % p_.chunk;
    plan_ = plan(p_.chunk);
    if (rest) rest_ = plan(rest);
    for (int64_t row = 0; row < p_.whole.m; row += p_.chunk) {
      copies_.push_back(make_cuda_launch(plan_unpad(p_, row, std::min(p_.chunk, p_.whole.m - row))));
      copies_.back()->prepare();
    }
  }
  size_t workspace_bytes() const override {
    return p_.bytes() + std::max(plan_->workspace_bytes(), rest_ ? rest_->workspace_bytes() : 0);
  }
  std::string config() const override {
    return cat(plan_->config(), ", rows padded to ", p_.ld, ", ", copies_.size(), " x ", p_.chunk);
  }
  void run(const RunArgs& args) const override {
    const auto size = static_cast<int64_t>(size_of(p_.whole.dtype));
    const GemmOperands& of = p_.whole.at;
    const GemmItem& item = p_.whole.items[0];
    char* const rows = static_cast<char*>(args.workspace);
    for (size_t c = 0; c < copies_.size(); ++c) {
      const int64_t first = static_cast<int64_t>(c) * p_.chunk;
      const CudaGemmPlan& plan = first + p_.chunk <= p_.whole.m ? *plan_ : *rest_;
      plan.run({static_cast<const char*>(args.inputs[of.w]) + item.w * size,
                static_cast<const char*>(args.inputs[of.x]) + (item.x + first * p_.x_m) * size, nullptr,
                p_.whole.gemm.has_bias ? args.inputs[of.bias] : nullptr, rows, rows + p_.bytes()},
               static_cast<CUstream>(args.stream));
      copies_[c]->run(args);
    }
  }

 private:
  std::shared_ptr<const CudaGemmPlan> plan(int64_t rows) const {
    CudaGemmChoice choice = cuda_gemm(p_.of(rows), device_);
    if (!choice.plan) throw_error(ErrorKind::unsupported, "kernels.gemm", choice.verdict.reason);
    return choice.plan;
  }

  PaddedGemm p_;
  int device_;
  std::shared_ptr<const CudaGemmPlan> plan_, rest_;
  std::vector<std::unique_ptr<Launch>> copies_;
};

}  // namespace

CudaGemm PaddedGemm::of(int64_t rows) const {
  CudaGemm gemm = whole.gemm;
  gemm.columns = rows;
  gemm.ldd = ld;
  if (rows == 1 && !gemm.b_transposed) gemm.ldb = gemm.depth;
  return gemm;
}

bool pad_gemm(const GemmCall& call, PaddedGemm& out) {
  GemmProblem p = call.product;
  fold_batch(p);
  const auto size = static_cast<int64_t>(size_of(call.dtype));
  if (p.batch_dims > 0 || p.has_residual || p.k == 0 || p.m < 2 || p.n * size % 16 == 0 || p.m * p.n < kLeastOutputs ||
      p.y_m != p.n || p.n > std::numeric_limits<int32_t>::max())
    return false;
  if (!cut_gemm(call, GemmFusion::most, out.whole) || out.whole.items.size() != 1 || out.whole.gemm.batch != 1)
    return false;
  const int64_t line = kLine / size;
  out.ld = (p.n + line - 1) / line * line;
  // Chunks begin on 16 bytes of y and of x.
  const int64_t fit = std::max(kChunkBytes / (out.ld * size), kLeastRows) / 8 * 8;
  out.chunk = std::min(p.m, fit);
  out.x_m = p.x_m;
  return true;
}

CudaWork plan_unpad(const PaddedGemm& padded, int64_t first, int64_t rows) {
  const GemmCut& cut = padded.whole;
  const auto size = static_cast<int64_t>(size_of(cut.dtype));
  const int64_t count = rows * cut.n, vectors = (count * size + 15) / 16;
  CudaCall call;
  call.program = {"lib/cuda/gemm_unpad.cu",
                  cuda_text("lib/cuda/gemm_unpad.cu"),
                  {cat("T=", cuda_type(cut.dtype)), cat("ACT=", static_cast<int>(cut.tail_act))},
                  "gemm_unpad"};
  call.shape.grid = {static_cast<uint32_t>((vectors + 255) / 256), 1, 1};
  call.shape.block = {256, 1, 1};
  call.shape.overlap = true;
  call.params = {work_param(),
                 cut.tail_bias ? in_param(cut.at.bias) : null_param(),
                 out_param(0, (cut.items[0].y + first * cut.n) * size),
                 value_param<int64_t>(count),
                 value_param<int64_t>(padded.ld),
                 value_param(static_cast<uint32_t>(cut.n))};
  CudaWork work;
  work.calls.push_back(std::move(call));
  return work;
}

std::unique_ptr<Launch> make_padded_gemm(PaddedGemm padded, const GpuTraits&) {
  return std::make_unique<PaddedLaunch>(std::move(padded));
}

}  // namespace kpt

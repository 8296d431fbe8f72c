// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_cuda.h"

#include <algorithm>
#include <limits>
#include <mutex>

#include "kpt/cuda/cublaslt.h"
#include "kpt/kernels/lib/cuda/gemm_padded.h"
#include "kpt/kernels/lib/cuda/gemm_race.h"

namespace kpt {
namespace {

// Calls one problem may be cut into: beyond this the launches cost more than a copy to a better layout would.
constexpr int64_t kMostItems = 256;

// How memory holds a matrix op(.) of rows x columns with those strides, as a column-major matrix with a leading
// dimension: plain (row stride 1) or transposed (column stride 1).
struct Held {
  bool transposed = false;
  int64_t ld = 0;
};
bool held(int64_t rows, int64_t columns, int64_t row_step, int64_t column_step, Held* out) {
  // The stride of an axis of size 1 is free.
  const auto fits = [](int64_t inner, int64_t inner_step, int64_t outer, int64_t outer_step, int64_t* ld) {
    if (inner > 1 && inner_step != 1) return false;
    *ld = outer > 1 ? outer_step : std::max<int64_t>(inner, 1);
    return *ld >= std::max<int64_t>(inner, 1);
  };
  out->transposed = false;
  if (fits(rows, row_step, columns, column_step, &out->ld)) return true;
  out->transposed = true;
  return fits(columns, column_step, rows, row_step, &out->ld);
}

// Largest power of two, up to 16 bytes, that divides all the numbers (elements).
int alignment_of(DType dtype, std::initializer_list<int64_t> strides) {
  const auto size = static_cast<int64_t>(size_of(dtype));
  int64_t bits = 16;
  for (int64_t s : strides) bits |= s * size;
  return static_cast<int>(bits & -bits);
}

Verdict set_operands(const GemmProblem& p, CudaGemm& g) {
  Held a, b;
  // d^T = w x^T: w is [n, k] to cuBLASLt, x^T is [k, m].
  if (p.k > 0 && !held(p.n, p.k, p.w_n, p.w_k, &a))
    return no("got strides ", p.w_n, " and ", p.w_k, " of the right matrix, want one of them 1 and rows apart");
  if (p.k > 0 && !held(p.k, p.m, p.x_k, p.x_m, &b))
    return no("got strides ", p.x_m, " and ", p.x_k, " of the left matrix, want one of them 1 and rows apart");
  g.rows = p.n, g.columns = p.m, g.depth = p.k;
  g.a_transposed = a.transposed, g.lda = a.ld;
  g.b_transposed = b.transposed, g.ldb = b.ld;
  g.ldd = p.m > 1 ? p.y_m : p.n;
  for (int64_t n : {g.rows, g.columns, g.depth})
    if (n > std::numeric_limits<int32_t>::max()) return no("got a size of ", n, ", want less than 2^31");
  return yes();
}

// One batch axis becomes the strided batch, the longest; the others one item for each of their positions.
Verdict set_batch(const GemmProblem& p, GemmCut& cut) {
  int strided = -1;
  for (int d = 0; d < p.batch_dims; ++d)
    if (strided < 0 || p.batch[d] >= p.batch[strided]) strided = d;
  int64_t count = 1;
  for (int d = 0; d < p.batch_dims; ++d) {
    if (d != strided) count *= p.batch[d];
  }
  if (count > kMostItems) return no("got ", count, " products that no one stride joins, want at most ", kMostItems);
  CudaGemm& g = cut.gemm;
  if (strided >= 0) {
    cut.batch = g.batch = p.batch[strided];
    if (g.batch > std::numeric_limits<int32_t>::max()) return no("got a batch of ", g.batch, ", want less than 2^31");
    g.a_step = p.w_batch[strided], g.b_step = p.x_batch[strided], g.d_step = p.y_batch[strided];
    cut.y_step = p.y_batch[strided];
    cut.residual_step = p.residual_batch[strided];
  }
  for (int64_t i = 0; i < count; ++i) {
    GemmItem item;
    int64_t rest = i;
    for (int d = p.batch_dims - 1; d >= 0; --d) {
      if (d == strided) continue;
      const int64_t at = rest % p.batch[d];
      rest /= p.batch[d];
      item.x += at * p.x_batch[d];
      item.w += at * p.w_batch[d];
      item.y += at * p.y_batch[d];
      item.residual += at * p.residual_batch[d];
    }
    cut.items.push_back(item);
  }
  return yes();
}

// Does cuBLASLt's c say this residual? Its rows lie apart and its items too.
bool is_matrix(const GemmProblem& p, const GemmCut& cut) {
  return (p.n == 1 || p.residual_n == 1) && (p.m == 1 || p.residual_m >= p.n) &&
         (cut.batch == 1 || cut.residual_step >= p.n);
}

// cuBLASLt adds c before its activation, and its gelu is the tanh form, good to 16 bits.
bool tail_is_exact(const GemmProblem& p, DType dtype) {
  if (p.has_residual) return p.act == Act::none;
  return p.act == Act::none || p.act == Act::relu || (p.act == Act::gelu_tanh && dtype != DType::f32);
}

void set_epilogue(const GemmProblem& p, GemmFusion fusion, GemmCut& cut) {
  CudaGemm& g = cut.gemm;
  const bool fuse = fusion == GemmFusion::most && p.k > 0;
  cut.tail_act = p.act;
  cut.tail_bias = p.has_bias;
  cut.tail_residual = p.has_residual;
  cut.m = p.m, cut.n = p.n;
  cut.residual_m = p.residual_m, cut.residual_n = p.n > 1 ? p.residual_n : 1;
  cut.beta = p.beta;
  g.alpha = p.alpha;
  if (!fuse) return;
  g.has_bias = p.has_bias;
  cut.tail_bias = false;
  if (tail_is_exact(p, cut.dtype)) {
    g.tail = p.act == Act::relu ? GemmTail::relu : p.act == Act::gelu_tanh ? GemmTail::gelu_tanh : GemmTail::none;
    cut.tail_act = Act::none;
  }
  if (p.has_residual && p.act == Act::none && is_matrix(p, cut)) {
    g.has_c = true;
    g.beta = p.beta;
    g.ldc = p.m > 1 ? p.residual_m : p.n;
    g.c_step = cut.residual_step;
    cut.tail_residual = false;
  }
}

// What holds for every item's address, where the operands start on lines of 16 bytes.
void set_alignment(GemmCut& cut) {
  CudaGemm& g = cut.gemm;
  int64_t offsets = 0;
  for (const GemmItem& item : cut.items) offsets |= item.x | item.w | item.y | (g.has_c ? item.residual : 0);
  g.alignment = alignment_of(cut.dtype, {offsets, g.a_step, g.b_step, g.d_step, g.c_step});
}

// One way of doing the call: cuBLASLt's plan and what comes after it.
struct Way {
  GemmCut cut;
  std::shared_ptr<const CudaGemmPlan> plan;
  std::unique_ptr<Launch> tail;
};

class CudaGemmLaunch final : public Launch {
 public:
  // any_address: for operands that start anywhere, and so rare that nothing is timed.
  CudaGemmLaunch(GemmCall call, const GpuTraits& gpu, bool any_address = false)
      : call_(std::move(call)), gpu_(gpu), device_(current_cuda_device()), any_address_(any_address) {
    KPT_ASSERT(device_ >= 0, "kernels.gemm", "no CUDA context is current");
  }

  void prepare(Effort effort) override {
    const GemmEffort chosen = effort == Effort::timed ? GemmEffort::timed : GemmEffort::known;
    make(any_address_ ? element() : 16, any_address_ ? GemmEffort::plain : chosen, &aligned_);
  }
  size_t workspace_bytes() const override { return aligned_.plan ? aligned_.plan->workspace_bytes() : 0; }
  std::string config() const override {
    if (!aligned_.plan) return aligned_.cut.empty() ? "nothing to do" : "zeros and tail";
    return cat(aligned_.plan->config(), aligned_.cut.items.size() > 1 ? cat(", calls ", aligned_.cut.items.size()) : "",
               aligned_.tail ? ", tail kernel" : "");
  }
  void run(const RunArgs& args) const override {
    const GemmCut& cut = aligned_.cut;
    if (cut.empty()) return;
    if (!aligned_.plan) {
      cuda_check(cuda().cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(args.outputs[0]), 0,
                                        static_cast<size_t>(cut.outputs()) * size_of(cut.dtype),
                                        static_cast<CUstream>(args.stream)),
                 "kernels.gemm");
      if (aligned_.tail) aligned_.tail->run(args);
      return;
    }
    if (alignment_of(args) >= cut.gemm.alignment) return run(aligned_, args);
    // A view that starts off a line: rare, so made late.
    std::call_once(loose_once_, [this] { make(element(), GemmEffort::plain, &loose_); });
    run(loose_, args);
  }

 private:
  int element() const { return static_cast<int>(size_of(call_.dtype)); }
  void make(int most_alignment, GemmEffort effort, Way* way) const {
    std::string reasons;
    for (const GemmFusion fusion : {GemmFusion::most, GemmFusion::none}) {
      way->cut = {};
      const Verdict v = cut_gemm(call_, fusion, way->cut);
      KPT_CHECK(v.ok, "kernels.gemm", v.reason);
      if (way->cut.empty()) return;
      CudaGemm& gemm = way->cut.gemm;
      gemm.alignment = std::min(gemm.alignment, most_alignment);
      if (gemm.depth > 0) {
        CudaGemmChoice choice = cuda_gemm(gemm, device_, effort);
        reasons += cat(reasons.empty() ? "" : "; ", choice.verdict.reason);
        if (!choice.plan) continue;
        way->plan = std::move(choice.plan);
      }
      if (!way->cut.has_tail()) return;
      way->tail = make_cuda_launch(plan_gemm_tail(way->cut, gpu_));
      way->tail->prepare(Effort::known);
      return;
    }
    throw_error(ErrorKind::unsupported, "kernels.gemm", reasons);
  }

  static const char* at(const RunArgs& args, int index) {
    return index < 0 ? nullptr : static_cast<const char*>(args.inputs[index]);
  }
  // What the addresses of this run are all multiples of.
  int alignment_of(const RunArgs& args) const {
    const CudaGemm& gemm = aligned_.cut.gemm;
    const GemmOperands& of = aligned_.cut.at;
    uintptr_t bits = 16 | reinterpret_cast<uintptr_t>(args.outputs[0]);
    for (int index : {of.x, of.w, gemm.has_bias ? of.bias : -1, gemm.has_c ? of.residual : -1})
      bits |= reinterpret_cast<uintptr_t>(at(args, index));
    return static_cast<int>(bits & -bits);
  }
  void run(const Way& way, const RunArgs& args) const {
    const GemmCut& cut = way.cut;
    const auto size = static_cast<int64_t>(size_of(cut.dtype));
    for (const GemmItem& item : cut.items) {
      const char* c = cut.gemm.has_c ? at(args, cut.at.residual) + item.residual * size : nullptr;
      way.plan->run({at(args, cut.at.w) + item.w * size, at(args, cut.at.x) + item.x * size, c,
                     cut.gemm.has_bias ? at(args, cut.at.bias) : nullptr,
                     static_cast<char*>(args.outputs[0]) + item.y * size, args.workspace},
                    static_cast<CUstream>(args.stream));
    }
    if (way.tail) way.tail->run(args);
  }

  GemmCall call_;
  GpuTraits gpu_;
  int device_;
  bool any_address_;
  Way aligned_;
  mutable std::once_flag loose_once_;
  mutable Way loose_;
};

}  // namespace

Verdict cut_gemm(const GemmCall& call, GemmFusion fusion, GemmCut& cut) {
  if (Verdict v = gemm_supports(call); !v) return v;
  GemmProblem p = call.product;
  fold_batch(p);
  cut.dtype = cut.gemm.dtype = call.dtype;
  cut.at = call.at;
  if (Verdict v = set_operands(p, cut.gemm); !v) return v;
  if (Verdict v = set_batch(p, cut); !v) return v;
  set_epilogue(p, fusion, cut);
  set_alignment(cut);
  return yes();
}

Verdict cuda_gemm_supports(const GemmCall& call) {
  if (Verdict v = cublaslt_here(); !v) return v;
  GemmCut cut;
  return cut_gemm(call, GemmFusion::most, cut);
}

std::unique_ptr<Launch> make_unaligned_gemm(GemmCall call, const GpuTraits& gpu) {
  return std::make_unique<CudaGemmLaunch>(std::move(call), gpu, true);
}

std::unique_ptr<Launch> make_cuda_gemm(GemmCall call, const GpuTraits& gpu) {
  PaddedGemm padded;
  std::unique_ptr<Launch> library;
  if (pad_gemm(call, padded))
    library = make_padded_gemm(std::move(padded), make_unaligned_gemm(call, gpu));
  else
    library = std::make_unique<CudaGemmLaunch>(call, gpu);
  if (races(call, gpu)) return make_raced_gemm(std::move(call), gpu, std::move(library));
  return library;
}

}  // namespace kpt

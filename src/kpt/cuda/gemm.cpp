// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/gemm.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "kpt/base/counters.h"
#include "kpt/cuda/choices.h"
#include "kpt/cuda/gemm_setup.h"
#include "kpt/cuda/once.h"

namespace kpt {
namespace {

constexpr size_t kWorkspaceLine = 256;  // cuBLASLt wants its workspace on such a line

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::bf16: return CUDA_R_16BF;
    case DType::f16: return CUDA_R_16F;
    default: return CUDA_R_32F;
  }
}

cublasLtEpilogue_t epilogue_of(const CudaGemm& g) {
  switch (g.tail) {
    case GemmTail::relu: return g.has_bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    case GemmTail::gelu_tanh: return g.has_bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    default: return g.has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  }
}

void init_layout(cublasLtMatrixLayoutOpaque_t* layout, const CudaGemm& g, int64_t rows, int64_t columns, int64_t ld,
                 int64_t step) {
  const CublasLt& lt = cublaslt();
  cublaslt_check(lt.cublasLtMatrixLayoutInit_internal(layout, sizeof *layout, data_type(g.dtype),
                                                      static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), ld),
                 "cuda.gemm layout");
  if (g.batch == 1) return;
  const auto count = static_cast<int32_t>(g.batch);
  cublaslt_check(lt.cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
                 "cuda.gemm batch");
  cublaslt_check(
      lt.cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step),
      "cuda.gemm step");
}

int config_of(const cublasLtMatmulAlgo_t& algo, cublasLtMatmulAlgoConfigAttributes_t which) {
  int32_t value = 0;
  size_t written = 0;
  const cublasStatus_t status =
      cublaslt().cublasLtMatmulAlgoConfigGetAttribute(&algo, which, &value, sizeof value, &written);
  return status == CUBLAS_STATUS_SUCCESS ? value : -1;  // -1: this algorithm has no such setting
}

class Plan final : public CudaGemmPlan {
 public:
  Plan(const GemmSetup& setup, const cublasLtMatmulAlgo_t& algo, size_t workspace, std::string how)
      : setup_(setup), algo_(algo), workspace_(workspace), how_(std::move(how)) {}
  size_t workspace_bytes() const override { return workspace_ ? workspace_ + kWorkspaceLine : 0; }
  std::string config() const override {
    return cat("cublaslt algo ", config_of(algo_, CUBLASLT_ALGO_CONFIG_ID), " tile ",
               config_of(algo_, CUBLASLT_ALGO_CONFIG_TILE_ID), " split ",
               config_of(algo_, CUBLASLT_ALGO_CONFIG_SPLITK_NUM), ", ", how_);
  }
  void run(const CudaGemmPointers& at, CUstream stream) const override {
    const auto address = reinterpret_cast<uintptr_t>(at.workspace);
    const uintptr_t line = (address + kWorkspaceLine - 1) / kWorkspaceLine * kWorkspaceLine;
    cublaslt_check(setup_.run(algo_, at, workspace_ ? reinterpret_cast<void*>(line) : nullptr, workspace_, stream),
                   "cuda.gemm");
  }

 private:
  GemmSetup setup_;
  cublasLtMatmulAlgo_t algo_;
  size_t workspace_;
  std::string how_;
};

// Below this a product is a few microseconds whatever the algorithm, and the timing would see only the launch.
bool is_tiny(const CudaGemm& g) {
  const double flops = 2.0 * static_cast<double>(g.rows * g.columns * g.depth * g.batch);
  return flops < 1e7 && g.rows * g.depth * static_cast<int64_t>(size_of(g.dtype)) < (1 << 20);
}

ChoiceStore& store_of(int device) { return ChoiceStore::of("cublaslt", cublaslt_version(), device); }

std::shared_ptr<const CudaGemmPlan> plan_of(const GemmSetup& setup, const std::optional<ChoiceStore::Choice>& choice,
                                            const char* what) {
  if (!choice) return nullptr;
  cublasLtMatmulAlgo_t algo;  // its header calls it fit to be stored
  static_assert(sizeof algo == sizeof choice->words);
  std::memcpy(&algo, choice->words.data(), sizeof algo);
  size_t workspace = 0;
  if (!setup.takes(algo, &workspace)) return nullptr;  // for another size, or another build of the library
  return std::make_shared<Plan>(setup, algo, workspace,
                                cat(what, " of ", choice->microseconds, " us for ", choice->size));
}

CudaGemmChoice choose(const CudaGemm& gemm, int device, GemmEffort effort) {
  static SpanCounters choices("cuda.gemm_choices");
  const GemmSetup setup(gemm, device);
  const std::string family = gemm.family(), key = gemm.key();
  ChoiceStore& store = store_of(device);
  if (effort != GemmEffort::plain)
    if (auto plan = plan_of(setup, store.find(family, key), "kept choice")) return {plan, yes()};
  if (effort == GemmEffort::known)
    if (auto plan = plan_of(setup, store.nearest(family, gemm.columns), "nearest choice")) return {plan, yes()};
  const Span span(choices);
  const auto candidates = setup.candidates(8, effort == GemmEffort::plain ? 0 : kGemmWorkspace);
  if (candidates.empty()) return {nullptr, no("cuBLASLt has no algorithm for ", key)};
  const bool keep_nan = gemm.tail == GemmTail::relu;
  const bool timed = effort == GemmEffort::timed && !is_tiny(gemm);
  GemmTimed best;
  if (timed || keep_nan) {
    const std::vector<cublasLtMatmulHeuristicResult_t> first(candidates.begin(), candidates.begin() + 1);
    best = time_gemm(setup, timed ? candidates : first, store.knows(family), keep_nan);
  }
  if (best.index < 0)
    return {nullptr, no("no algorithm of cuBLASLt runs", keep_nan ? " and keeps NaN" : "", " for ", key)};
  const auto& chosen = candidates[static_cast<size_t>(best.index)];
  const bool good = !timed || best.microseconds > 0;  // else the clock failed: another process may do better
  if (effort == GemmEffort::timed && good) {
    ChoiceStore::Choice choice;
    std::memcpy(choice.words.data(), &chosen.algo, sizeof chosen.algo);
    choice.microseconds = best.microseconds;
    choice.size = gemm.columns;
    store.add(family, key, choice);
  }
  const std::string how = timed && best.microseconds > 0 ? cat("number ", best.index + 1, " of ", candidates.size(),
                                                               " timed: ", best.microseconds, " us")
                                                         : std::string("heuristic");
  return {std::make_shared<Plan>(setup, chosen.algo, chosen.workspaceSize, how), yes()};
}

}  // namespace

std::string CudaGemm::family() const {
  return cat(dtype, " n", rows, " k", depth, a_transposed ? " at" : " an", b_transposed ? " bt" : " bn", " batch",
             batch, has_bias ? " bias" : "", has_c ? " c" : "", " tail", static_cast<int>(tail), " align", alignment);
}

std::string CudaGemm::key() const {
  return cat(family(), " m", columns, " ld ", lda, " ", ldb, " ", ldc, " ", ldd, " step ", a_step, " ", b_step, " ",
             c_step, " ", d_step, " scale ", alpha, " ", beta);
}

GemmSetup::GemmSetup(const CudaGemm& problem, int on) : gemm(problem), device(on), handle(cublaslt_handle(on)) {
  const CudaGemm& g = gemm;
  init_layout(&a_, g, g.a_transposed ? g.depth : g.rows, g.a_transposed ? g.rows : g.depth, g.lda, g.a_step);
  init_layout(&b_, g, g.b_transposed ? g.columns : g.depth, g.b_transposed ? g.depth : g.columns, g.ldb, g.b_step);
  init_layout(&c_, g, g.rows, g.columns, g.has_c ? g.ldc : g.ldd, g.has_c ? g.c_step : g.d_step);
  init_layout(&d_, g, g.rows, g.columns, g.ldd, g.d_step);
}

void GemmSetup::describe(cublasLtMatmulDescOpaque_t* desc, const void* bias) const {
  const CublasLt& lt = cublaslt();
  const auto set = [&](cublasLtMatmulDescAttributes_t which, const auto& value) {
    cublaslt_check(lt.cublasLtMatmulDescSetAttribute(desc, which, &value, sizeof value), "cuda.gemm attribute");
  };
  cublaslt_check(lt.cublasLtMatmulDescInit_internal(desc, sizeof *desc, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                 "cuda.gemm descriptor");
  set(CUBLASLT_MATMUL_DESC_TRANSA, static_cast<int32_t>(gemm.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N));
  set(CUBLASLT_MATMUL_DESC_TRANSB, static_cast<int32_t>(gemm.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(epilogue_of(gemm)));
  if (gemm.has_bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
}

std::vector<cublasLtMatmulHeuristicResult_t> GemmSetup::candidates(int most, size_t workspace_bytes) const {
  const CublasLt& lt = cublaslt();
  cublasLtMatmulPreferenceOpaque_t wish;
  cublaslt_check(lt.cublasLtMatmulPreferenceInit_internal(&wish, sizeof wish), "cuda.gemm preference");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
    cublaslt_check(lt.cublasLtMatmulPreferenceSetAttribute(&wish, which, &value, sizeof value), "cuda.gemm preference");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(workspace_bytes));
  // Parts of a split sum stay in f32: the other schemes round them to the output's 16 bits.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  const auto alignment = static_cast<uint32_t>(gemm.alignment);
  for (const auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(which, alignment);
  cublasLtMatmulDescOpaque_t desc;
  // The heuristics read the bias' alignment off its address.
  describe(&desc, reinterpret_cast<const void*>(static_cast<uintptr_t>(alignment)));
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<size_t>(most));
  int count = 0;
  const cublasStatus_t status =
      lt.cublasLtMatmulAlgoGetHeuristic(handle, &desc, &a_, &b_, &c_, &d_, &wish, most, found.data(), &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return {};
  cublaslt_check(status, "cuda.gemm heuristics");
  found.resize(static_cast<size_t>(count));
  std::erase_if(found,
                [&](const auto& r) { return r.state != CUBLAS_STATUS_SUCCESS || r.workspaceSize > workspace_bytes; });
  return found;
}

bool GemmSetup::takes(const cublasLtMatmulAlgo_t& algo, size_t* workspace_bytes) const {
  cublasLtMatmulDescOpaque_t desc;
  describe(&desc, reinterpret_cast<const void*>(static_cast<uintptr_t>(gemm.alignment)));
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status = cublaslt().cublasLtMatmulAlgoCheck(handle, &desc, &a_, &b_, &c_, &d_, &algo, &result);
  *workspace_bytes = result.workspaceSize;
  return status == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kGemmWorkspace;
}

cublasStatus_t GemmSetup::run(const cublasLtMatmulAlgo_t& algo, const CudaGemmPointers& at, void* workspace,
                              size_t workspace_bytes, CUstream stream) const {
  cublasLtMatmulDescOpaque_t desc;
  describe(&desc, at.bias);
  const auto alpha = static_cast<float>(gemm.alpha), beta = gemm.has_c ? static_cast<float>(gemm.beta) : 0.0f;
  return cublaslt().cublasLtMatmul(handle, &desc, &alpha, at.a, &a_, at.b, &b_, &beta, gemm.has_c ? at.c : at.d, &c_,
                                   at.d, &d_, &algo, workspace, workspace_bytes, stream);
}

CudaGemmChoice cuda_gemm(const CudaGemm& gemm, int device, GemmEffort effort) {
  static OncePerKey<CudaGemmChoice> timed, known, plain;
  const std::string key = gemm.key();
  if (effort == GemmEffort::known)
    if (const CudaGemmChoice* made = timed.find(device, key)) return *made;
  auto& choices = effort == GemmEffort::timed ? timed : effort == GemmEffort::known ? known : plain;
  return choices.get(device, key, [&] {
    const CudaGuard guard(device);
    return choose(gemm, device, effort);
  });
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_narrow.h"

#include <algorithm>

namespace kpt {
namespace {

constexpr int64_t kLeastRows = 17, kMostRows = 256;
constexpr int64_t kLeastWeights = int64_t{1} << 16;  // smaller ones were not tried
constexpr size_t kMostCuts = 3;
struct Cut {
  int groups, split;
};
constexpr Cut kCuts[] = {{1, 1}, {1, 2}, {1, 4}, {2, 1}, {2, 4}};  // others won nowhere, or by less than 5 %
// What meeting in shared memory and a second warpgroup cost, in bytes that a multiprocessor could have read meanwhile
// (about 100 KiB a microsecond): from times of sixteen products on an H200.
int64_t meeting_bytes(int split) { return split == 1 ? 0 : split == 2 ? 56 << 10 : 128 << 10; }
constexpr int64_t kSecondGroup = 48 << 10;
constexpr int64_t kBarriers = 2 << 10;  // static shared memory and what aligning to 1024 bytes may lose

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t sums_bytes(int groups) { return int64_t{groups} * 64 * kNarrowPitch * 4; }

bool fits(const GemmCall& call, const GemmProblem& p, const GpuTraits& gpu) {
  if ((call.dtype != DType::bf16 && call.dtype != DType::f16) || gpu.arch != 90) return false;
  if (p.batch_dims > 0 || p.alpha != 1 || p.m < kLeastRows || p.m > kMostRows) return false;
  if (p.x_k != 1 || (p.w_k != 1 && p.w_n != 1) || (p.has_residual && p.residual_n != 1)) return false;
  const int64_t w_row = p.w_k == 1 ? p.w_n : p.w_k;
  if ((p.n | p.k | p.x_m | w_row | p.y_m | (p.has_residual ? p.residual_m : 0)) % 8) return false;
  if (p.x_m < p.k || w_row < (p.w_k == 1 ? p.k : p.n)) return false;  // rows that overlap
  return p.n * p.k >= kLeastWeights && std::max(p.n, p.k) <= 1 << 24;
}

CudaProgram program_of(const GemmCall& call, int groups, int split) {
  return {"lib/cuda/gemm_narrow.cu",
          cuda_text("lib/cuda/gemm_narrow.cu"),
          {cat("ELEM=", cuda_type(call.dtype)), cat("ACT=", static_cast<int>(call.product.act)), cat("GROUPS=", groups),
           cat("SPLIT=", split), cat("W_ALONG_DEPTH=", int{call.product.w_k == 1})},
          "gemm_narrow"};
}

}  // namespace

int64_t NarrowGemm::blocks() const {
  return ceil_div(arguments.n, kNarrowColumns) * ceil_div(arguments.m, groups * 64) * split;
}
int64_t NarrowGemm::step_bytes() const { return (groups * 64 + kNarrowColumns) * kNarrowDepth * 2; }
int64_t NarrowGemm::shared_bytes() const { return arguments.stages * step_bytes() + sums_bytes(groups) + 1024; }

std::vector<NarrowGemm> narrow_gemms(const GemmCall& call, const GpuTraits& gpu) {
  NarrowGemm g;
  g.call = call;
  GemmProblem& p = g.call.product;
  fold_batch(p);
  if (!fits(call, p, gpu)) return {};
  g.w_along_depth = p.w_k == 1;
  NarrowArguments& a = g.arguments;
  a.y_m = p.m > 1 ? p.y_m : p.n, a.residual_m = p.residual_m;
  a.m = static_cast<int>(p.m), a.n = static_cast<int>(p.n);
  a.steps = static_cast<int>(ceil_div(p.k, kNarrowDepth));
  a.early = call.lasting_w;
  a.beta = static_cast<float>(p.beta);
  // Bytes that the busiest multiprocessor reads: what a small product takes, beside the same start and end of all.
  std::vector<std::pair<int64_t, NarrowGemm>> cuts;
  for (const Cut& cut : kCuts) {
    g.groups = cut.groups, g.split = cut.split;
    const int64_t steps = ceil_div(a.steps, g.split);
    const int64_t room = (gpu.shared_bytes - kBarriers - sums_bytes(g.groups)) / g.step_bytes();
    if (g.split > a.steps || room < 2) continue;
    a.stages = static_cast<int>(std::min({steps, room, int64_t{kNarrowStages}}));
    // Clusters of 4 and more whose blocks fill a multiprocessor each do not find room on all of them: 128 x 1024 x 4096
    // took 12.8 us in 128 such blocks, 9.2 in 64.
    const bool alone = 2 * g.shared_bytes() > gpu.shared_bytes;
    const int64_t places = std::max(1, alone && g.split > 2 ? gpu.multiprocessors * 3 / 4 : gpu.multiprocessors);
    const int64_t rounds = ceil_div(g.blocks(), places);
    if (rounds > 2) continue;
    cuts.emplace_back(rounds * steps * g.step_bytes() + meeting_bytes(g.split) + (g.groups - 1) * kSecondGroup, g);
  }
  std::stable_sort(cuts.begin(), cuts.end(), [](const auto& l, const auto& r) { return l.first < r.first; });
  std::vector<NarrowGemm> out;
  for (size_t i = 0; i < std::min(cuts.size(), kMostCuts); ++i) out.push_back(std::move(cuts[i].second));
  return out;
}

std::vector<CudaProgram> narrow_programs(const GemmCall& call) {
  std::vector<CudaProgram> out;
  for (const Cut& cut : kCuts) out.push_back(program_of(call, cut.groups, cut.split));
  return out;
}

CudaWork plan_narrow_gemm(const NarrowGemm& g) {
  const GemmProblem& p = g.call.product;
  const GemmOperands& at = g.call.at;
  CudaCall call;
  call.program = program_of(g.call, g.groups, g.split);
  call.shape.grid = {static_cast<uint32_t>(ceil_div(p.n, kNarrowColumns) * g.split),
                     static_cast<uint32_t>(ceil_div(p.m, g.groups * 64)), 1};
  call.shape.block[0] = static_cast<uint32_t>(g.groups * 128 + 32);
  call.shape.shared_bytes = static_cast<uint32_t>(g.shared_bytes());
  call.shape.overlap = true;
  call.shape.cluster = static_cast<uint32_t>(g.split);
  const CudaMatrix x{g.call.dtype, p.m, p.k, p.x_m, g.groups * 64, kNarrowDepth};
  const CudaMatrix w = g.w_along_depth ? CudaMatrix{g.call.dtype, p.n, p.k, p.w_n, kNarrowColumns, kNarrowDepth}
                                       : CudaMatrix{g.call.dtype, p.k, p.n, p.w_k, kNarrowDepth, kNarrowColumns};
  call.params = {in_matrix_param(at.x, x),
                 in_matrix_param(at.w, w),
                 p.has_bias ? in_param(at.bias) : null_param(),
                 p.has_residual ? in_param(at.residual) : null_param(),
                 out_param(0),
                 value_param(g.arguments)};
  CudaWork work;
  work.config = cat("narrow, ", g.blocks(), " blocks, depth by ", g.split, ", ring ", g.arguments.stages);
  work.calls.push_back(std::move(call));
  return work;
}

}  // namespace kpt

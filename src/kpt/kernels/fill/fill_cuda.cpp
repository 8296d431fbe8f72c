// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "kpt/kernels/fill/fill_problem.h"
#include "kpt/kernels/lib/cuda/rows.h"

namespace kpt {
namespace {

constexpr int64_t kMostThreads = 256, kWordsEach = 4;

// As fill.cu.
struct Same {
  alignas(16) unsigned char value[16] = {};
  uint32_t words = 0, share = 0;
  int32_t word = 0, shift = 0;
};
struct Range {
  int64_t first = 0, step = 0;
  double real_first = 0, real_step = 0;
  uint32_t count = 0;
  int32_t dtype = 0, exact = 0;
};
constexpr int64_t kValues = 3072;  // of the 4 KiB of parameters
struct Values {
  uint32_t bytes = 0;
  unsigned char values[kValues] = {};
};

CudaCall call_of(const char* part, CudaParam what, int64_t offset, uint32_t blocks, int64_t threads) {
  CudaCall call;
  call.program = {cat("fill/fill.cu ", part), cuda_text("fill/fill.cu"), {part}, "fill"};
  call.shape.grid[0] = blocks;
  call.shape.block[0] = static_cast<uint32_t>(threads);
  call.shape.overlap = true;
  call.params = {std::move(what), out_param(0, offset)};
  return call;
}

CudaCall same(const Problem& p, const Fill& f) {
  const TensorDesc& y = p.outputs[0];
  const size_t element = size_of(y.dtype);
  const int64_t bytes = static_cast<int64_t>(y.bytes());
  Same s;
  put_number(y.dtype, s.value, f.first);
  for (size_t i = element; i < sizeof s.value; ++i) s.value[i] = s.value[i - element];
  const int64_t word = common_word({bytes}), words = bytes / word, chips = std::max(1, p.gpu.multiprocessors);
  s.word = static_cast<int32_t>(word);
  s.shift = std::countr_zero(static_cast<uint64_t>(word) / element);
  s.words = static_cast<uint32_t>(words);
  int64_t threads = kMostThreads, share = kMostThreads * kWordsEach;
  if (words < 2 * chips * share) {
    while (threads > 64 && words < chips * threads) threads /= 2;
    share = threads;
  }
  s.share = static_cast<uint32_t>(share);
  return call_of("SAME", value_param(s), 0, cuda_blocks(words, share), threads);
}

CudaCall range(const Problem& p, const Fill& f) {
  const TensorDesc& y = p.outputs[0];
  Range r;
  r.first = f.first.i;
  r.step = f.step.i;
  r.real_first = f.first.d;
  r.real_step = f.step.d;
  r.count = static_cast<uint32_t>(y.numel());
  r.dtype = static_cast<int32_t>(y.dtype);
  r.exact = f.first.integer && f.step.integer;
  const int64_t threads = y.numel() < std::max(1, p.gpu.multiprocessors) * kMostThreads ? 64 : kMostThreads;
  return call_of("RANGE", value_param(r), 0, cuda_blocks(y.numel(), threads), threads);
}

std::vector<CudaCall> values(const Problem& p, const Fill& f) {
  const DType dtype = p.outputs[0].dtype;
  const int64_t element = static_cast<int64_t>(size_of(dtype)), bytes = static_cast<int64_t>(p.outputs[0].bytes());
  std::vector<CudaCall> calls;
  for (int64_t at = 0; at < bytes; at += kValues) {
    Values v;
    v.bytes = static_cast<uint32_t>(std::min(kValues, bytes - at));
    for (int64_t i = 0; i < v.bytes; i += element)
      put_number(dtype, v.values + i, f.values[static_cast<size_t>((at + i) / element)]);
    calls.push_back(call_of("VALUES", value_param(v), at, 1, kMostThreads));
  }
  return calls;
}

Verdict supports(const Problem& p) {
  Fill f;
  if (Verdict v = read_fill(p, f); !v) return v;
  return p.outputs[0].numel() <= kCudaMostUnits ? yes() : no("more than 2^31 elements");
}

CudaWork plan(const Problem& p) {
  Fill f;
  const Verdict v = read_fill(p, f);
  KPT_CHECK(v.ok, "kernels.fill", "got ", p.str(), ": ", v.reason);
  if (p.outputs[0].numel() == 0) return {};
  if (p.op == "kpt.constant") return {values(p, f), 0, cat(p.outputs[0].bytes(), " bytes with the launch")};
  if (p.op == "aten.full") return {{same(p, f)}, 0, "one value"};
  return {{range(p, f)}, 0, "first + i * step"};
}

}  // namespace

void register_fill_cuda(KernelRegistry& registry) {
  for (const char* op : {"aten.full", "aten.arange.start_step", "kpt.constant"})
    add_cuda(registry, op, "fill", supports, plan);
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/pool/pool_problem.h"

namespace kpt {
namespace {

constexpr int64_t kMostThreads = 256;
constexpr int64_t kMostNumber = 1 << 30;  // of sizes, kernels and their dilated reach: i32 on the device

// As pool.cu.
struct Axis {
  int32_t size = 0, out = 0, kernel = 0, stride = 0, padding = 0, dilation = 0;
  int64_t step = 0;
};
struct Task {
  CudaRows planes;
  CudaDivider across, down, group, channels;
  Axis h, w;
  uint32_t outputs = 0;
  int32_t max = 0, adaptive = 0, include_pad = 0, small = 0, run = 0, last = 0;
  float divisor = 0;
};

Axis axis_of(const PoolAxis& a) {
  return {static_cast<int32_t>(a.size),
          static_cast<int32_t>(a.out),
          static_cast<int32_t>(a.kernel),
          static_cast<int32_t>(a.stride),
          static_cast<int32_t>(a.padding),
          static_cast<int32_t>(a.dilation),
          a.step};
}

Verdict supports(const Problem& p) {
  Pool k;
  if (Verdict v = read_pool(p, k); !v) return v;
  const TensorDesc& x = *p.operand(0);
  if (!elem_of(x.dtype)) return no("dtype ", x.dtype);
  if (p.outputs[0].numel() > kCudaMostUnits || x.numel() > kCudaMostUnits) return no("more than 2^31 elements");
  for (const PoolAxis* a : {&k.h, &k.w}) {
    const bool large = a->adaptive ? (a->out + 1) * a->size + a->out > kMostNumber
                                   : std::max(a->size, a->kernel) > kMostNumber ||
                                         a->dilation > kMostNumber / a->kernel || a->stride > kMostNumber;
    if (large) return no("an axis of ", a->size, " with windows of ", a->kernel);
  }
  return yes();
}

// Elements of the largest window.
int64_t window_size(const PoolAxis& a) { return a.adaptive ? (a.size + a.out - 1) / a.out + 1 : a.kernel; }

CudaWork plan(const Problem& p) {
  Pool k;
  const Verdict v = read_pool(p, k);
  KPT_CHECK(v.ok, "kernels.pool", "got ", p.str(), ": ", v.reason);
  const TensorDesc &x = *p.operand(0), &y = p.outputs[0];
  const int64_t outputs = y.numel();
  if (outputs == 0) return {};
  Task t;
  t.planes = cuda_rows(x, k.planes_rank);
  t.across = cuda_divider(k.w.out);
  t.down = cuda_divider(k.h.out);
  t.h = axis_of(k.h);
  t.w = axis_of(k.w);
  t.outputs = static_cast<uint32_t>(outputs);
  t.max = k.max;
  t.adaptive = k.h.adaptive;
  t.include_pad = k.include_pad;
  t.small = !k.h.adaptive && k.h.kernel <= 3 && k.w.kernel <= 3 && k.h.dilation == 1 && k.w.dilation == 1;
  t.run = k.w.step == 1 && k.h.step == k.w.size && k.w.dilation == 1 && k.h.dilation == 1;
  t.last = k.last;
  t.channels = cuda_divider(k.channels);
  t.divisor = static_cast<float>(k.divisor);
  // About eight loads a thread in flight. Channels side by side are read side by side: a thread has a window.
  const int64_t window = window_size(k.h) * window_size(k.w);
  const int64_t group = window <= 16 || k.last ? 1 : std::min<int64_t>(32, power_of_two((window + 7) / 8));
  t.group = cuda_divider(group);
  const int64_t chips = std::max(1, p.gpu.multiprocessors);
  int64_t threads = kMostThreads;
  while (threads > 64 && outputs * group < chips * threads) threads /= 2;
  CudaCall call;
  call.program = {"pool/pool.cu", cuda_text("pool/pool.cu"), {cat("T=", cuda_type(x.dtype))}, "pool"};
  call.shape.grid[0] = cuda_blocks(outputs, threads / group);
  call.shape.block[0] = static_cast<uint32_t>(threads);
  call.shape.overlap = true;
  call.params = {value_param(t), in_param(p.operand_index(0)), out_param(0)};
  return {{call}, 0, cat(group, " threads a window, blocks of ", threads)};
}

}  // namespace

void register_pool_cuda(KernelRegistry& registry) {
  for (const char* op : {"aten.max_pool2d", "aten.avg_pool2d", "aten.adaptive_avg_pool2d", "kpt.max_pool2d",
                         "kpt.avg_pool2d", "kpt.adaptive_avg_pool2d"})
    add_cuda(registry, op, "pool", supports, plan);
}

}  // namespace kpt

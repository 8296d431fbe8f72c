// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/lib/cuda/work.h"
#include "kpt/kernels/reduce/reduce.h"
#include "kpt/kernels/reduce/reduction.h"

namespace kpt {
namespace {

constexpr int64_t kThreads = 256;  // as reduce.cu

// As reduce.cu's Task.
struct Task {
  CudaRows kept, reduced;
  uint32_t outputs = 0, count = 0, splits = 1, chunk = 0, group = 1, width = 0, across = 1;
  int32_t run = 0;
  float correction = 0;
};

Verdict supports(const Problem& p) {
  Reduce r;
  if (Verdict v = read_reduction(p, r); !v) return v;
  const bool moment = r.kind == Reduction::mean || r.kind == Reduction::var;
  if (moment && !is_float(r.kept.dtype)) return no(p.op, " of ", r.kept.dtype);
  const bool keeps = r.kind == Reduction::sum || r.kind == Reduction::max || r.kind == Reduction::min;
  if (keeps && is_float(r.kept.dtype) != is_float(p.outputs[0].dtype))
    return no(p.op, " of ", r.kept.dtype, " to ", p.outputs[0].dtype);
  if (p.operand(0)->numel() > kCudaMostUnits) return no("more than 2^31 elements");
  return yes();
}

int64_t part_bytes(const Reduce& r) {
  const bool eight = r.kept.dtype == DType::f64 || !is_float(r.kept.dtype);
  const int64_t sum = eight ? 8 : 4;
  return r.kind == Reduction::var || r.kind == Reduction::argmax ? 2 * sum : sum;
}

// Blocks to share each output's elements, so that about two blocks of threads run on each multiprocessor; a share has
// `least` elements or more.
int64_t splits_for(int64_t blocks, int64_t count, int64_t least, int64_t multiprocessors) {
  const int64_t wanted = (2 * multiprocessors + blocks - 1) / std::max<int64_t>(blocks, 1);
  return std::clamp<int64_t>(std::min(wanted, count / least), 1, 512);
}

void split(Task& t, int64_t splits, int64_t step) {
  const int64_t chunk = ((static_cast<int64_t>(t.count) + splits - 1) / splits + step - 1) / step * step;
  t.chunk = static_cast<uint32_t>(std::max<int64_t>(chunk, 1));
  t.splits = static_cast<uint32_t>(std::max<int64_t>(1, (t.count + t.chunk - 1) / t.chunk));
}

CudaProgram program(const Problem& p, const Reduce& r, const char* part, int64_t vec, const char* entry) {
  return {cat("reduce/reduce.cu ", part),
          cuda_text("reduce/reduce.cu"),
          {cat("IN=", cuda_type(r.kept.dtype)), cat("OUT=", cuda_type(p.outputs[0].dtype)),
           cat("KIND=", static_cast<int>(r.kind)), cat("VEC=", vec), part},
          entry};
}

// Threads along the reduced elements.
CudaCall rows(const Problem& p, const Reduce& r, Task& t) {
  const int64_t count = t.count, outputs = t.outputs;
  t.run = r.reduced.sizes.rank() == 0 || (r.reduced.sizes.rank() == 1 && r.reduced.strides[0] == 1);
  t.kept = cuda_rows(r.kept, r.kept.sizes.rank());
  const int64_t vec = 16 / static_cast<int64_t>(size_of(r.kept.dtype));
  const int64_t units = std::max<int64_t>(1, t.run ? (count + vec - 1) / vec : count);
  // A warp takes a row as long as there are rows for every multiprocessor, or the row gives a thread four loads at
  // most.
  const int64_t chips = std::max(p.gpu.multiprocessors, 1);
  const bool block = units > 4 * 32 && (units > 16 * 32 || outputs < chips * 16);
  t.group = static_cast<uint32_t>(block ? kThreads : std::min<int64_t>(32, power_of_two(units)));
  split(t, block ? splits_for(outputs, count, kThreads * vec * 4, chips) : 1, vec * kThreads);
  CudaCall call;
  call.program = program(p, r, "ROWS", vec, "reduce_rows");
  const int64_t work = outputs * t.splits, groups = kThreads / t.group;
  call.shape.grid[0] = cuda_blocks(work, groups);
  return call;
}

// Threads along the last kept dimension, which is dense in memory while the reduced ones are not.
CudaCall columns(const Problem& p, const Reduce& r, Task& t) {
  const int last = r.kept.sizes.rank() - 1;
  const int64_t width = r.kept.sizes[last];
  t.kept = cuda_rows(r.kept, last);
  t.width = static_cast<uint32_t>(width);
  const int64_t word = std::min(row_word(r.kept, last), row_word(r.reduced, r.reduced.sizes.rank()));
  const int64_t vec = std::max<int64_t>(1, word / static_cast<int64_t>(size_of(r.kept.dtype)));
  t.across = static_cast<uint32_t>(std::min<int64_t>(32, power_of_two((width + vec - 1) / vec)));
  const int64_t strips = (width + t.across * vec - 1) / (t.across * vec), rows = t.outputs / width;
  const int64_t down = kThreads / t.across, chips = std::max(p.gpu.multiprocessors, 1);
  split(t, splits_for(strips * rows, t.count, down * 4, chips), 1);
  CudaCall call;
  call.program = program(p, r, "COLUMNS", vec, "reduce_columns");
  call.shape.grid[0] = static_cast<uint32_t>(strips * rows * t.splits);
  return call;
}

CudaWork plan(const Problem& p) {
  Reduce r;
  Verdict v = supports(p);
  KPT_CHECK(v.ok, "kernels.reduce", "got ", p.str(), ": ", v.reason);
  read_reduction(p, r);
  CudaWork work;
  if (r.kept.numel() == 0) return work;
  Task t;
  t.outputs = static_cast<uint32_t>(r.kept.numel());
  t.count = static_cast<uint32_t>(r.reduced.numel());
  t.correction = r.correction;
  t.reduced = cuda_rows(r.reduced, r.reduced.sizes.rank());
  const int kept = r.kept.sizes.rank(), reduced = r.reduced.sizes.rank();
  const bool run = reduced == 0 || r.reduced.strides[reduced - 1] == 1;
  const bool side_by_side = !run && kept > 0 && r.kept.strides[kept - 1] == 1;
  CudaCall call = side_by_side ? columns(p, r, t) : rows(p, r, t);
  call.shape.block[0] = kThreads;
  call.shape.overlap = true;
  call.params = {value_param(t), in_param(r.in), out_param(0), t.splits > 1 ? work_param() : null_param()};
  work.config =
      cat(side_by_side ? cat("columns, ", t.across, " threads across") : cat("rows, ", t.group, " threads a row"),
          t.splits > 1 ? cat(", ", t.splits, " shares") : "");
  work.calls.push_back(std::move(call));
  if (t.splits == 1) return work;
  work.workspace_bytes = static_cast<size_t>(t.splits * static_cast<int64_t>(t.outputs) * part_bytes(r));
  CudaCall last;
  last.program = program(p, r, "FINISH", 1, "reduce_finish");
  last.shape.grid[0] = cuda_blocks(t.outputs, kThreads / 32);
  last.shape.block[0] = kThreads;
  last.shape.overlap = true;
  last.params = {value_param(t), work_param(), out_param(0)};
  work.calls.push_back(std::move(last));
  return work;
}

}  // namespace

void register_reduce_cuda(KernelRegistry& registry) {
  for (const char* op : {"aten.sum.dim_IntList", "aten.mean.dim", "aten.amax", "aten.amin", "aten.var.correction",
                         "aten.any.dim", "aten.all.dim", "aten.argmax"})
    add_cuda(registry, op, "reduce", supports, plan);
}

}  // namespace kpt

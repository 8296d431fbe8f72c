// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/softmax/softmax_problem.h"

namespace kpt {
namespace {

// Layouts of softmax.cu, softmax_wide.cu and softmax_columns.cu.
struct RowParams {
  uint32_t rows;
  int32_t width, log;
  CudaRows x, y;
};
struct ColumnParams {
  uint32_t columns;
  int32_t width, log;
  int64_t x_stride, y_stride;
  CudaRows x, y;
};

Verdict supports(const Problem& p) {
  Softmax s;
  if (Verdict v = read_softmax(p, s); !v) return v;
  if (!elem_of(s.x.dtype) || (s.y.dtype != s.x.dtype && s.y.dtype != DType::f32))
    return no("from ", s.x.dtype, " to ", s.y.dtype);
  return s.x.numel() <= kCudaMostUnits && s.width <= kCudaMostUnits / 2 ? yes() : no(s.x.numel(), " rows of ", s.width);
}

CudaCall call_of(const Problem& p, const std::string& file, const std::string& entry, const Softmax& s) {
  CudaCall call;
  call.program = {file, cuda_text(file), {cat("ROW=", cuda_type(s.x.dtype)), cat("OUT=", cuda_type(s.y.dtype))}, entry};
  call.params = {in_param(p.operand_index(0)), out_param(0)};
  call.shape.overlap = true;
  return call;
}

// How a block keeps a row that registers do not hold: packs of 16 bytes that each thread has in shared memory, and more
// of them in registers. No slots: such a row has no room.
struct Kept {
  int64_t threads = 1024, slots = 0, extra = 0;
};
constexpr int64_t kMostExtra = 5;  // of a thread's 64 registers, without spills

// Two rows at a time on a multiprocessor where both have room: one is summed while the other is moved.
Kept kept_shape(int64_t row_bytes, const GpuTraits& gpu) {
  constexpr int64_t kReserved = 1024, kSums = 512;  // shared memory of each block: the driver's, our own
  for (int64_t together : {2, 1}) {
    Kept k;
    k.threads = 1024 / together;
    const int64_t room = (gpu.shared_bytes + kReserved) / together - kReserved - kSums;
    const int64_t all = (row_bytes / 16 + k.threads - 1) / k.threads;
    k.slots = std::min(all, room / (16 * k.threads));
    k.extra = all - k.slots;
    if (k.slots > 0 && k.extra <= (together == 1 ? kMostExtra : 0)) return k;
  }
  return {};
}

// Whether rows of x and y lie alike to words of 16 bytes of x, wherever they begin: then all of them can be kept, or
// none.
bool rows_alike(const Softmax& s, int leading, int64_t vec) {
  for (int d = 0; d < leading; ++d)
    if (s.x.sizes[d] > 1 && (s.x.strides[d] - s.y.strides[d]) % vec != 0) return false;
  return true;
}

// softmax_wide.cu.
void shape_wide(const Problem& p, const Softmax& s, int64_t rows, int64_t vec, CudaWork& work) {
  CudaCall& call = work.calls[0];
  const int64_t bytes = s.width * static_cast<int64_t>(size_of(s.x.dtype));
  const int64_t multiprocessors = std::max(1, p.gpu.multiprocessors);
  const Kept kept = rows_alike(s, s.x.sizes.rank(), vec) ? kept_shape(bytes, p.gpu) : Kept{};
  // Read twice: two rows at a time where the L2 cache keeps those of all multiprocessors for the second pass.
  const bool two = 2 * bytes * multiprocessors <= p.gpu.l2_bytes / 4 * 3;
  const int64_t threads = kept.slots ? kept.threads : two ? 512 : 1024;
  call.program.defines.insert(call.program.defines.end(), {cat("VEC=", vec), cat("THREADS=", threads),
                                                           cat("SLOTS=", kept.slots), cat("EXTRA=", kept.extra)});
  const int64_t blocks = kept.slots ? std::min(rows, multiprocessors * (1024 / threads)) : rows;
  call.shape.grid[0] = static_cast<uint32_t>(blocks);
  call.shape.block[0] = static_cast<uint32_t>(threads);
  call.shape.shared_bytes = static_cast<uint32_t>(kept.slots * threads * 16);
  work.config = kept.slots ? cat(threads, " threads a row, ", kept.slots, " packs each in shared memory, ", kept.extra,
                                 " in registers")
                           : cat(threads, " threads a row, two passes");
}

CudaWork plan_rows(const Problem& p, const Softmax& s) {
  const int leading = s.x.sizes.rank();
  const int64_t rows = s.x.numel(), most = 16 / static_cast<int64_t>(size_of(s.x.dtype));
  const int64_t held_vec = row_vec(s.y, leading, row_vec(s.x, leading, common_word({most, s.width})));
  const CudaRowShape shape = cuda_row_shape(rows, s.width, held_vec, size_of(s.x.dtype) == 2 ? 32 : 16, p.gpu);
  const RowParams params{static_cast<uint32_t>(rows), static_cast<int32_t>(s.width), s.log, cuda_rows(s.x, leading),
                         cuda_rows(s.y, leading)};
  CudaWork work;
  work.calls.push_back(call_of(p, shape.packs ? "softmax/softmax.cu" : "softmax/softmax_wide.cu", "softmax_rows", s));
  CudaCall& call = work.calls[0];
  call.params.push_back(value_param(params));
  if (!shape.packs) {
    shape_wide(p, s, rows, most, work);
    return work;
  }
  call.program.defines.insert(call.program.defines.end(), {cat("VEC=", held_vec), cat("THREADS=", shape.threads),
                                                           cat("PACKS=", shape.packs), cat("LOG=", s.log ? 1 : 0)});
  call.shape.grid[0] = cuda_blocks(rows, shape.block / shape.threads);
  call.shape.block[0] = static_cast<uint32_t>(shape.block);
  work.config = cat(shape.threads, " threads a row, ", shape.packs, " x ", held_vec, " elements each");
  return work;
}

CudaWork plan_columns(const Problem& p, const Softmax& s) {
  const int64_t columns = s.x.numel();
  CudaCall call = call_of(p, "softmax/softmax_columns.cu", "softmax_columns", s);
  // Eight elements a thread at least, and no more threads than fill the GPU.
  const int64_t blocks = cuda_blocks(columns, 32), multiprocessors = std::max(1, p.gpu.multiprocessors);
  const int64_t wanted = (multiprocessors * 64 + blocks - 1) / blocks;
  const int64_t sharing = std::clamp<int64_t>(std::min(power_of_two(wanted), power_of_two(s.width / 8)), 1, 32);
  call.shape.grid[0] = static_cast<uint32_t>(blocks);
  call.shape.block = {32, static_cast<uint32_t>(sharing), 1};
  call.params.push_back(
      value_param(ColumnParams{static_cast<uint32_t>(columns), static_cast<int32_t>(s.width), s.log, s.x_stride,
                               s.y_stride, cuda_rows(s.x, s.x.sizes.rank()), cuda_rows(s.y, s.y.sizes.rank())}));
  return {{call}, 0, cat("columns, ", sharing, " threads each")};
}

CudaWork plan(const Problem& p) {
  Softmax s;
  const Verdict v = read_softmax(p, s);
  KPT_CHECK(v.ok, "kernels.softmax", "got ", p.str(), ": ", v.reason);
  if (s.width == 0 || s.x.numel() == 0) return {};
  return s.x_stride == 1 && s.y_stride == 1 ? plan_rows(p, s) : plan_columns(p, s);
}

}  // namespace

void register_softmax_cuda(KernelRegistry& registry) {
  for (const char* op : {"aten.softmax.int", "aten.log_softmax.int", "aten._softmax", "aten._log_softmax"})
    add_cuda(registry, op, "softmax", supports, plan);
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/norm/norm_cuda.h"

namespace kpt {
namespace {

// Params of norm.cu, norm_many.cu and norm_wide.cu.
struct Params {
  uint32_t rows;
  int32_t width;
  float eps;
  int32_t rms;
  CudaRows x, residual, y, sum;
};

const TensorDesc& input(const Problem& p, int i) { return p.inputs[static_cast<size_t>(i)]; }
DType weight_type(const Problem& p, const Norm& n) {
  return n.w >= 0 ? input(p, n.w).dtype : n.b >= 0 ? input(p, n.b).dtype : input(p, n.x).dtype;
}

constexpr int kTogether = 3;     // rows that a block of norm_many.cu has at a time
constexpr int64_t kRounds = 16;  // that make up for a last one of a few rows

// The case that norm_many.cu was faster in: layer_norm, its rows in 256 threads of 32 elements.
bool many_rows(const Problem& p, const Norm& n, const CudaRowShape& shape) {
  const bool plain = !n.rms && n.residual < 0 && p.outputs.size() == 1 && n.w >= 0 && n.b >= 0;
  if (!plain || shape.threads != 256 || shape.packs != 4 || shape.vec != 8) return false;
  return size_of(weight_type(p, n)) == 2 && p.gpu.multiprocessors > 0 &&
         n.rows >= kRounds * kTogether * p.gpu.multiprocessors;
}

Verdict supports(const Problem& p) {
  if (Verdict v = norm_supports(p); !v) return v;
  Norm n;
  read_norm(p, n);
  return n.rows <= kCudaMostUnits && n.width <= kCudaMostUnits / 2 ? yes() : no(n.rows, " rows of ", n.width);
}

CudaWork plan(const Problem& p) {
  Norm n;
  const Verdict v = read_norm(p, n);
  KPT_CHECK(v.ok, "kernels.norm", "got ", p.str(), ": ", v.reason);
  if (n.rows == 0 || n.width == 0) return {};
  const CudaRowShape shape = norm_shape(p, n);
  const DType t = input(p, n.x).dtype, w = weight_type(p, n);
  Params params{};
  params.rows = static_cast<uint32_t>(n.rows);
  params.width = static_cast<int32_t>(n.width);
  params.eps = static_cast<float>(n.eps);
  params.rms = n.rms;
  params.x = cuda_rows(input(p, n.x), n.leading);
  params.y = cuda_rows(p.outputs[0], n.leading);
  if (n.residual >= 0) params.residual = cuda_rows(input(p, n.residual), n.leading);
  if (p.outputs.size() > 1) params.sum = cuda_rows(p.outputs[1], n.leading);

  CudaCall call;
  const bool many = many_rows(p, n, shape);
  const std::string file = many ? "norm/norm_many.cu" : shape.packs ? "norm/norm.cu" : "norm/norm_wide.cu";
  call.program = {
      file,
      cuda_text(file),
      {cat("ROW=", cuda_type(t)), cat("WEIGHT=", cuda_type(w)), cat("VEC=", shape.vec), cat("THREADS=", shape.threads)},
      "norm_rows"};
  if (shape.packs) call.program.defines.push_back(cat("PACKS=", shape.packs));
  if (many) {
    call.program.defines.push_back(cat("GROUPS=", kTogether));
    call.shape.grid[0] = static_cast<uint32_t>(p.gpu.multiprocessors);
    call.shape.block[0] = static_cast<uint32_t>(kTogether * shape.threads);
    call.shape.shared_bytes = static_cast<uint32_t>(2 * 2 * shape.threads * shape.packs * shape.vec);  // weight, bias
  } else {
    if (shape.packs) call.program.defines.push_back(cat("RESIDUAL=", n.residual >= 0 ? 1 : 0));
    call.shape.grid[0] = cuda_blocks(n.rows, shape.block / shape.threads);
    call.shape.block[0] = static_cast<uint32_t>(shape.block);
  }
  call.shape.overlap = true;
  const auto optional = [](int i) { return i < 0 ? null_param() : in_param(i); };
  call.params = {in_param(n.x),      optional(n.residual), optional(n.w),
                 optional(n.b),      out_param(0),         p.outputs.size() > 1 ? out_param(1) : null_param(),
                 value_param(params)};
  const std::string held = shape.packs ? cat(shape.packs, " x ", shape.vec, " elements each") : "two passes";
  const std::string config =
      cat(shape.threads, " threads a row, ", held, many ? cat(", blocks of ", kTogether, " rows that stay") : "");
  return {{call}, 0, config};
}

}  // namespace

// 64 bytes of a row for a thread: four loads in flight. f32 weights with 2-byte rows count double: both wait in
// registers.
CudaRowShape norm_shape(const Problem& p, const Norm& n) {
  const TensorDesc& x = input(p, n.x);
  int64_t vec = 16 / static_cast<int64_t>(size_of(x.dtype));
  vec = row_vec(p.outputs[0], n.leading, row_vec(x, n.leading, common_word({vec, n.width})));
  if (n.residual >= 0) vec = row_vec(input(p, n.residual), n.leading, vec);
  if (p.outputs.size() > 1) vec = row_vec(p.outputs[1], n.leading, vec);
  const int64_t held = size_of(x.dtype) == 2 && weight_type(p, n) != DType::f32 ? 32 : 16;
  CudaRowShape shape = cuda_row_shape(n.rows, n.width, vec, held, p.gpu);
  if (!shape.packs) shape.threads = shape.block = 512;
  return shape;
}

void register_norm_cuda(KernelRegistry& registry) {
  for (const char* op : {"aten.layer_norm", "aten.rms_norm", "kpt.add_norm"})
    add_cuda(registry, op, "norm", supports, plan);
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/copy/copy.h"
#include "kpt/kernels/lib/cuda/joint.h"
#include "kpt/kernels/lib/cuda/pointwise.h"

namespace kpt {
namespace {

// Fewer elements than this along one of the two dimensions would leave most of a tile empty.
constexpr int64_t kLeastTile = 8;

// As copy.cu's Tiles.
struct Tiles {
  CudaRows batch_from, batch_to;
  CudaDivider along_a, along_b;
  uint32_t a = 0, b = 0;
  int64_t from_a = 0, to_b = 0;
};

using Layout = JointDims<2>;  // x, y
Layout layout_of(const TensorDesc& x, const TensorDesc& y) { return joint_dims<2>(y.sizes, {x.strides, y.strides}); }

// The dimension along which x is contiguous where a copy in tiles pays; -1 where it does not.
int tiled_dimension(const Layout& l) {
  const int last = l.sizes.rank() - 1;
  const auto& [from, to] = l.strides;
  if (last < 1 || to[last] != 1 || from[last] <= 1 || l.sizes[last] < kLeastTile) return -1;
  for (int d = 0; d < last; ++d)
    if (from[d] == 1 && l.sizes[d] >= kLeastTile) return d;
  return -1;
}

// The elements as integers of their size: a copy changes no bit.
DType word_of(DType dtype) {
  switch (size_of(dtype)) {
    case 1: return DType::u8;
    case 2: return DType::i16;
    case 4: return DType::i32;
    default: return DType::i64;
  }
}

Problem as_program(const Problem& p) {
  const Layout l = layout_of(*p.operand(0), p.outputs[0]);
  Problem q = p;
  q.op = "kpt.pointwise";
  q.args = {AttrList{p.args[0]}};
  q.kwargs = {{"program", "out i0"}};
  const DType word = word_of(p.outputs[0].dtype);
  q.inputs[static_cast<size_t>(p.operand_index(0))] = {word, l.sizes, l.strides[0]};
  q.outputs[0] = {word, l.sizes, l.strides[1]};
  return q;
}

Verdict supports(const Problem& p) {
  const TensorDesc* x = p.operand(0);
  if (!x || p.outputs.size() != 1) return no("want one tensor in and one out");
  if (x->sizes != p.outputs[0].sizes) return no("from ", *x, " to ", p.outputs[0]);
  if (x->dtype != p.outputs[0].dtype) return no("from ", x->dtype, " to ", p.outputs[0].dtype);
  return cuda_pointwise_supports(as_program(p));
}

CudaWork in_tiles(const Problem& p, const Layout& l, int b) {
  const int a = l.sizes.rank() - 1;
  const int64_t size = static_cast<int64_t>(size_of(p.outputs[0].dtype)), tile = size == 8 ? 32 : 64;
  const int64_t tiles_a = (l.sizes[a] + tile - 1) / tile, tiles_b = (l.sizes[b] + tile - 1) / tile;
  Dims sizes, from, to;
  for (int d = 0; d < a; ++d) {
    if (d == b) continue;
    sizes.push_back(l.sizes[d]);
    from.push_back(l.strides[0][d]);
    to.push_back(l.strides[1][d]);
  }
  Tiles t;
  t.batch_from = cuda_rows(sizes, from);
  t.batch_to = cuda_rows(sizes, to);
  t.along_a = cuda_divider(tiles_a);
  t.along_b = cuda_divider(tiles_b);
  t.a = static_cast<uint32_t>(l.sizes[a]);
  t.b = static_cast<uint32_t>(l.sizes[b]);
  t.from_a = l.strides[0][a];
  t.to_b = l.strides[1][b];
  CudaCall call;
  call.program = {"copy/copy.cu", cuda_text("copy/copy.cu"), {cat("SIZE=", size)}, "copy_tiles"};
  call.shape.grid[0] = static_cast<uint32_t>(tiles_a * tiles_b * sizes.numel());
  call.shape.block[0] = 256;
  call.shape.overlap = true;
  call.params = {value_param(t), in_param(p.operand_index(0)), out_param(0)};
  CudaWork work;
  work.calls.push_back(std::move(call));
  work.config = cat("tiles of ", tile, " x ", tile);
  return work;
}

CudaWork plan(const Problem& p) {
  const Verdict v = supports(p);
  KPT_CHECK(v.ok, "kernels.copy", "got ", p.str(), ": ", v.reason);
  const Layout l = layout_of(*p.operand(0), p.outputs[0]);
  const int b = tiled_dimension(l);
  const bool tiles = b >= 0 && l.sizes.numel() > 0 && l.sizes.numel() <= kCudaMostUnits;
  return tiles ? in_tiles(p, l, b) : cuda_pointwise_work(as_program(p));
}

}  // namespace

void register_copy_cuda(KernelRegistry& registry) { add_cuda(registry, "kpt.copy", "copy", supports, plan); }

}  // namespace kpt

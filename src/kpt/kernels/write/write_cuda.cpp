// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/write/write_problem.h"

namespace kpt {
namespace {

constexpr int64_t kBlock = 128;

// Params of write.cu.
struct Params {
  uint32_t units, elements;
  int32_t word, element, wide, count;
  int64_t size, stride, step;
  CudaDivider words, sizes, inner;
  CudaRows source, state, which;
};

Verdict supports(const Problem& p) {
  Write w;
  if (Verdict v = read_write(p, w); !v) return v;
  const int64_t most = std::max(w.state.numel(), w.source.numel());
  return most <= kCudaMostUnits - kBlock ? yes() : no(most, " elements");
}

// The first `leading` dimensions, strides in bytes.
CudaRows rows_of(const Write& w, const Dims& strides, int leading, int64_t scale) {
  Dims sizes, scaled;
  for (int d = 0; d < leading; ++d) {
    sizes.push_back(w.source.sizes[d]);
    scaled.push_back(strides[d] * scale);
  }
  return cuda_rows(sizes, scaled);
}

CudaWork plan(const Problem& p) {
  Write w;
  const Verdict v = read_write(p, w);
  KPT_CHECK(v.ok, "kernels.write", "got ", p.str(), ": ", v.reason);
  if (w.state.numel() == 0) return {};
  const int rank = w.state.sizes.rank();
  const auto element = static_cast<int64_t>(size_of(w.state.dtype));
  const bool dense = w.dim < rank - 1 && w.source.strides.back() == 1;
  const int leading = dense ? rank - 1 : rank;
  const int64_t run = dense ? w.state.sizes.back() : 1;
  const int64_t word = common_word({run * element, row_word(w.source, leading), row_word(w.state, leading)});

  Dims still = w.state.strides, which = Dims::filled(rank, 0);
  still[w.dim] = 0;
  which[w.dim] = 1;
  Params params{};
  params.units = static_cast<uint32_t>(w.source.numel() * element / word);
  params.elements = static_cast<uint32_t>(w.state.numel());
  params.word = static_cast<int32_t>(word);
  params.element = static_cast<int32_t>(element);
  params.wide = w.index.dtype == DType::i64;
  params.count = static_cast<int32_t>(w.count);
  params.size = w.size;
  params.stride = w.state.strides[w.dim] * element;
  params.step = w.step() * static_cast<int64_t>(size_of(w.index.dtype));
  params.words = cuda_divider(run * element / word);
  params.sizes = cuda_divider(w.size);
  params.inner = cuda_divider(w.inner);
  if (w.count > 0) {
    params.source = rows_of(w, w.source.strides, leading, element);
    params.state = rows_of(w, still, leading, element);
    params.which = rows_of(w, which, leading, 1);
  }

  CudaCall call;
  call.program = {"write/write.cu", cuda_text("write/write.cu"), {}, "write"};
  call.shape.grid[0] = std::max(1u, cuda_blocks(params.units, kBlock));
  call.shape.block[0] = static_cast<uint32_t>(kBlock);
  call.shape.overlap = true;
  call.params = {in_param(p.operand_index(0)), in_param(p.operand_index(1)), in_param(p.operand_index(2)), out_param(0),
                 value_param(params)};
  return {{call}, 0, cat(word, " bytes a thread")};
}

}  // namespace

void register_write_cuda(KernelRegistry& registry) { add_cuda(registry, "kpt.write_", "write", supports, plan); }

}  // namespace kpt

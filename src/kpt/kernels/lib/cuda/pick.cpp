// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/pick.h"

#include <algorithm>

#include "kpt/kernels/lib/cuda/rows.h"

namespace kpt {
namespace {

constexpr size_t kMostBy = 4;

// Layouts of pick.cu.
struct By {
  CudaRows at;
  int64_t size, stride;
  int32_t wide;
};
struct Params {
  uint32_t slices, words;
  int32_t word, element, dense, negative, count;
  CudaDivider picks;
  CudaRows outer, inner;
  By by[kMostBy];
};

Dims scaled(Dims strides, int64_t by) {
  for (int d = 0; d < strides.rank(); ++d) strides[d] *= by;
  return strides;
}

}  // namespace

Verdict cuda_pick_supports(const Problem& p, const CudaPick& k) {
  if (k.by.size() > kMostBy) return no(k.by.size(), " index tensors, at most ", kMostBy);
  if (!p.outputs[0].is_contiguous()) return no("output ", p.outputs[0], " is not dense");
  const int64_t slices = k.outer.numel() * k.picks.numel();
  return slices <= kCudaMostUnits && k.inner.numel() <= kCudaMostUnits ? yes() : no("more than 2^31 slices");
}

CudaWork cuda_pick(const Problem& p, const CudaPick& k) {
  const DType dtype = p.outputs[0].dtype;
  const int64_t element = static_cast<int64_t>(size_of(dtype)), slices = k.outer.numel() * k.picks.numel();
  if (slices * k.inner.numel() == 0) return {};
  Params params{};
  params.dense = TensorDesc{dtype, k.inner, k.inner_strides}.is_contiguous();
  int64_t word = params.dense ? common_word({k.inner.numel() * element}) : element;
  word = std::min(word, row_word({dtype, k.outer, k.outer_strides}, k.outer.rank()));
  for (const CudaPick::By& by : k.by) word = common_word({word, by.stride * element});
  const int64_t words = k.inner.numel() * element / word;
  params.slices = static_cast<uint32_t>(slices);
  params.words = static_cast<uint32_t>(words);
  params.word = static_cast<int32_t>(word);
  params.element = static_cast<int32_t>(element);
  params.negative = k.negative;
  params.count = static_cast<int32_t>(k.by.size());
  params.picks = cuda_divider(k.picks.numel());
  params.outer = cuda_rows(k.outer, scaled(k.outer_strides, element));
  params.inner = cuda_rows(k.inner, scaled(k.inner_strides, element));
  for (size_t i = 0; i < k.by.size(); ++i) {
    const CudaPick::By& by = k.by[i];
    const DType numbers = p.inputs[static_cast<size_t>(by.input)].dtype;
    params.by[i].at = cuda_rows(k.picks, scaled(by.strides, static_cast<int64_t>(size_of(numbers))));
    params.by[i].size = by.size;
    params.by[i].stride = by.stride * element;
    params.by[i].wide = numbers == DType::i64;
  }

  CudaCall call;
  call.program = {"lib/cuda/pick.cu", cuda_text("lib/cuda/pick.cu"), {}, "pick"};
  // Up to four words a thread; short slices share a warp; few slices take small blocks, for all multiprocessors.
  const int64_t threads =
      words <= 32 ? power_of_two(words) : std::clamp<int64_t>(power_of_two((words + 3) / 4), 32, 128);
  const int64_t multiprocessors = std::max(1, p.gpu.multiprocessors);
  const int64_t together = std::clamp(power_of_two((slices + multiprocessors - 1) / multiprocessors),
                                      std::max<int64_t>(1, 32 / threads), 128 / threads);
  call.shape.block = {static_cast<uint32_t>(threads), static_cast<uint32_t>(together), 1};
  call.shape.grid[0] = cuda_blocks(slices, together);
  call.shape.overlap = true;
  call.params.push_back(in_param(k.x));
  for (size_t i = 0; i < kMostBy; ++i) call.params.push_back(i < k.by.size() ? in_param(k.by[i].input) : null_param());
  call.params.push_back(out_param(0));
  call.params.push_back(value_param(params));
  return {{call}, 0, cat(threads, " threads a slice, ", word, " bytes a load")};
}

}  // namespace kpt

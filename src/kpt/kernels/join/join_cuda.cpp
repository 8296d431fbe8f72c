// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "kpt/kernels/join/join_problem.h"
#include "kpt/kernels/lib/cuda/joint.h"

namespace kpt {
namespace {

constexpr size_t kMostParts = 8;  // of one launch
constexpr int64_t kMostThreads = 256, kFlight = 4;

// As join.cu's Part and Parts.
struct Part {
  CudaJoint<2> at;
  int64_t from = 0, to = 0;
  uint32_t words = 0;
  int32_t word = 0, shift = 0;
};
struct Parts {
  alignas(16) unsigned char fill[16] = {};
  uint32_t first[kMostParts];
  uint32_t share = 0;
  Part parts[kMostParts];
};

constexpr int kFill = -1;  // JoinPart::in of a part that is set to Join::value

// What of `whole`, a part as large as the output, lies around the box [start, start + size): parts that do not overlap.
std::vector<JoinPart> around(const JoinPart& whole, const Dims& start, const Dims& size) {
  std::vector<JoinPart> out;
  JoinPart middle = whole;  // already cut to the box in the dimensions before d
  const auto keep = [](JoinPart part, int d, int64_t from, int64_t count) {
    keep_range(part.from, part.from_offset, d, from, count, 1);
    keep_range(part.to, part.to_offset, d, from, count, 1);
    return part;
  };
  for (int d = 0; d < start.rank(); ++d) {
    const int64_t end = start[d] + size[d], all = whole.to.sizes[d];
    if (start[d] > 0) out.push_back(keep(middle, d, 0, start[d]));
    if (end < all) out.push_back(keep(middle, d, end, all - end));
    middle = keep(middle, d, start[d], size[d]);
  }
  return out;
}

// Copies whose order does not matter, one group after the other.
std::vector<std::vector<JoinPart>> groups(const Problem& p, const Join& j) {
  std::vector<std::vector<JoinPart>> all;
  if (j.start.rank() > 0) {
    const JoinPart& box = j.parts.back();
    JoinPart whole{kFill, p.outputs[0], p.outputs[0], 0, 0};
    if (!j.fill) whole = j.parts.front();
    all.emplace_back();
    // Without padding the box is the whole output; a crop has nothing around it.
    if (j.fill || j.parts.size() > 1) all.back() = around(whole, j.start, box.to.sizes);
    all.back().push_back(box);
  } else if (p.op == "aten.slice_scatter") {
    for (const JoinPart& part : j.parts) all.push_back({part});
  } else {
    all.push_back(j.parts);
  }
  std::vector<std::vector<JoinPart>> out;
  for (auto& group : all) {
    std::erase_if(group, [](const JoinPart& part) { return part.to.numel() == 0; });
    for (size_t i = 0; i < group.size(); i += kMostParts)
      out.emplace_back(group.begin() + static_cast<int64_t>(i),
                       group.begin() + static_cast<int64_t>(std::min(i + kMostParts, group.size())));
  }
  return out;
}

Part part_of(const JoinPart& j) {
  const int64_t element = static_cast<int64_t>(size_of(j.to.dtype));
  JointDims<2> dims = joint_dims<2>(j.to.sizes, {j.from.strides, j.to.strides});
  Part part;
  part.from = j.from_offset * element;
  part.to = j.to_offset * element;
  int64_t word = element;
  const int last = dims.sizes.rank() - 1;
  auto& [from, to] = dims.strides;
  if (last >= 0 && from[last] == 1 && to[last] == 1) {
    word = common_word({part.from, part.to, dims.sizes[last] * element});
    for (int d = 0; d < last; ++d) word = common_word({word, from[d] * element, to[d] * element});
    dims.sizes[last] = dims.sizes[last] * element / word;
    from[last] = to[last] = word / element;
  }
  part.at = cuda_joint<2>(dims, {element, element});
  part.words = static_cast<uint32_t>(dims.sizes.numel());
  part.word = static_cast<int32_t>(word);
  part.shift = std::countr_zero(static_cast<uint64_t>(word / element));
  return part;
}

CudaCall call_of(const Problem& p, const Join& j, const std::vector<JoinPart>& group, int64_t& widest) {
  Parts k;
  const size_t element = size_of(p.outputs[0].dtype);
  store_from_double(p.outputs[0].dtype, k.fill, j.value);
  for (size_t i = element; i < sizeof k.fill; ++i) k.fill[i] = k.fill[i - element];
  int64_t words = 0;
  for (size_t i = 0; i < group.size(); ++i) {
    k.parts[i] = part_of(group[i]);
    words += k.parts[i].words;
    widest = std::max<int64_t>(widest, k.parts[i].word);
  }
  // Four words a thread where there are enough of them for two blocks on each multiprocessor.
  const int64_t chips = std::max(1, p.gpu.multiprocessors);
  int64_t threads = kMostThreads, share = kMostThreads * kFlight;
  if (words < 2 * chips * share) {
    while (threads > 64 && words < chips * threads) threads /= 2;
    share = threads;
  }
  k.share = static_cast<uint32_t>(share);
  CudaCall call;
  call.program = {"join/join.cu", cuda_text("join/join.cu"), {}, "join"};
  uint32_t blocks = 0;
  for (size_t i = 0; i < kMostParts; ++i) {
    k.first[i] = i < group.size() ? blocks : UINT32_MAX;
    if (i < group.size()) blocks += cuda_blocks(k.parts[i].words, share);
  }
  call.params.push_back(value_param(k));
  for (size_t i = 0; i < kMostParts; ++i)
    call.params.push_back(i < group.size() && group[i].in != kFill ? in_param(group[i].in) : null_param());
  call.params.push_back(out_param(0));
  call.shape.grid[0] = blocks;
  call.shape.block[0] = static_cast<uint32_t>(threads);
  call.shape.overlap = true;
  return call;
}

Verdict supports(const Problem& p) {
  Join j;
  if (Verdict v = read_join(p, j); !v) return v;
  return p.outputs[0].numel() <= kCudaMostUnits ? yes() : no("more than 2^31 elements");
}

CudaWork plan(const Problem& p) {
  Join j;
  const Verdict v = read_join(p, j);
  KPT_CHECK(v.ok, "kernels.join", "got ", p.str(), ": ", v.reason);
  CudaWork work;
  size_t parts = 0;
  int64_t word = 0;
  for (const auto& group : groups(p, j)) {
    work.calls.push_back(call_of(p, j, group, word));
    parts += group.size();
  }
  work.config = cat(parts, " parts", parts ? cat(", ", word, " bytes a word") : "");
  return work;
}

}  // namespace

void register_join_cuda(KernelRegistry& registry) {
  for (const char* op :
       {"aten.cat", "aten.constant_pad_nd", "aten.repeat", "aten.slice_scatter", "aten.select_scatter"})
    add_cuda(registry, op, "join", supports, plan);
}

}  // namespace kpt

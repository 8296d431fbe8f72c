// SPDX-License-Identifier: Apache-2.0
// How a loop walks its tensors: broadcast, merge dimensions, choose a block.
#include <algorithm>

#include "kpt/kernels/lib/program/loop.h"

namespace kpt {
namespace {

// 1024 f32 are 4 KiB: eight registers fill an L1 data cache of 32 KiB. Without registers only the call is to amortise.
constexpr int64_t kChunk = 1024;
constexpr int64_t kDirectChunk = 16384;
// Rows at least this long go one at a time, straight from memory; shorter ones are gathered into full chunks first.
constexpr int64_t kLongRow = 256;

Dims broadcast(const std::vector<TensorDesc>& descs) {
  int rank = 0;
  for (const TensorDesc& d : descs) rank = std::max(rank, d.sizes.rank());
  Dims sizes = Dims::filled(rank, 1);
  for (const TensorDesc& d : descs) {
    for (int i = 0; i < d.sizes.rank(); ++i) {
      int64_t& size = sizes[rank - d.sizes.rank() + i];
      if (d.sizes[i] != 1) size = d.sizes[i];
    }
  }
  return sizes;
}

// Strides of `d` seen with `sizes`; false where it does not broadcast to them.
bool broadcast_strides(const TensorDesc& d, const Dims& sizes, Dims& strides) {
  const int shift = sizes.rank() - d.sizes.rank();
  if (shift < 0) return false;
  strides = Dims::filled(sizes.rank(), 0);
  for (int i = 0; i < d.sizes.rank(); ++i) {
    if (d.sizes[i] != sizes[i + shift] && d.sizes[i] != 1) return false;
    strides[i + shift] = d.sizes[i] == 1 ? 0 : d.strides[i];
  }
  return true;
}

class Shaper {
 public:
  Shaper(const Problem& problem, const Program& program, Loop& loop)
      : problem_(problem), program_(program), loop_(loop) {}

  Verdict shape() {
    const bool row = problem_.op == "kpt.row";
    std::vector<TensorDesc> descs;
    for (int i : program_.inputs) descs.push_back(problem_.inputs[static_cast<size_t>(i)]);
    Dims sizes = row ? broadcast(descs) : problem_.outputs[0].sizes;
    descs.insert(descs.end(), problem_.outputs.begin(), problem_.outputs.end());
    if (row && (sizes.rank() == 0 || sizes.back() == 0)) return no("kpt.row needs rows of one element or more");
    std::vector<Dims> strides(descs.size());
    for (size_t i = 0; i < descs.size(); ++i) {
      const bool is_output = i >= program_.inputs.size();
      if (!broadcast_strides(descs[i], sizes, strides[i]))
        return no("tensor ", descs[i], " does not broadcast to ", sizes);
      if (is_output && !row && descs[i].sizes != sizes) return no("outputs of different sizes");
      if (is_output && row && !row_output(descs[i], sizes))
        return no("output ", descs[i], " has other rows than ", sizes);
    }
    merge(sizes, strides, row);
    for (size_t i = 0; i < descs.size(); ++i) tensor(descs[i].dtype, strides[i]);
    choose_block(row);
    for (LoopTensor& t : loop_.tensors) classify(t);
    return yes();
  }

 private:
  static bool row_output(const TensorDesc& d, const Dims& sizes) {
    if (d.sizes.rank() != sizes.rank()) return false;
    for (int i = 0; i + 1 < sizes.rank(); ++i)
      if (d.sizes[i] != sizes[i]) return false;
    return true;
  }

  void merge(Dims& sizes, std::vector<Dims>& strides, bool keep_last) {
    Dims merged;
    std::vector<Dims> merged_strides(strides.size());
    for (int d = 0; d < sizes.rank(); ++d) {
      const bool last = d == sizes.rank() - 1;
      if (sizes[d] == 1 && !(last && keep_last)) continue;
      bool joins = merged.rank() > 0 && !(last && keep_last);
      for (size_t t = 0; joins && t < strides.size(); ++t) joins = merged_strides[t].back() == strides[t][d] * sizes[d];
      for (size_t t = 0; t < strides.size(); ++t) {
        if (joins) {
          merged_strides[t][merged.rank() - 1] = strides[t][d];
        } else {
          merged_strides[t].push_back(strides[t][d]);
        }
      }
      if (joins) {
        merged[merged.rank() - 1] *= sizes[d];
      } else {
        merged.push_back(sizes[d]);
      }
    }
    if (merged.rank() == 0) {
      merged.push_back(1);
      for (Dims& s : merged_strides) s.push_back(0);
    }
    sizes = merged;
    strides = merged_strides;
    LoopShape& shape = loop_.shape;
    shape.inner = sizes.back();
    for (int d = 0; d + 1 < sizes.rank(); ++d) shape.outer.push_back(sizes[d]);
    shape.rows = shape.outer.numel();
  }

  void tensor(DType dtype, const Dims& strides) {
    LoopTensor t;
    t.dtype = dtype;
    t.inner_stride = strides.back();
    for (int d = 0; d + 1 < strides.rank(); ++d) t.outer_strides.push_back(strides[d]);
    loop_.tensors.push_back(t);
  }

  void choose_block(bool row) {
    LoopShape& s = loop_.shape;
    s.whole_rows = row;
    if (row) {
      s.chunk = s.inner;
    } else if (s.rows > 1 && s.inner < kLongRow) {
      s.chunk = s.inner;
      s.block_rows = std::min(s.rows, std::max<int64_t>(1, kChunk / std::max<int64_t>(1, s.inner)));
    } else {
      bool direct = program_.steps.size() <= 1;
      for (const LoopTensor& t : loop_.tensors) direct = direct && native(t.dtype) && t.inner_stride <= 1;
      const int64_t most = direct ? kDirectChunk : kChunk;
      const int64_t parts = std::max<int64_t>(1, (s.inner + most - 1) / most);
      s.chunk = std::max<int64_t>(1, (s.inner + parts - 1) / parts);
      s.chunk = std::min(std::max<int64_t>(s.inner, 1), (s.chunk + 15) / 16 * 16);  // whole vectors
    }
  }

  void classify(LoopTensor& t) const {
    const LoopShape& s = loop_.shape;
    bool none = t.inner_stride == 0, follows = t.inner_stride == 1;
    int64_t want = s.inner;
    for (int d = s.outer.rank() - 1; d >= 0; --d) {
      none = none && t.outer_strides[d] == 0;
      follows = follows && t.outer_strides[d] == want;
      want *= s.outer[d];
    }
    t.flat = s.block_rows == 1 ? t.inner_stride == 1 : follows;
    t.single = s.block_rows == 1 ? t.inner_stride == 0 && s.inner != 0 : none;
    if (s.inner == 1 && s.block_rows == 1) t.flat = t.single = true;
  }

  const Problem& problem_;
  const Program& program_;
  Loop& loop_;
};

}  // namespace

Verdict shape_loop(const Problem& problem, const Program& program, Loop& loop) {
  return Shaper(problem, program, loop).shape();
}

}  // namespace kpt

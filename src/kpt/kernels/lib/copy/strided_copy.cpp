// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/copy/strided_copy.h"

#include <algorithm>
#include <cstring>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {
namespace {

// 32 x 32 elements of 8 bytes are 8 KiB read and 8 KiB written: half of an L1 data cache.
constexpr int64_t kTile = 32;
constexpr int64_t kRows = 64;  // enough to hide the division that finds the first one

// Outermost first; the last dimension is the output's most contiguous one. `turn`: the dimension x is contiguous along,
// where that is another one; -1 if none.
struct CopyPlan {
  Dims sizes, from, to;
  int turn = -1;
  int middle = -1;    // rows: the dimension before the last one, walked without divisions
  int64_t outer = 1;  // all but the last dimension, `turn` and `middle`
  size_t width = 4;   // bytes of an element
};

CopyPlan plan(const TensorDesc& x, const TensorDesc& y) {
  std::vector<int> order;
  for (int d = 0; d < x.sizes.rank(); ++d)
    if (x.sizes[d] != 1) order.push_back(d);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return y.strides[a] > y.strides[b]; });
  CopyPlan c;
  c.width = size_of(x.dtype);
  for (int d : order) {
    const int last = c.sizes.rank() - 1;
    if (last >= 0 && c.from[last] == x.strides[d] * x.sizes[d] && c.to[last] == y.strides[d] * x.sizes[d]) {
      c.sizes[last] *= x.sizes[d];
      c.from[last] = x.strides[d];
      c.to[last] = y.strides[d];
    } else {
      c.sizes.push_back(x.sizes[d]);
      c.from.push_back(x.strides[d]);
      c.to.push_back(y.strides[d]);
    }
  }
  if (c.sizes.rank() == 0) c = {{1}, {1}, {1}, -1, -1, 1, c.width};
  const int last = c.sizes.rank() - 1;
  if (c.from[last] != 1)
    for (int d = 0; d < last; ++d)
      if (c.from[d] == 1) c.turn = d;
  if (c.turn < 0) c.middle = last - 1;
  for (int d = 0; d < last; ++d)
    if (d != c.turn && d != c.middle) c.outer *= c.sizes[d];
  return c;
}

// Short rows (one head of an attention, say) in pieces of a fixed size: the call of memcpy would cost as much again.
inline void copy_bytes(char* to, const char* from, size_t bytes) {
  for (; bytes >= 64 && bytes <= 512; bytes -= 64, to += 64, from += 64) std::memcpy(to, from, 64);
  if (bytes) std::memcpy(to, from, bytes);
}

template <class T>
void row(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t n) {
  if (from_stride == 1 && to_stride == 1) {
    copy_bytes(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), static_cast<size_t>(n) * sizeof(T));
  } else if (to_stride == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * from_stride];
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

// Elements [begin, end) of dimension `turn` against the whole last dimension. A full tile is gathered to the stack in
// x's order and written in the output's.
template <class T>
void turn(const CopyPlan& c, const T* from, T* to, int64_t begin, int64_t end) {
  const int last = c.sizes.rank() - 1;
  const int64_t from_step = c.from[last], to_turn = c.to[c.turn], to_step = c.to[last];
  for (int64_t j = 0; j < c.sizes[last]; j += kTile) {
    const int64_t columns = std::min(kTile, c.sizes[last] - j);
    for (int64_t i = begin; i < end; i += kTile) {
      const int64_t rows = std::min(kTile, end - i);
      T tile[kTile][kTile];
      for (int64_t b = 0; b < columns; ++b)
        for (int64_t a = 0; a < rows; ++a) tile[a][b] = from[(j + b) * from_step + i + a];
      for (int64_t a = 0; a < rows; ++a) row(tile[a], 1, to + (i + a) * to_turn + j * to_step, to_step, columns);
    }
  }
}

template <class T>
std::unique_ptr<Launch> launch(const CopyPlan& c, int threads) {
  const int last = c.sizes.rank() - 1;
  // A unit: up to kRows rows of the middle dimension, or one stripe of tiles.
  const int across = c.turn < 0 ? c.middle : c.turn;
  const int64_t turned = across < 0 ? 1 : c.sizes[across];
  const int64_t step = c.turn < 0 ? kRows : kTile;
  const int64_t groups = (turned + step - 1) / step;
  const int64_t units = c.outer * groups;
  const int64_t bytes = c.sizes[last] * static_cast<int64_t>(sizeof(T)) * std::min(step, turned);
  const Split split(units, bytes, threads);
  const auto run = [c, split, units, groups, turned, across, step, last](const RunArgs& args) {
    const T* x = static_cast<const T*>(args.inputs[0]);
    T* y = static_cast<T*>(args.outputs[0]);
    parallel(split.tasks, split.threads, [&](int64_t task, int) {
      for (int64_t u = split.begin(task, units); u < split.begin(task + 1, units); ++u) {
        int64_t rest = u / groups, from = 0, to = 0;
        for (int d = last - 1; d >= 0; --d) {
          if (d == across) continue;
          from += rest % c.sizes[d] * c.from[d];
          to += rest % c.sizes[d] * c.to[d];
          rest /= c.sizes[d];
        }
        const int64_t begin = u % groups * step, end = std::min(begin + step, turned);
        if (c.turn >= 0) {
          turn(c, x + from, y + to, begin, end);
          continue;
        }
        const int64_t from_step = across < 0 ? 0 : c.from[across], to_step = across < 0 ? 0 : c.to[across];
        for (int64_t i = begin; i < end; ++i)
          row(x + from + i * from_step, c.from[last], y + to + i * to_step, c.to[last], c.sizes[last]);
      }
    });
  };
  return make_launch(run, 0, cat(c.turn < 0 ? "rows " : "tiles ", units, " threads ", split.threads));
}

}  // namespace

std::unique_ptr<Launch> make_copy(const TensorDesc& from, const TensorDesc& to, int threads) {
  if (from.numel() == 0) return make_launch([](const RunArgs&) {});
  const CopyPlan c = plan(from, to);
  switch (c.width) {
    case 1: return launch<uint8_t>(c, threads);
    case 2: return launch<uint16_t>(c, threads);
    case 4: return launch<uint32_t>(c, threads);
    default: return launch<uint64_t>(c, threads);
  }
}

}  // namespace kpt

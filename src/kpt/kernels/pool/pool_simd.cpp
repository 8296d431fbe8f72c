// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cpu/vec.h"
#include "kpt/kernels/pool/pool_row.h"

namespace kpt::KPT_ISA {
namespace {

// A NaN that comes, or that is there already, stays.
KPT_INLINE float larger(float a, float b) { return ((a != a) | (a > b)) ? a : b; }

template <bool max>
KPT_INLINE float join(float a, float b) {
  return max ? larger(a, b) : a + b;
}
template <bool max>
KPT_INLINE VecF join(VecF a, VecF b) {
  return max ? max_nan(a, b) : a + b;
}

// The rows of a window, joined column by column.
template <class T, bool max>
void join_row(const T* x, float* line, int64_t width) {
  int64_t c = 0;
  for (; c + kLanes <= width; c += kLanes) store(line + c, join<max>(load(line + c), load(x + c)));
  for (; c < width; ++c) line[c] = join<max>(line[c], load1(x + c));
}

// to[j] = the join of `taps` of line[j * stride], `step` apart, for j in [0, n). STRIDE 0: any.
template <bool max, int STRIDE>
void join_columns(const float* line, float* to, int64_t n, int64_t taps, int64_t step, int64_t any) {
  const int64_t stride = STRIDE ? STRIDE : any;
  for (int64_t j = 0; j < n; ++j) to[j] = line[j * stride];
  for (int64_t c = 1; c < taps; ++c) {
    const float* from = line + c * step;
    for (int64_t j = 0; j < n; ++j) to[j] = join<max>(to[j], from[j * stride]);
  }
}

template <bool max>
void columns_of(const PoolAxis& w, const float* line, float* to, int64_t n) {
  if (w.stride == 1) return join_columns<max, 1>(line, to, n, w.kernel, w.dilation, 1);
  if (w.stride == 2) return join_columns<max, 2>(line, to, n, w.kernel, w.dilation, 2);
  join_columns<max, 0>(line, to, n, w.kernel, w.dilation, w.stride);
}

// Outputs [first, last) whose windows lie wholly inside the axis; none of an adaptive one.
void inside(const PoolAxis& a, int64_t& first, int64_t& last) {
  first = last = 0;
  if (a.adaptive) return;
  const int64_t room = a.size + a.padding - ((a.kernel - 1) * a.dilation + 1);
  const int64_t border = (a.padding + a.stride - 1) / a.stride, end = room < 0 ? 0 : room / a.stride + 1;
  first = border < a.out ? border : a.out;
  last = end < first ? first : end < a.out ? end : a.out;
}

template <class T, bool max>
void by_rows(const PoolPlane& p) {
  const Pool& k = p.pool;
  float* const line = p.lines;
  float* const out = line + k.w.size;
  const float none = max ? -__builtin_inff() : 0;
  int64_t first, last;
  inside(k.w, first, last);
  for (int64_t i = 0; i < k.h.out; ++i) {
    int64_t top, bottom, rows;
    k.h.window(i, top, bottom, rows);
    for (int64_t c = 0; c < k.w.size; ++c) line[c] = none;
    for (int64_t r = top; r < bottom; r += k.h.dilation)
      join_row<T, max>(static_cast<const T*>(p.x) + r * k.h.step, line, k.w.size);
    const auto divided = [&](float sum, int64_t left, int64_t right, int64_t columns) {
      const int64_t count = k.divisor ? k.divisor : k.include_pad ? rows * columns : (bottom - top) * (right - left);
      return sum / static_cast<float>(count);
    };
    const auto at_edge = [&](int64_t j) {
      int64_t left, right, columns;
      k.w.window(j, left, right, columns);
      float all = none;
      for (int64_t c = left; c < right; c += k.w.dilation) all = join<max>(all, line[c]);
      out[j] = max ? all : divided(all, left, right, columns);
    };
    for (int64_t j = 0; j < first; ++j) at_edge(j);
    columns_of<max>(k.w, line + first * k.w.stride - k.w.padding, out + first, last - first);
    if (!max && last > first) {
      const int64_t wide = (k.w.kernel - 1) * k.w.dilation + 1;
      const float scale = divided(1, 0, wide, wide);
      for (int64_t j = first; j < last; ++j) out[j] *= scale;
    }
    for (int64_t j = last; j < k.w.out; ++j) at_edge(j);
    T* const y = static_cast<T*>(p.y) + i * k.w.out;
    int64_t j = 0;
    for (; j + kLanes <= k.w.out; j += kLanes) store(y + j, load(out + j));
    if (j < k.w.out) store_n(y + j, load_n(out + j, static_cast<int>(k.w.out - j)), static_cast<int>(k.w.out - j));
  }
}

// The average of a plane without gaps.
template <class T>
void whole(const PoolPlane& p) {
  const int64_t n = p.pool.h.size * p.pool.w.size;
  const T* x = static_cast<const T*>(p.x);
  VecF sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int s = 0; s < 4; ++s) sums[s] += load(x + i + s * kLanes);
  for (; i + kLanes <= n; i += kLanes) sums[0] += load(x + i);
  float rest = 0;
  for (; i < n; ++i) rest += load1(x + i);
  const float all = sum((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
  store_n(static_cast<T*>(p.y), splat(all / static_cast<float>(n)), 1);
}

template <class T>
void plane(const PoolPlane& p) {
  const Pool& k = p.pool;
  if (k.h.adaptive && k.h.out == 1 && k.w.out == 1 && k.h.step == k.w.size) return whole<T>(p);
  k.max ? by_rows<T, true>(p) : by_rows<T, false>(p);
}

}  // namespace

PoolFn pool_plane(Elem elem) {
  switch (elem) {
    case Elem::f32: return plane<float>;
    case Elem::bf16: return plane<Bf16>;
    case Elem::f16: return plane<F16>;
  }
  return nullptr;
}

}  // namespace kpt::KPT_ISA

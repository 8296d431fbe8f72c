// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/convolution/convolution_cpu.h"
#include "kpt/kernels/lib/cpu/finish.h"
#include "kpt/kernels/lib/cpu/pack.h"

namespace kpt::KPT_ISA {
namespace {

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t rounded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Part of an output row inside a panel.
struct Segment {
  int64_t oh, ow;
  int lane, length;
};

struct Scratch {
  float* panel;      // [k_block * kh * kw][width]; planes: the padded plane
  float* out;        // [row_block rounded up][width]; planes: one output row
  float* wide;       // [kLanes][k_block * kh * kw], bf16 and f16 only
  float* weights;    // planes: [kh * kw]
  int64_t* offsets;  // planes: [kh * kw]
};

Scratch scratch_of(const ConvProblem& p, const ConvPlan& plan, float* memory, int64_t* floats) {
  const int64_t width = plan.max_v * kLanes, k = plan.k_block * p.kh * p.kw;
  const int64_t plane = (p.h + 2 * p.pad_h) * p.stride_w * plan.phase_width;
  const int64_t panel = rounded(plan.planes ? plane : k * width, 16);
  const int64_t out = rounded(plan.planes ? rounded(p.ow, kLanes) : rounded(plan.row_block, kLanes) * width, 16);
  const int64_t wide = plan.planes || p.elem == Elem::f32 ? 0 : kLanes * k;
  const int64_t taps = plan.planes ? rounded(p.kh * p.kw, 16) : 0;
  if (floats) *floats = panel + out + wide + 3 * taps;
  float* end = memory + panel + out + wide;
  return {memory, memory + panel, memory + panel + out, end, reinterpret_cast<int64_t*>(end + taps)};
}

// Every second element of 2 kLanes - 1, without reading the one after.
template <class T>
KPT_INLINE VecF load_even(const T* p) {
  const VecF a = load(p), b = load(p + kLanes - 1);
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 9, 11, 13, 15);
#else
  return __builtin_shufflevector(a, b, 0, 2, 5, 7);
#endif
}

// to[i] = from[i * step] for i in [0, n).
template <class T>
KPT_INLINE void copy_run(float* to, const T* from, int64_t n, int64_t step) {
  int64_t i = 0;
  if (step == 1) {
    for (; i + kLanes <= n; i += kLanes) store(to + i, load(from + i));
    if (i < n) store_n(to + i, load_n(from + i, static_cast<int>(n - i)), static_cast<int>(n - i));
    return;
  }
  if (step == 2)
    for (; i + kLanes <= n; i += kLanes) store(to + i, load_even(from + 2 * i));
  for (; i < n; ++i) to[i] = load1(from + i * step);
}

// Pixels [low, high) of a run of `length` starting at input column ix fall inside a row of `width`.
struct Inside {
  int64_t low, high;
};
Inside inside(int64_t ix, int64_t length, int64_t step, int64_t width) {
  const int64_t low = ix < 0 ? least(length, (-ix + step - 1) / step) : 0;
  const int64_t high = ix >= width ? 0 : least(length, (width - ix + step - 1) / step);
  return {low, high < low ? low : high};
}

// panel[c, i, j][lane] for channels [0, channels) from x on. Channels innermost: what is inside is worked out once.
template <class T>
void pack_patches(const ConvProblem& p, float* panel, int width, const T* x, int64_t channels, const Segment* segments,
                  int count) {
  const int64_t patch = p.kh * p.kw;
  for (int64_t ij = 0; ij < patch; ++ij) {
    const int64_t i = ij / p.kw, j = ij % p.kw;
    bool whole = true;  // no zeros in these rows of the panel
    for (int s = 0; s < count; ++s) {
      const int64_t iy = segments[s].oh * p.stride_h - p.pad_h + i * p.dilation_h;
      const Inside in =
          inside(segments[s].ow * p.stride_w - p.pad_w + j * p.dilation_w, segments[s].length, p.stride_w, p.w);
      whole = whole && iy >= 0 && iy < p.h && in.low == 0 && in.high == segments[s].length;
    }
    float* rows = panel + ij * width;
    const int last = segments[count - 1].lane + segments[count - 1].length;
    if (!whole || last < width)
      for (int64_t c = 0; c < channels; ++c)
        for (int l = 0; l < width; l += kLanes) store(rows + c * patch * width + l, VecF{});
    for (int s = 0; s < count; ++s) {
      const Segment& at = segments[s];
      const int64_t iy = at.oh * p.stride_h - p.pad_h + i * p.dilation_h;
      const int64_t ix = at.ow * p.stride_w - p.pad_w + j * p.dilation_w;
      if (iy < 0 || iy >= p.h) continue;
      const Inside in = inside(ix, at.length, p.stride_w, p.w);
      const T* from = x + iy * p.x_h + ix + in.low * p.stride_w;
      float* to = rows + at.lane + in.low;
      for (int64_t c = 0; c < channels; ++c)
        copy_run(to + c * patch * width, from + c * p.x_c, in.high - in.low, p.stride_w);
    }
  }
}

// out (+)= weights of `rows` output channels times the panel: in place, or a group of rows at a time made float.
void multiply_rows(int v, float* out, const float* w, int64_t w_row, int64_t rows, const float* panel, int64_t k_count,
                   bool more, float*) {
  multiply(v, out, v * kLanes, {w, w_row, 1}, rows, panel, v * kLanes, k_count, more);
}
template <class T>
void multiply_rows(int v, float* out, const T* w, int64_t w_row, int64_t rows, const float* panel, int64_t k_count,
                   bool more, float* wide) {
  for (int64_t r = 0; r < rows; r += kLanes) {
    const int64_t n = least(kLanes, rows - r);
    widen_rows(wide, w + r * w_row, w_row, 1, n, k_count);
    multiply(v, out + r * v * kLanes, v * kLanes, {wide, k_count, 1}, n, panel, v * kLanes, k_count, more);
  }
}

template <class T>
void panel_unit(const ConvProblem& p, const ConvPlan& plan, const ConvPointers& at, int64_t index, const Scratch& s) {
  const int64_t block = index % plan.row_blocks, panel = index / plan.row_blocks % plan.panels;
  const int64_t image = index / plan.row_blocks / plan.panels;
  const int64_t b = image / p.groups, g = image % p.groups;
  const int64_t narrow = panel - plan.wide;
  const int v = narrow < 0 ? plan.max_v : plan.max_v - 1, width = v * kLanes;
  const int64_t pixels = p.oh * p.ow, first = (panel * plan.max_v - (narrow > 0 ? narrow : 0)) * kLanes;
  const int lanes = static_cast<int>(least(pixels - first, width));
  const int64_t group_o = p.o / p.groups, group_c = p.c / p.groups, row0 = block * plan.row_block;
  const int64_t rows = least(plan.row_block, group_o - row0), o0 = g * group_o + row0, patch = p.kh * p.kw;

  Segment segments[kMaxPanel];
  int count = 0;
  for (int lane = 0; lane < lanes; ++count) {
    Segment& segment = segments[count];
    segment = {(first + lane) / p.ow, (first + lane) % p.ow, lane, 0};
    segment.length = static_cast<int>(least(p.ow - segment.ow, lanes - lane));
    lane += segment.length;
  }
  const T* x = static_cast<const T*>(at.x) + b * p.x_b + g * group_c * p.x_c;
  const T* w = static_cast<const T*>(at.w) + o0 * group_c * patch;
  bool more = false;
  for (int64_t c = 0; c < group_c || !more; c += plan.k_block, more = true) {
    const int64_t channels = least(plan.k_block, group_c - c), k_count = channels * patch;
    pack_patches(p, s.panel, width, x + c * p.x_c, channels, segments, count);
    multiply_rows(v, s.out, w + c * patch, group_c * patch, rows, s.panel, k_count, more, s.wide);
  }
  for (int64_t r = 0; r < rows; r += kLanes) {
    const Tile tile{s.out + r * width, width, static_cast<int>(least(kLanes, rows - r)), lanes};
    if (p.has_bias) add_row_bias(tile, static_cast<const T*>(at.bias) + o0 + r);
    if (p.act != Act::none) activate(tile, p.act);
    T* y = static_cast<T*>(at.y) + (b * p.o + o0 + r) * pixels + first;
    store_straight(tile, Place<T>{y, pixels, 1}, Place<const T>{}, 0.f);
  }
}

// The plane of one channel, padded: row iy at [iy][phase][column], input column ix + pad = column * stride + phase.
template <class T>
void pad_plane(const ConvProblem& p, const ConvPlan& plan, const T* x, float* plane) {
  const int64_t row = p.stride_w * plan.phase_width, rows = p.h + 2 * p.pad_h;
  for (int64_t i = 0; i < rows * row; ++i) plane[i] = 0;
  for (int64_t y = 0; y < p.h; ++y)
    for (int64_t phase = 0; phase < p.stride_w; ++phase) {
      const int64_t first =
          (phase - p.pad_w % p.stride_w + p.stride_w) % p.stride_w;  // first input column of the phase
      if (first >= p.w) continue;
      float* to = plane + (y + p.pad_h) * row + phase * plan.phase_width + (first + p.pad_w) / p.stride_w;
      copy_run(to, x + y * p.x_h + first, (p.w - first + p.stride_w - 1) / p.stride_w, p.stride_w);
    }
}

// V vectors of one output row: the taps' weights and offsets into the plane are tables.
template <int V>
KPT_INLINE void plane_row(float* out, const float* from, const float* weights, const int64_t* offsets, int64_t taps,
                          VecF start) {
  VecF sum[V];
  for (int v = 0; v < V; ++v) sum[v] = start;
  for (int64_t t = 0; t < taps; ++t) {
    const VecF w = splat(weights[t]);
    for (int v = 0; v < V; ++v) sum[v] = fma(load(from + offsets[t] + v * kLanes), w, sum[v]);
  }
  for (int v = 0; v < V; ++v) store(out + v * kLanes, sum[v]);
}

template <class T>
void plane_unit(const ConvProblem& p, const ConvPlan& plan, const ConvPointers& at, int64_t index, const Scratch& s) {
  const int64_t b = index / p.o, o = index % p.o, multiplier = p.o / p.groups, c = o / multiplier;
  pad_plane(p, plan, static_cast<const T*>(at.x) + b * p.x_b + c * p.x_c, s.panel);
  const int64_t row = p.stride_w * plan.phase_width, taps = p.kh * p.kw;
  const T* w = static_cast<const T*>(at.w) + o * taps;
  for (int64_t t = 0; t < taps; ++t) {
    const int64_t column = t % p.kw * p.dilation_w;
    s.weights[t] = load1(w + t);
    s.offsets[t] = t / p.kw * p.dilation_h * row + column % p.stride_w * plan.phase_width + column / p.stride_w;
  }
  const VecF start = p.has_bias ? splat(load1(static_cast<const T*>(at.bias) + o)) : VecF{};
  const int width = static_cast<int>(rounded(p.ow, kLanes));
  T* y = static_cast<T*>(at.y) + (b * p.o + o) * p.oh * p.ow;
  for (int64_t oh = 0; oh < p.oh; ++oh) {
    const float* from = s.panel + oh * p.stride_h * row;
    int64_t ow = 0;
    for (; ow + 4 * kLanes <= width; ow += 4 * kLanes)
      plane_row<4>(s.out + ow, from + ow, s.weights, s.offsets, taps, start);
    for (; ow < width; ow += kLanes) plane_row<1>(s.out + ow, from + ow, s.weights, s.offsets, taps, start);
    const Tile tile{s.out, width, 1, static_cast<int>(p.ow)};
    if (p.act != Act::none) activate(tile, p.act);
    store_straight(tile, Place<T>{y + oh * p.ow, 0, 1}, Place<const T>{}, 0.f);
  }
}

template <class T>
void task_of(const ConvProblem& p, const ConvPlan& plan, const ConvPointers& at, int64_t task, const Scratch& s) {
  const int64_t first = task * plan.units_per_task, last = least(first + plan.units_per_task, plan.units);
  for (int64_t i = first; i < last; ++i)
    plan.planes ? plane_unit<T>(p, plan, at, i, s) : panel_unit<T>(p, plan, at, i, s);
}

}  // namespace

int64_t conv_worker_floats(const ConvProblem& p, const ConvPlan& plan) {
  int64_t floats = 0;
  scratch_of(p, plan, nullptr, &floats);
  return floats;
}

void conv_task(const ConvProblem& p, const ConvPlan& plan, const ConvPointers& at, int64_t task, void* scratch) {
  const Scratch s = scratch_of(p, plan, static_cast<float*>(scratch), nullptr);
  switch (p.elem) {
    case Elem::f32: return task_of<float>(p, plan, at, task, s);
    case Elem::bf16: return task_of<Bf16>(p, plan, at, task, s);
    case Elem::f16: return task_of<F16>(p, plan, at, task, s);
  }
}

}  // namespace kpt::KPT_ISA

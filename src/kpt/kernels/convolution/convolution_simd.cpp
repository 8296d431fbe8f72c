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
  float* panel;  // [k_block * kh * kw][width]; planes: the padded plane
  float* out;    // [row_block rounded up][width]; planes: one output row
  float* wide;   // [kLanes][k_block * kh * kw], bf16 and f16 only
};

Scratch scratch_of(const ConvProblem& p, const ConvPlan& plan, float* memory, int64_t* floats) {
  const int64_t width = plan.max_v * kLanes, k = plan.k_block * p.kh * p.kw;
  const int64_t plane = (p.h + 2 * p.pad_h) * p.stride_w * plan.phase_width;
  const int64_t panel = rounded(plan.planes ? plane : k * width, 16);
  const int64_t out = rounded(plan.planes ? rounded(p.ow, kLanes) : rounded(plan.row_block, kLanes) * width, 16);
  const int64_t wide = plan.planes || p.elem == Elem::f32 ? 0 : kLanes * k;
  if (floats) *floats = panel + out + wide;
  return {memory, memory + panel, memory + panel + out};
}

// Inputs of one kernel column for `length` pixels of a row; `row` is the input row, ix the column of the first pixel.
template <class T>
void gather(float* to, int length, const T* row, int64_t ix, int64_t step, int64_t width) {
  // Pixels [low, high) fall inside the row.
  int64_t low = ix < 0 ? least(length, (-ix + step - 1) / step) : 0;
  int64_t high = ix >= width ? low : least(length, (width - ix + step - 1) / step);
  if (high < low) high = low;
  for (int64_t i = 0; i < low; ++i) to[i] = 0;
  int64_t i = low;
  if (step == 1) {
    for (; i + kLanes <= high; i += kLanes) store(to + i, load(row + ix + i));
    if (i < high) {
      const int rest = static_cast<int>(high - i);
      store_n(to + i, load_n(row + ix + i, rest), rest);
      i = high;
    }
  } else {
    for (; i < high; ++i) to[i] = load1(row + ix + i * step);
  }
  for (; i < length; ++i) to[i] = 0;
}

// panel[c, i, j][lane] for channels [0, channels) from x on.
template <class T>
void pack_patches(const ConvProblem& p, float* panel, int width, const T* x, int64_t channels, const Segment* segments,
                  int count, int lanes) {
  for (int64_t c = 0; c < channels; ++c, x += p.x_c)
    for (int64_t i = 0; i < p.kh; ++i)
      for (int64_t j = 0; j < p.kw; ++j, panel += width) {
        for (int s = 0; s < count; ++s) {
          const Segment& at = segments[s];
          const int64_t iy = at.oh * p.stride_h - p.pad_h + i * p.dilation_h;
          const int64_t ix = at.ow * p.stride_w - p.pad_w + j * p.dilation_w;
          if (iy < 0 || iy >= p.h)
            for (int l = 0; l < at.length; ++l) panel[at.lane + l] = 0;
          else
            gather(panel + at.lane, at.length, x + iy * p.x_h, ix, p.stride_w, p.w);
        }
        for (int l = lanes; l < width; ++l) panel[l] = 0;
      }
}

InPlace weights_of(const float* w, int64_t row, int64_t, int64_t, float*) { return {w, row, 1}; }
template <class T>
InPlace weights_of(const T* w, int64_t row, int64_t rows, int64_t k_count, float* wide) {
  widen_rows(wide, w, row, 1, rows, k_count);
  return {wide, k_count, 1};
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
    pack_patches(p, s.panel, width, x + c * p.x_c, channels, segments, count, lanes);
    for (int64_t r = 0; r < rows; r += kLanes) {
      const int64_t n = least(kLanes, rows - r);
      const InPlace a = weights_of(w + r * group_c * patch + c * patch, group_c * patch, n, k_count, s.wide);
      multiply(v, s.out + r * width, width, a, n, s.panel, width, k_count, more);
    }
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
  for (int64_t y = 0; y < p.h; ++y) {
    float* to = plane + (y + p.pad_h) * row;
    if (p.stride_w == 1) {
      gather(to + p.pad_w, static_cast<int>(p.w), x + y * p.x_h, 0, 1, p.w);
      continue;
    }
    for (int64_t i = 0; i < p.w; ++i) {
      const int64_t column = i + p.pad_w;
      to[column % p.stride_w * plan.phase_width + column / p.stride_w] = load1(x + y * p.x_h + i);
    }
  }
}

template <class T>
void plane_unit(const ConvProblem& p, const ConvPlan& plan, const ConvPointers& at, int64_t index, const Scratch& s) {
  const int64_t b = index / p.o, o = index % p.o, c = o / (p.o / p.groups);
  pad_plane(p, plan, static_cast<const T*>(at.x) + b * p.x_b + c * p.x_c, s.panel);
  const T* w = static_cast<const T*>(at.w) + o * p.kh * p.kw;
  const VecF start = p.has_bias ? splat(load1(static_cast<const T*>(at.bias) + o)) : VecF{};
  const int64_t row = p.stride_w * plan.phase_width;
  const int width = static_cast<int>(rounded(p.ow, kLanes));
  for (int64_t oh = 0; oh < p.oh; ++oh) {
    for (int64_t ow = 0; ow < p.ow; ow += kLanes) {
      VecF sum = start;
      for (int64_t i = 0; i < p.kh; ++i) {
        const float* from = s.panel + (oh * p.stride_h + i * p.dilation_h) * row + ow;
        for (int64_t j = 0; j < p.kw; ++j) {
          const int64_t column = j * p.dilation_w;
          sum = fma(load(from + column % p.stride_w * plan.phase_width + column / p.stride_w),
                    splat(load1(w + i * p.kw + j)), sum);
        }
      }
      store(s.out + ow, sum);
    }
    const Tile tile{s.out, width, 1, static_cast<int>(p.ow)};
    if (p.act != Act::none) activate(tile, p.act);
    store_straight(tile, Place<T>{static_cast<T*>(at.y) + ((b * p.o + o) * p.oh + oh) * p.ow, 0, 1}, Place<const T>{},
                   0.f);
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
    case Elem::f32:
      return task_of<float>(p, plan, at, task, s);
    case Elem::bf16:
      return task_of<Bf16>(p, plan, at, task, s);
    case Elem::f16:
      return task_of<F16>(p, plan, at, task, s);
  }
}

}  // namespace kpt::KPT_ISA

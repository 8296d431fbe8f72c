// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cpu/dot.h"
#include "kpt/kernels/lib/cpu/finish.h"
#include "kpt/kernels/lib/cpu/gemm.h"
#include "kpt/kernels/lib/cpu/pack.h"
#include "kpt/kernels/lib/cpu/pairs.h"

namespace kpt::KPT_ISA {
namespace {

template <class T>
struct Unit {
  Side<T> rows, lanes;  // at the first row and lane of the unit
  int64_t row_count;
  int lane_count, v;
  int64_t packed_id;  // which panel this is, from 1
  const T* bias;      // at the first row or lane
  Place<T> y;
  Place<const T> residual;
};

// Scratch of one worker: [0] the packed panel's id, then the tile, the widened rows, the panel.
struct Scratch {
  int64_t* packed;
  float* tile;
  float* panel;
  float* wide;
};

template <class T>
constexpr bool kIsFloat = false;
template <>
constexpr bool kIsFloat<float> = true;

Scratch scratch_of(const GemmPlan& plan, void* memory) {
  Scratch s;
  s.packed = static_cast<int64_t*>(memory);
  s.tile = reinterpret_cast<float*>(static_cast<char*>(memory) + 64);
  s.panel = s.tile + kLanes * kMaxPanel;
  s.wide = s.panel + plan.panel_floats;
  return s;
}

template <class T>
Unit<T> unit_at(const GemmProblem& p, const GemmPlan& plan, const GemmPointers& at, int64_t index) {
  const int64_t block = index % plan.row_blocks;
  const int64_t panel = index / plan.row_blocks % plan.panels;
  int64_t item = index / plan.row_blocks / plan.panels;
  int64_t x = 0, w = 0, y = 0, res = 0;
  for (int d = p.batch_dims - 1; d >= 0; --d) {
    const int64_t i = item % p.batch[d];
    item /= p.batch[d];
    x += i * p.x_batch[d];
    w += i * p.w_batch[d];
    y += i * p.y_batch[d];
    res += i * p.residual_batch[d];
  }
  Unit<T> u;
  const int64_t narrow = panel - plan.wide;
  u.v = narrow < 0 ? plan.max_v : plan.max_v - 1;
  const int64_t lane0 = (panel * plan.max_v - (narrow > 0 ? narrow : 0)) * kLanes;
  const int64_t row0 = block * plan.row_block;
  u.lane_count = static_cast<int>(plan.lanes - lane0 < u.v * kLanes ? plan.lanes - lane0 : u.v * kLanes);
  u.row_count = plan.rows - row0 < plan.row_block ? plan.rows - row0 : plan.row_block;
  u.packed_id = index / plan.row_blocks + 1;
  const int64_t m0 = plan.rows_are_n ? lane0 : row0, n0 = plan.rows_are_n ? row0 : lane0;
  const Side<T> xs{static_cast<const T*>(at.x) + x + m0 * p.x_m, p.x_m, p.x_k};
  const Side<T> ws{static_cast<const T*>(at.w) + w + n0 * p.w_n, p.w_n, p.w_k};
  u.rows = plan.rows_are_n ? ws : xs;
  u.lanes = plan.rows_are_n ? xs : ws;
  u.bias = p.has_bias ? static_cast<const T*>(at.bias) + n0 : nullptr;
  u.y.p = static_cast<T*>(at.y) + y + m0 * p.y_m + n0;
  u.y.row = plan.rows_are_n ? 1 : p.y_m;
  u.y.lane = plan.rows_are_n ? p.y_m : 1;
  if (p.has_residual) u.residual.p = static_cast<const T*>(at.residual) + res + m0 * p.residual_m + n0 * p.residual_n;
  u.residual.row = plan.rows_are_n ? p.residual_n : p.residual_m;
  u.residual.lane = plan.rows_are_n ? p.residual_m : p.residual_n;
  return u;
}

// Scale, bias, activation and store of rows [r, r + tile.rows) of the unit.
template <class T>
void finish(const GemmProblem& p, const GemmPlan& plan, const Unit<T>& u, int64_t r, const Tile& tile) {
  const float alpha = static_cast<float>(p.alpha), beta = static_cast<float>(p.beta);
  if (alpha != 1) each_vector(tile, [&](VecF x) { return x * alpha; });
  if (u.bias && plan.rows_are_n) add_row_bias(tile, u.bias + r);
  if (u.bias && !plan.rows_are_n) add_lane_bias(tile, u.bias);
  if (p.act != Act::none) activate(tile, p.act);
  Place<T> y = u.y;
  y.p += r * y.row;
  Place<const T> residual = u.residual;
  if (residual.p) residual.p += r * residual.row;
  plan.rows_are_n ? store_turned(tile, y, residual, beta) : store_straight(tile, y, residual, beta);
}

// The product of a group of rows, from the panel that `fill` made.
template <class T>
void fill(const GemmProblem& p, const Unit<T>& u, Scratch s) {
#if defined(__AVX512BF16__)
  if constexpr (kIsBf16<T>)
    if (u.rows.k == 1) return pack_pairs(s.panel, u.v * kLanes, u.lanes.p, u.lanes.i, u.lanes.k, u.lane_count, p.k);
#endif
  pack(s.panel, u.v * kLanes, u.lanes.p, u.lanes.i, u.lanes.k, u.lane_count, p.k);
}

template <class T>
void product(const GemmProblem& p, const Unit<T>& u, int64_t r, int rows, const float* panel, int64_t panel_k,
             Scratch s) {
  const T* a = u.rows.p + r * u.rows.i;
  const int width = u.v * kLanes;
#if defined(__AVX512BF16__)
  if constexpr (kIsBf16<T>)
    if (u.rows.k == 1) return multiply_pairs(u.v, s.tile, a, u.rows.i, rows, panel, p.k);
#endif
  if constexpr (kIsFloat<T>) {
    multiply(u.v, s.tile, width, {a, u.rows.i, u.rows.k}, rows, panel, panel_k, p.k);
  } else {
    widen_rows(s.wide, a, u.rows.i, u.rows.k, rows, p.k);
    multiply(u.v, s.tile, width, {s.wide, p.k, 1}, rows, panel, panel_k, p.k);
  }
}

template <class T>
void panel_unit(const GemmProblem& p, const GemmPlan& plan, const Unit<T>& u, Scratch s) {
  const int width = u.v * kLanes;
  const float* panel = s.panel;
  int64_t panel_k = width;
  bool in_place = false;
  if constexpr (kIsFloat<T>)
    if (plan.in_place && u.lanes.i == 1 && u.lane_count == width) {
      in_place = true;
      panel = u.lanes.p;
      panel_k = u.lanes.k;
    }
  if (!in_place && *s.packed != u.packed_id) {
    fill(p, u, s);
    *s.packed = u.packed_id;
  }
  for (int64_t r = 0; r < u.row_count; r += kLanes) {
    const Tile tile{s.tile, width, static_cast<int>(u.row_count - r < kLanes ? u.row_count - r : kLanes), u.lane_count};
    product(p, u, r, tile.rows, panel, panel_k, s);
    finish(p, plan, u, r, tile);
  }
}

template <class T>
void dot_unit(const GemmProblem& p, const GemmPlan& plan, const Unit<T>& u, Scratch s) {
  const int width = u.v * kLanes;
  for (int64_t r = 0; r < u.row_count; r += kLanes) {
    const Tile tile{s.tile, width, static_cast<int>(u.row_count - r < kLanes ? u.row_count - r : kLanes), u.lane_count};
    const Side<T> rows{u.rows.p + r * u.rows.i, u.rows.i, 1};
    // Lanes of the tile beyond lane_count hold old values: `finish` computes on them and never stores them.
    if (u.lane_count == 1)
      dot_rows<kLanes>(s.tile, width, rows, tile.rows, u.lanes, 1, p.k);
    else if (u.lane_count == 2)
      dot_rows<kLanes / 2>(s.tile, width, rows, tile.rows, u.lanes, 2, p.k);
    else
      dot_rows<kLanes / 4>(s.tile, width, rows, tile.rows, u.lanes, u.lane_count, p.k);
    finish(p, plan, u, r, tile);
  }
}

template <class T>
void task_of(const GemmProblem& p, const GemmPlan& plan, const GemmPointers& at, int64_t task, Scratch s) {
  const int64_t first = task * plan.units_per_task;
  const int64_t last = first + plan.units_per_task < plan.units ? first + plan.units_per_task : plan.units;
  for (int64_t i = first; i < last; ++i) {
    const Unit<T> u = unit_at<T>(p, plan, at, i);
    plan.dot ? dot_unit(p, plan, u, s) : panel_unit(p, plan, u, s);
  }
}

}  // namespace

int gemm_lanes() { return kLanes; }
int gemm_max_v() { return kMaxV; }
void gemm_reset(void* scratch) { *static_cast<int64_t*>(scratch) = 0; }

void gemm_task(const GemmProblem& p, const GemmPlan& plan, const GemmPointers& at, int64_t task, void* scratch) {
  const Scratch s = scratch_of(plan, scratch);
  switch (p.elem) {
    case Elem::f32: return task_of<float>(p, plan, at, task, s);
    case Elem::bf16: return task_of<Bf16>(p, plan, at, task, s);
    case Elem::f16: return task_of<F16>(p, plan, at, task, s);
  }
}

}  // namespace kpt::KPT_ISA

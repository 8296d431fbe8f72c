// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cpu/gemm_run.h"

#include <algorithm>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/isa.h"

namespace kpt {

namespace {

struct Entries {
  int (*lanes)();
  int (*max_v)();
  void (*reset)(void*);
  void (*task)(const GemmProblem&, const GemmPlan&, const GemmPointers&, int64_t, void*);
};

#define KPT_ENTRIES(isa) \
  Entries { isa::gemm_lanes, isa::gemm_max_v, isa::gemm_reset, isa::gemm_task }
const Entries& entries(Isa isa) {
  static const Entries table[] = KPT_ISA_TABLE(KPT_ENTRIES);
  return table[static_cast<size_t>(isa)];
}
#undef KPT_ENTRIES

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Few rows: w passes through the registers once or twice, so a packed copy of it would only add traffic.
constexpr int64_t kInPlaceRows = 16;

void choose_sides(const GemmProblem& p, int lanes, GemmPlan& plan) {
  const bool along_k = p.x_k == 1 && p.w_k == 1;
  plan.rows_are_n = !(p.w_n == 1 && p.w_k != 1);
  // A side of one vector or less: on Zen 4 sums along k take 0.4 to 1.0 of the time of panels for 8 to 16 rows, n and k
  // from 384 to 4,096, f32 and bf16, and 0.2 for one row.
  plan.dot = along_k && std::min<int64_t>(p.m, p.n) <= lanes;
  if (plan.dot) plan.rows_are_n = p.m <= p.n;
  plan.rows = plan.rows_are_n ? p.n : p.m;
  plan.lanes = plan.rows_are_n ? p.m : p.n;
  plan.in_place = !plan.dot && !plan.rows_are_n && p.elem == Elem::f32 && p.m <= kInPlaceRows;
}

}  // namespace

GemmPlan plan_gemm(const GemmProblem& p, Isa isa) {
  const Entries& e = entries(isa);
  const int lanes = e.lanes();
  GemmPlan plan;
  for (int d = 0; d < p.batch_dims; ++d) plan.batch *= p.batch[d];
  choose_sides(p, lanes, plan);
  if (plan.batch == 0 || p.m == 0 || p.n == 0) return plan;

  const int64_t vectors = ceil_div(plan.lanes, lanes);
  plan.max_v = static_cast<int>(std::min<int64_t>(vectors, e.max_v()));
  plan.panels = ceil_div(vectors, plan.max_v);
  // The last panels one vector less, so that none is nearly empty: 64 vectors are 20 * 3 + 2 * 2, not 21 * 3 + 1.
  plan.wide = vectors - plan.panels * (plan.max_v - 1);

  // About 8 tasks a thread, none below 1 MFLOP (10 us): fewer leave a thread idle at the end, more cost hand-outs and
  // packing again, since each worker packs the panels it meets.
  const double flops =
      2.0 * static_cast<double>(p.k + 1) * static_cast<double>(p.m * p.n) * static_cast<double>(plan.batch);
  const int64_t whole = plan.batch * plan.panels;
  const int64_t wanted = std::clamp<int64_t>(static_cast<int64_t>(flops / 1e6), 1, 8 * p.threads);
  const int64_t groups = ceil_div(plan.rows, lanes);
  plan.row_blocks = std::clamp<int64_t>(ceil_div(wanted, whole), 1, groups);
  if (p.threads <= 1) plan.row_blocks = 1;
  plan.row_block = ceil_div(groups, plan.row_blocks) * lanes;
  plan.row_blocks = ceil_div(plan.rows, plan.row_block);
  plan.units = whole * plan.row_blocks;
  const double unit_flops = flops / static_cast<double>(plan.units);
  plan.units_per_task = std::max<int64_t>(1, static_cast<int64_t>(1e6 / unit_flops));
  plan.tasks = ceil_div(plan.units, plan.units_per_task);

  const int64_t tile = static_cast<int64_t>(lanes) * lanes * e.max_v();
  plan.panel_floats = plan.dot ? 0 : round_up(p.k * plan.max_v * lanes, 16);
  plan.wide_floats = plan.dot || p.elem == Elem::f32 ? 0 : round_up(p.k * lanes, 16);
  plan.worker_bytes = 64 + 4 * round_up(tile + plan.panel_floats + plan.wide_floats, 16);
  return plan;
}

std::string describe(const GemmProblem& p, const GemmPlan& plan, Isa isa) {
  return cat(name(isa),
             plan.dot        ? " dot"
             : plan.in_place ? " in place"
                             : " panels",
             plan.rows_are_n ? " of x" : " of w", ", tasks ", plan.tasks, ", threads ",
             std::min<int64_t>(p.threads, std::max<int64_t>(plan.tasks, 1)));
}

size_t gemm_workspace(const GemmProblem& p, const GemmPlan& plan) {
  return static_cast<size_t>(plan.worker_bytes * std::max<int64_t>(1, std::min<int64_t>(p.threads, plan.tasks)));
}

void run_gemm(const GemmProblem& p, const GemmPlan& plan, const GemmPointers& at, void* workspace, Isa isa) {
  if (plan.tasks == 0) return;
  const Entries& e = entries(isa);
  char* scratch = static_cast<char*>(workspace);
  const int workers = static_cast<int>(std::min<int64_t>(p.threads, plan.tasks));
  for (int i = 0; i < std::max(workers, 1); ++i) e.reset(scratch + i * plan.worker_bytes);
  parallel(plan.tasks, workers,
           [&](int64_t task, int worker) { e.task(p, plan, at, task, scratch + worker * plan.worker_bytes); });
}

}  // namespace kpt

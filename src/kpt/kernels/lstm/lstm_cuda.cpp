// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/lstm/lstm_problem.h"

namespace kpt {
namespace {

constexpr int64_t kMostHidden = 256, kTile = 64;  // as lstm.cu
// Above this w_hh is read from the L2 cache at every step, by every block: a product a step is faster then.
constexpr int64_t kMostWeight = 512 << 10;

// As lstm.cu.
struct Project {
  int64_t step = 0, sequence = 0, column = 1;
  uint32_t rows = 0, batch = 0, inputs = 0, gates = 0, row_tiles = 0, gate_tiles = 0;
};
struct Recur {
  int64_t step = 0, sequence = 0;
  uint32_t steps = 0, batch = 0, hidden = 0, directions = 0;
  int32_t words = 0, last = 0;
};

Verdict supports(const Problem& p) {
  Lstm l;
  if (Verdict v = read_lstm(p, l); !v) return v;
  const DType dtype = p.operand(0)->dtype;
  if (!elem_of(dtype)) return no("dtype ", dtype);
  const int64_t weight = 4 * l.hidden * l.hidden * static_cast<int64_t>(size_of(dtype));
  if (l.hidden > kMostHidden || weight > kMostWeight)
    return no("hidden size ", l.hidden, ": its weights of ", weight, " bytes do not stay near a multiprocessor");
  if (l.steps * l.batch > kCudaMostUnits / 8) return no("more than 2^28 steps");
  return yes();
}

CudaProgram program(DType dtype, const char* part, int64_t rows) {
  CudaProgram out{cat("lstm/lstm.cu ", part), cuda_text("lstm/lstm.cu"), {cat("T=", cuda_type(dtype)), part}, "lstm"};
  if (rows) out.defines.push_back(cat("ROWS=", rows));
  return out;
}

CudaParam given(int i) { return i < 0 ? null_param() : in_param(i); }

CudaCall project(const Problem& p, const Lstm& l, int64_t layer, int64_t lower) {
  Project t;
  t.step = layer ? l.batch * l.directions * l.hidden : l.x_step;
  t.sequence = layer ? l.directions * l.hidden : l.x_batch;
  t.column = layer ? 1 : l.x_column;
  t.rows = static_cast<uint32_t>(l.steps * l.batch);
  t.batch = static_cast<uint32_t>(l.batch);
  t.inputs = static_cast<uint32_t>(layer ? l.directions * l.hidden : l.inputs);
  t.gates = static_cast<uint32_t>(4 * l.hidden);
  t.row_tiles = cuda_blocks(t.rows, kTile);
  t.gate_tiles = cuda_blocks(t.gates, kTile);
  CudaCall call;
  call.program = program(p.outputs[0].dtype, "PROJECT", 0);
  call.shape.grid[0] = t.row_tiles * t.gate_tiles * static_cast<uint32_t>(l.directions);
  call.shape.block[0] = 256;
  call.shape.overlap = true;
  call.params = {value_param(t), layer ? null_param() : in_param(l.x), layer ? work_param(lower) : null_param()};
  for (int64_t d = 0; d < 2; ++d) {
    const Lstm::Weights w =
        d < l.directions ? l.weights[static_cast<size_t>(layer * l.directions + d)] : Lstm::Weights{};
    for (int i : {w.ih, w.b_ih, w.b_hh}) call.params.push_back(given(i));
  }
  call.params.push_back(work_param());
  return call;
}

CudaCall recur(const Problem& p, const Lstm& l, int64_t layer, int64_t upper) {
  const DType dtype = p.outputs[0].dtype;
  const int64_t element = static_cast<int64_t>(size_of(dtype)), chips = std::max(1, p.gpu.multiprocessors);
  Recur t;
  t.step = l.y_step;
  t.sequence = l.y_batch;
  t.steps = static_cast<uint32_t>(l.steps);
  t.batch = static_cast<uint32_t>(l.batch);
  t.hidden = static_cast<uint32_t>(l.hidden);
  t.directions = static_cast<uint32_t>(l.directions);
  t.words = l.hidden * element % 16 == 0;
  t.last = layer + 1 == l.layers;
  // Two sequences a block where there are more of them than multiprocessors: weights are read for both.
  const int64_t rows = l.batch * l.directions > chips ? 2 : 1;
  CudaCall call;
  call.program = program(dtype, "RECUR", rows);
  call.shape.grid[0] = cuda_blocks(l.batch, rows) * t.directions;
  call.shape.block[0] = static_cast<uint32_t>(std::clamp<int64_t>(power_of_two(4 * l.hidden), 64, 512));
  call.shape.overlap = true;
  const auto weights = [&](int64_t d) { return l.weights[static_cast<size_t>(layer * l.directions + d)].hh; };
  const int64_t states = layer * l.directions * l.batch * l.hidden * element;
  call.params = {value_param(t),
                 in_param(weights(0)),
                 l.directions > 1 ? in_param(weights(1)) : null_param(),
                 in_param(l.h0, states),
                 in_param(l.c0, states),
                 work_param(),
                 t.last ? null_param() : work_param(upper),
                 t.last ? out_param(0) : null_param(),
                 out_param(1, states),
                 out_param(2, states)};
  return call;
}

CudaWork plan(const Problem& p) {
  Lstm l;
  const Verdict v = read_lstm(p, l);
  KPT_CHECK(v.ok, "kernels.lstm", "got ", p.str(), ": ", v.reason);
  // The gates of all steps, then what goes to the next layer; both f32.
  const int64_t places = l.steps * l.batch * l.directions * l.hidden, between = 4 * places * 4;
  CudaWork work;
  work.workspace_bytes = static_cast<size_t>(between + (l.layers > 1 ? places * 4 : 0));
  for (int64_t layer = 0; layer < l.layers; ++layer) {
    work.calls.push_back(project(p, l, layer, between));
    work.calls.push_back(recur(p, l, layer, between));
  }
  work.config = cat(l.layers, " layers, ", work.calls[1].shape.grid[0], " blocks of ", work.calls[1].shape.block[0]);
  return work;
}

}  // namespace

void register_lstm_cuda(KernelRegistry& registry) { add_cuda(registry, "aten.lstm.input", "lstm", supports, plan); }

}  // namespace kpt

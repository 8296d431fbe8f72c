// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/lstm/lstm_problem.h"

namespace kpt {
namespace {

Verdict read_sizes(const Problem& p, Lstm& l) {
  const TensorDesc* x = p.operand(0);
  const std::vector<int> states = p.operand_list(1);
  if (!x || states.size() != 2 || states[0] < 0 || states[1] < 0 || p.outputs.size() != 3)
    return no("want x and two states in, three tensors out");
  if (x->sizes.rank() != 3 || !is_float(x->dtype)) return no("x ", *x);
  if (get_bool(p.kwargs, "train", false) && get_float(p.kwargs, "dropout", 0) != 0) return no("dropout in training");
  const bool first = get_bool(p.kwargs, "batch_first", false);
  l.x = p.operand_index(0);
  l.h0 = states[0];
  l.c0 = states[1];
  const TensorDesc& h = p.inputs[static_cast<size_t>(l.h0)];
  if (h.sizes.rank() != 3) return no("state ", h);
  l.steps = x->sizes[first ? 1 : 0];
  l.batch = x->sizes[first ? 0 : 1];
  l.inputs = x->sizes[2];
  l.hidden = h.sizes[2];
  l.layers = get_int(p.kwargs, "num_layers", 1);
  l.directions = get_bool(p.kwargs, "bidirectional", false) ? 2 : 1;
  l.x_step = x->strides[first ? 1 : 0];
  l.x_batch = x->strides[first ? 0 : 1];
  l.x_column = x->strides[2];
  l.y_step = first ? l.directions * l.hidden : l.batch * l.directions * l.hidden;
  l.y_batch = first ? l.steps * l.directions * l.hidden : l.directions * l.hidden;
  if (l.layers < 1 || x->numel() == 0 || l.hidden < 1) return no("of no elements");
  const Dims state = {l.layers * l.directions, l.batch, l.hidden};
  const Dims y = {x->sizes[0], x->sizes[1], l.directions * l.hidden};
  for (const auto& [d, want] : {std::pair{&h, &state},
                                {&p.inputs[static_cast<size_t>(l.c0)], &state},
                                {&p.outputs[0], &y},
                                {&p.outputs[1], &state},
                                {&p.outputs[2], &state}})
    if (d->sizes != *want || d->dtype != x->dtype || !d->is_contiguous())
      return no("got ", *d, ", want dense ", x->dtype, *want);
  return yes();
}

}  // namespace

Verdict read_lstm(const Problem& p, Lstm& l) {
  if (Verdict v = read_sizes(p, l); !v) return v;
  const bool biases = get_bool(p.kwargs, "has_biases", true);
  const std::vector<int> params = p.operand_list(2);
  const size_t each = biases ? 4 : 2;
  if (params.size() != static_cast<size_t>(l.layers * l.directions) * each)
    return no("got ", params.size(), " weights, want ", each, " for each layer and direction");
  const DType dtype = p.operand(0)->dtype;
  for (size_t i = 0; i < params.size(); i += each) {
    const bool first = i < static_cast<size_t>(l.directions) * each;
    const Dims sizes[] = {
        {4 * l.hidden, first ? l.inputs : l.directions * l.hidden}, {4 * l.hidden, l.hidden}, {4 * l.hidden}};
    for (size_t k = 0; k < each; ++k) {
      if (params[i + k] < 0) return no("a weight is no tensor");
      const TensorDesc& d = p.inputs[static_cast<size_t>(params[i + k])];
      const Dims& want = sizes[std::min<size_t>(k, 2)];
      if (d.sizes != want || d.dtype != dtype || !d.is_contiguous()) return no("got ", d, ", want dense ", dtype, want);
    }
    l.weights.push_back({params[i], params[i + 1], biases ? params[i + 2] : -1, biases ? params[i + 3] : -1});
  }
  return yes();
}

namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// One layer in one direction: from[s, b] has `inputs` numbers, to[s, b] has directions * hidden.
void run_layer(const Problem& p, const RunArgs& args, const Lstm& l, int64_t layer, int64_t direction,
               const std::vector<double>& from, std::vector<double>& to) {
  const int64_t which = layer * l.directions + direction, hidden = l.hidden;
  const Lstm::Weights& w = l.weights[static_cast<size_t>(which)];
  const auto in = [&](int i, int64_t at) {
    return i < 0
               ? 0.0
               : load_as_double(p.inputs[0].dtype, shifted(args.inputs[i], at, p.inputs[static_cast<size_t>(i)].dtype));
  };
  const int64_t inputs = layer ? l.directions * hidden : l.inputs;
  for (int64_t b = 0; b < l.batch; ++b) {
    std::vector<double> h(static_cast<size_t>(hidden)), c(h), next(h);
    for (int64_t u = 0; u < hidden; ++u) {
      h[static_cast<size_t>(u)] = in(l.h0, (which * l.batch + b) * hidden + u);
      c[static_cast<size_t>(u)] = in(l.c0, (which * l.batch + b) * hidden + u);
    }
    for (int64_t t = 0; t < l.steps; ++t) {
      const int64_t s = direction ? l.steps - 1 - t : t;
      for (int64_t u = 0; u < hidden; ++u) {
        double gate[4];
        for (int64_t g = 0; g < 4; ++g) {
          const int64_t row = g * hidden + u;
          gate[g] = in(w.b_ih, row) + in(w.b_hh, row);
          for (int64_t k = 0; k < inputs; ++k)
            gate[g] += in(w.ih, row * inputs + k) * from[static_cast<size_t>((s * l.batch + b) * inputs + k)];
          for (int64_t k = 0; k < hidden; ++k) gate[g] += in(w.hh, row * hidden + k) * h[static_cast<size_t>(k)];
        }
        double& cell = c[static_cast<size_t>(u)];
        cell = sigmoid(gate[1]) * cell + sigmoid(gate[0]) * std::tanh(gate[2]);
        next[static_cast<size_t>(u)] = sigmoid(gate[3]) * std::tanh(cell);
        to[static_cast<size_t>(((s * l.batch + b) * l.directions + direction) * hidden + u)] =
            next[static_cast<size_t>(u)];
      }
      h = next;
    }
    Tensor hn{p.outputs[1], args.outputs[1], nullptr}, cn{p.outputs[2], args.outputs[2], nullptr};
    for (int64_t u = 0; u < hidden; ++u) {
      hn.set((which * l.batch + b) * hidden + u, h[static_cast<size_t>(u)]);
      cn.set((which * l.batch + b) * hidden + u, c[static_cast<size_t>(u)]);
    }
  }
}

Verdict supports(const Problem& p) {
  Lstm l;
  return read_lstm(p, l);
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  Lstm l;
  const Verdict v = read_lstm(p, l);
  KPT_CHECK(v.ok, "kernels.lstm", "got ", p.str(), ": ", v.reason);
  return make_launch([p, l](const RunArgs& args) {
    const DType dtype = p.outputs[0].dtype;
    std::vector<double> from, to;
    for (int64_t s = 0; s < l.steps; ++s)
      for (int64_t b = 0; b < l.batch; ++b)
        for (int64_t k = 0; k < l.inputs; ++k)
          from.push_back(
              load_as_double(dtype, shifted(args.inputs[l.x], s * l.x_step + b * l.x_batch + k * l.x_column, dtype)));
    for (int64_t layer = 0; layer < l.layers; ++layer) {
      to.assign(static_cast<size_t>(l.steps * l.batch * l.directions * l.hidden), 0);
      for (int64_t d = 0; d < l.directions; ++d) run_layer(p, args, l, layer, d, from, to);
      from = to;
    }
    const int64_t columns = l.directions * l.hidden;
    for (int64_t s = 0; s < l.steps; ++s)
      for (int64_t b = 0; b < l.batch; ++b)
        for (int64_t k = 0; k < columns; ++k)
          store_from_double(dtype, shifted(args.outputs[0], s * l.y_step + b * l.y_batch + k, dtype),
                            to[static_cast<size_t>((s * l.batch + b) * columns + k)]);
  });
}

}  // namespace

void register_lstm(KernelRegistry& registry) {
  add_reference(registry, "aten.lstm.input", "lstm", supports, make_reference);
}

}  // namespace kpt

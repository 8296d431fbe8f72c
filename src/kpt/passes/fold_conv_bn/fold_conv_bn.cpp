// SPDX-License-Identifier: Apache-2.0
// Batch norm of inference is y = x * scale + shift per channel, scale = weight / sqrt(var + eps), shift = bias - mean *
// scale. After a convolution that nobody else reads both go into its weight and bias; elsewhere they stay as a mul and
// an add. Scale and shift are made once, in the prologue, in f32 or wider.
#include "kpt/passes/rewriter.h"

namespace kpt {
namespace {

struct ScaleShift {
  Value *scale, *shift;  // [C]
};

Verdict is_inference_norm(const Node& node) {
  if (get_bool(node.kwargs, "training", true))
    return no("batch norm in training mode uses the statistics of the batch");
  for (int i = 3; i < 5; ++i)
    if (!operand_at(node, i).value) return no("batch norm without running statistics uses those of the batch");
  for (int i = 1; i < 5; ++i)
    if (Value* v = operand_at(node, i).value; v && !weights_only(v)) return no("%", v->name, " is no weight");
  if (node.inputs[0]->type.rank() < 2) return no("the input has rank below 2");
  return yes();
}

ScaleShift scale_and_shift(Rewriter& rw, const Node& node) {
  const auto wide = [&](int i) {
    Value* v = operand_at(node, i).value;
    if (!v) return v;
    return v->type.dtype == DType::f64 ? v : rw.cast(v, DType::f32);
  };
  Value *weight = wide(1), *bias = wide(2), *mean = wide(3), *var = wide(4);
  const TensorType& type = var->type;
  Value* scale = rw.make("aten.add.Tensor", {{var, {}}, {nullptr, get_float(node.kwargs, "eps", 1e-5)}}, {}, type);
  scale = rw.make("aten.rsqrt", {{scale, {}}}, {}, type);
  if (weight) scale = rw.make("aten.mul.Tensor", {{weight, {}}, {scale, {}}}, {}, type);
  Value* shift = rw.make("aten.mul.Tensor", {{mean, {}}, {scale, {}}}, {}, type);
  shift = bias ? rw.make("aten.sub.Tensor", {{bias, {}}, {shift, {}}}, {}, type)
               : rw.make("aten.neg", {{shift, {}}}, {}, type);
  return {scale, shift};
}

Verdict folds(const Graph& graph, const Node& norm) {
  const Node* conv = norm.inputs[0]->producer;
  if (!conv || conv->op != "aten.convolution") return no("no convolution before it");
  if (graph.use_count(conv->out()) != 1) return no("%", conv->out()->name, " has other readers");
  const Value *w = operand_at(*conv, 1).value, *b = operand_at(*conv, 2).value;
  if (!w || !weights_only(w) || (b && !weights_only(b))) return no("the convolution's weight is computed from inputs");
  if (get_bool(conv->kwargs, "transposed", false) && get_int(conv->kwargs, "groups", 1) != 1)
    return no("a transposed convolution in groups shares output channels between rows of its weight");
  return yes();
}

std::vector<Sym> along(const Value* v, int rank, int dim) {
  std::vector<Sym> sizes(static_cast<size_t>(rank), Sym(1));
  sizes[static_cast<size_t>(dim)] = v->type.sizes[0];
  return sizes;
}

// conv(x, w, b) * scale + shift = conv(x, w * scale, b * scale + shift)
void fold(Graph& graph, Node& norm) {
  Node* conv = norm.inputs[0]->producer;
  Rewriter rw(graph, &norm);
  const ScaleShift bn = scale_and_shift(rw, norm);
  Value *w = operand_at(*conv, 1).value, *b = operand_at(*conv, 2).value;
  const DType dtype = w->type.dtype, wide = bn.scale->type.dtype;
  const int channel = get_bool(conv->kwargs, "transposed", false) ? 1 : 0;
  Value* scale = rw.reshape(bn.scale, along(bn.scale, w->type.rank(), channel));
  Value* weight = rw.make("aten.mul.Tensor", {{rw.cast(w, wide), {}}, {scale, {}}}, {}, {wide, w->type.sizes});
  Value* bias = bn.shift;
  if (b) {
    bias = rw.make("aten.mul.Tensor", {{rw.cast(b, wide), {}}, {bn.scale, {}}}, {}, bn.scale->type);
    bias = rw.make("aten.add.Tensor", {{bias, {}}, {bn.shift, {}}}, {}, bn.shift->type);
  }
  Value* y =
      rw.make("aten.convolution", {operand_at(*conv, 0), {rw.cast(weight, dtype), {}}, {rw.cast(bias, dtype), {}}},
              conv->kwargs, norm.out()->type);
  rw.replace_node(y);
  graph.erase(conv);
}

void spell_out(Graph& graph, Node& norm) {
  Rewriter rw(graph, &norm);
  const ScaleShift bn = scale_and_shift(rw, norm);
  Value* x = norm.inputs[0];
  const TensorType type = norm.out()->type;
  const DType wide = bn.scale->type.dtype;
  const auto channels = [&](Value* v) { return rw.reshape(v, along(v, x->type.rank(), 1)); };
  const TensorType middle{wide, type.sizes};
  Value* y = rw.make("aten.mul.Tensor", {{rw.cast(x, wide), {}}, {channels(bn.scale), {}}}, {}, middle);
  y = rw.make("aten.add.Tensor", {{y, {}}, {channels(bn.shift), {}}}, {}, middle);
  rw.replace_node(rw.cast(y, type.dtype));
}

void fold_conv_bn(Graph& graph, PassContext& context) {
  for (Node* norm : graph.nodes()) {
    if (norm->op != "aten.batch_norm") continue;
    Rewrite r{"fold_conv_bn@" + norm->out()->name,
              "fold_conv_bn",
              "batch norm of %" + norm->inputs[0]->name,
              norm->loc.scope,
              "",
              true,
              {norm->out()->name}};
    Verdict can = is_inference_norm(*norm);
    if (can && !context.allowed(r.key)) can = no("put back");
    if (!can) {
      r.why = can.reason;
      context.declined(r);
      continue;
    }
    const Verdict into = folds(graph, *norm);
    r.why = into ? "scale and shift are part of the convolution's weight and bias"
                 : "one multiplication and addition, as " + into.reason;
    if (into)
      fold(graph, *norm);
    else
      spell_out(graph, *norm);
    context.applied(r);
  }
}

}  // namespace

void register_fold_conv_bn(PassRegistry& registry) {
  registry.add(
      {"fold_conv_bn", 55, "Batch norm becomes part of the convolution before it, or a mul and an add.", fold_conv_bn});
}

}  // namespace kpt

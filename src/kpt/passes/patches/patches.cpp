// SPDX-License-Identifier: Apache-2.0
// A convolution whose windows stand side by side, as over the patches of a picture, is a product of [patches, C kh kw]
// and the weight. Tensor cores want 8 channels of a convolution; a picture has 3, but a patch has hundreds of numbers,
// and one copy of the picture lays them in a row.
#include "kpt/passes/rewriter.h"

namespace kpt {
namespace {

constexpr int64_t kChannels = 8;

Verdict is_patches(const Node& conv) {
  const Value *x = operand_at(conv, 0).value, *w = operand_at(conv, 1).value;
  if (!x || !w || x->type.rank() != 4) return no("no 2-D convolution");
  if (x->type.dtype != DType::bf16 && x->type.dtype != DType::f16) return no(x->type.dtype, " needs no 8 channels");
  if (get_bool(conv.kwargs, "transposed", false) || get_int(conv.kwargs, "groups", 1) != 1)
    return no("transposed or in groups");
  for (size_t i = 1; i < 4; ++i)
    if (!x->type.sizes[i].is_const() || !w->type.sizes[i].is_const()) return no("the sizes are not known");
  if (x->type.sizes[1].value() % kChannels == 0) return no("whole loads of channels: the convolution is as good");
  const auto stride = get_ints(conv.kwargs, "stride"), padding = get_ints(conv.kwargs, "padding"),
             dilation = get_ints(conv.kwargs, "dilation");
  if (stride.size() != 2 || padding != std::vector<int64_t>{0, 0} || dilation != std::vector<int64_t>{1, 1})
    return no("padding or dilation");
  for (size_t i = 0; i < 2; ++i) {
    const int64_t size = x->type.sizes[i + 2].value(), kernel = w->type.sizes[i + 2].value();
    if (kernel < 2 || kernel != stride[i] || size % kernel) return no("windows do not tile the picture");
  }
  return yes();
}

void write_product(Graph& graph, Node& conv) {
  Rewriter rw(graph, &conv);
  Value *x = operand_at(conv, 0).value, *w = operand_at(conv, 1).value;
  const auto &in = x->type.sizes, &out = conv.out()->type.sizes, &kernel = w->type.sizes;
  const Sym inner = kernel[1] * kernel[2] * kernel[3];
  x = rw.reshape(x, {in[0], in[1], out[2], kernel[2], out[3], kernel[3]});
  x = rw.permute(x, {0, 2, 4, 1, 3, 5});
  x = rw.make("aten.reshape", {{x, {}}}, {{"shape", AttrList{in[0], out[2] * out[3], inner}}},
              {x->type.dtype, {in[0], out[2] * out[3], inner}});
  w = rw.reshape(w, {kernel[0], inner});
  const TensorType type{x->type.dtype, {in[0], out[2] * out[3], kernel[0]}};
  Value* y = rw.make("aten.linear", {{x, {}}, {w, {}}, operand_at(conv, 2)}, {}, type);
  y = rw.reshape(y, {in[0], out[2], out[3], kernel[0]});
  rw.replace_node(rw.permute(y, {0, 3, 1, 2}));
}

void patches(Graph& graph, PassContext& context) {
  if (context.device != "cuda") return;
  for (Node* conv : graph.nodes()) {
    if (conv->op != "aten.convolution" || !is_patches(*conv)) continue;
    const std::string name = conv->out()->name;
    Rewrite r{"patches@" + name, "patches", "convolution of patches", conv->loc.scope, "", true, {name}};
    if (context.allowed(r.key)) {
      r.why = "one product; the convolution would be of channels filled up with zeros";
      write_product(graph, *conv);
      context.applied(r);
    } else {
      r.why = "put back";
      context.declined(r);
    }
  }
}

}  // namespace

void register_patches(PassRegistry& registry) {
  registry.add({"patches", 57, "Convolutions of a GPU whose windows tile the picture, as one product.", patches});
}

}  // namespace kpt

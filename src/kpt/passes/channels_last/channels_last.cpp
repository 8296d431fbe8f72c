// SPDX-License-Identifier: Apache-2.0
// On a GPU the tensor cores want 16-bit convolutions channels-last: y[N, H, W, O] from x and w whose channels lie side
// by side. Such a convolution becomes kpt.convolution with layout="nhwc" and a permute behind it, which is a view. What
// works on single elements, pools or joins such views then moves in front of the permute, so that the next convolution
// finds its input as it wants it; an add and an activation become part of the convolution. Weights are laid out once,
// in the prologue.
#include <algorithm>
#include <map>

#include "kpt/ir/ops.h"
#include "kpt/passes/rewriter.h"

namespace kpt {
namespace {

const std::vector<int64_t> kToLast{0, 2, 3, 1}, kToFirst{0, 3, 1, 2};

// A load of 16 bytes is 8 numbers: the kernels of the tensor cores want that many channels.
constexpr int64_t kChannels = 8;

bool is_op(const Value* v, std::string_view op) { return v->producer && v->producer->op == op; }

// The [N, H, W, C] value that v is the [N, C, H, W] view of; null where it is none.
Value* last_of(const Value* v) {
  if (!is_op(v, "aten.permute") || get_ints(v->producer->kwargs, "dims") != kToFirst) return nullptr;
  return v->producer->inputs[0];
}

std::vector<Sym> last_sizes(const std::vector<Sym>& s) { return {s[0], s[2], s[3], s[1]}; }

bool is_one(const Sym& s) { return s == Sym(1); }

class ChannelsLast {
 public:
  ChannelsLast(Graph& graph, PassContext& context) : graph_(graph), context_(context) {}

  void run() {
    for (Node* node : graph_.nodes()) {
      if (node->op == "aten.convolution")
        convert(*node);
      else if (node->outputs.size() == 1)
        move_in_front(*node);
    }
    for (const auto& [conv, index] : convolutions_) rewrites_[index].values.push_back(conv->name);
    for (Rewrite& rewrite : rewrites_) context_.applied(std::move(rewrite));
  }

 private:
  static Verdict wanted(const Node& conv) {
    const Value *x = operand_at(conv, 0).value, *w = operand_at(conv, 1).value;
    if (!x || !w || x->type.rank() != 4) return no("no 2-D convolution");
    if (x->type.dtype != DType::bf16 && x->type.dtype != DType::f16) return no(x->type.dtype, " has no such kernels");
    if (get_bool(conv.kwargs, "transposed", false)) return no("a transposed convolution");
    // Seen on an H200: engines of cuDNN 9.19 for groups of several channels leave y unwritten.
    if (get_int(conv.kwargs, "groups", 1) != 1 && !(w->type.sizes[1].is_const() && w->type.sizes[1].value() == 1))
      return no("groups of several channels");
    if (!weights_only(w)) return no("the weight is computed from inputs");
    for (const Sym& s : w->type.sizes)
      if (!s.is_const()) return no("the weight's sizes are not known");
    return yes();
  }

  void convert(Node& conv) {
    const std::string name = conv.out()->name;
    Rewrite rewrite{
        "channels_last@" + name, "channels_last", "channels-last convolution", conv.loc.scope, "", true, {name}};
    Verdict can = wanted(conv);
    if (can && !context_.allowed(rewrite.key)) can = no("put back");
    if (!can) {
      rewrite.why = can.reason;
      return context_.declined(rewrite);
    }
    rewrite.why = "as the tensor cores read it, no transposition inside";
    Rewriter rw(graph_, &conv);
    Value *x = operand_at(conv, 0).value, *w = operand_at(conv, 1).value;
    const int64_t channels = w->type.sizes[1].value();
    const bool ready = packed(x), narrow = !ready && channels > 1 && get_int(conv.kwargs, "groups", 1) == 1;
    const int64_t padding = narrow ? (kChannels - channels % kChannels) % kChannels : 0;
    const auto lay_out = [&](Value* v) {
      v = laid_out(rw, v, padding);
      rewrite.values.push_back(last_of(v)->name);
      return v;
    };
    if (const auto copy = laid_out_.find(x); !ready && !padding && copy != laid_out_.end()) {
      x = rw.permute(copy->second, kToFirst);
    } else if (!ready) {
      Value* const from = x;
      x = lay_out(x);
      if (!padding) laid_out_[from] = last_of(x);
    }
    if (padding || !flat(w->type.sizes)) w = lay_out(w);
    Kwargs kwargs = conv.kwargs;
    kwargs.emplace_back("act", "none");
    kwargs.emplace_back("layout", "nhwc");
    Value* y = rw.make("kpt.convolution", {{x, {}}, {w, {}}, operand_at(conv, 2), {}}, kwargs,
                       {conv.out()->type.dtype, last_sizes(conv.out()->type.sizes)});
    rw.replace_node(rw.permute(y, kToFirst));
    name_last(y, name);
    convolutions_[y] = rewrites_.size();
    rewrites_.push_back(std::move(rewrite));
  }

  // One channel or one pixel: both orders are the same memory.
  static bool flat(const std::vector<Sym>& sizes) { return is_one(sizes[1]) || (is_one(sizes[2]) && is_one(sizes[3])); }

  // Lies channels-last without gaps.
  static bool packed(const Value* x) {
    const Value* last = last_of(x);
    if (!last) return flat(x->type.sizes) && (!x->producer || !is_view(x->producer->op));
    return !last->producer || !is_view(last->producer->op) || last->producer->op == "aten.reshape";
  }

  // The [N, H, W, C] form of v, where there is one already.
  Value* last(const Value* v) const {
    const auto copy = laid_out_.find(v);
    return copy != laid_out_.end() ? copy->second : last_of(v);
  }

  // The same tensor in channels-last memory, with `padding` channels of zeros behind its own.
  static Value* laid_out(Rewriter& rw, Value* v, int64_t padding) {
    Value* last = rw.permute(v, kToLast);
    TensorType type = last->type;
    type.sizes[3] = type.sizes[3] + Sym(padding);
    if (padding)
      last = rw.make("aten.constant_pad_nd", {{last, {}}}, {{"pad", AttrList{Sym(0), Sym(padding)}}, {"value", 0.0}},
                     type);
    else
      last = rw.make("kpt.copy", {{last, {}}}, {}, type);
    return rw.permute(last, kToFirst);
  }

  // The permute keeps the name that users know; what it is a view of is named after it.
  void name_last(Value* v, const std::string& name) {
    if (is_value_name(name + ".last") && !graph_.find(name + ".last")) graph_.rename(v, name + ".last");
  }

  void move_in_front(Node& node) {
    Value* v = nullptr;
    Rewriter rw(graph_, &node);
    const std::vector<Value*> read = node.inputs;
    if (convolutions_.empty() || std::none_of(read.begin(), read.end(), last_of)) return;
    if (node.op == "aten.permute") {
      rw.replace_node(rw.permute(node.inputs[0], get_ints(node.kwargs, "dims")));
      return drop(read);
    }
    if (is_pointwise(node.op))
      v = pointwise(rw, node);
    else if (node.op == "aten.max_pool2d" || node.op == "aten.avg_pool2d" || node.op == "aten.adaptive_avg_pool2d")
      v = pool(rw, node);
    else if (node.op == "aten.mean.dim")
      v = mean(rw, node);
    else if (node.op == "aten.cat")
      v = cat_channels(rw, node);
    if (!v) return;
    const std::string name = node.out()->name;
    const bool view = v->type.rank() == 4;  // else the mean of each channel
    rw.replace_node(view ? rw.permute(v, kToFirst) : v);
    drop(read);
    if (!view) return;
    if (!convolutions_.count(v)) v = into_convolution(v);
    if (is_numbered(v)) name_last(v, name);
  }

  static bool is_numbered(const Value* v) { return v->name.find_first_not_of("0123456789") == std::string::npos; }

  // Permutes that nobody reads any more.
  void drop(const std::vector<Value*>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::find(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(i), values[i]) !=
          values.begin() + static_cast<std::ptrdiff_t>(i))
        continue;
      if (last_of(values[i]) && graph_.use_count(values[i]) == 0) graph_.erase(values[i]->producer);
    }
  }

  // What a pointwise operator reads at [N, H, W, C] in place of `v`.
  Value* pointwise_operand(Rewriter& rw, Value* v) const {
    if (Value* known = last(v)) return known;
    const int rank = v->type.rank();
    if (rank == 0) return v;
    std::vector<Sym> sizes(static_cast<size_t>(4 - rank), Sym(1));
    sizes.insert(sizes.end(), v->type.sizes.begin(), v->type.sizes.end());
    const bool pixels = !is_one(sizes[2]) || !is_one(sizes[3]);
    Value* last = rw.permute(rw.reshape(v, sizes), kToLast);
    return pixels && !is_one(sizes[1]) ? rw.make("kpt.copy", {{last, {}}}, {}, last->type) : last;
  }

  Value* pointwise(Rewriter& rw, const Node& node) const {
    const TensorType& type = node.out()->type;
    if (type.rank() != 4 || node.op.substr(0, 5) != "aten.") return nullptr;
    for (const Value* v : node.inputs)  // asked before anything is made
      if (!last(v) && !weights_only(v) && !is_channel_vector(v->type.sizes)) return nullptr;
    std::vector<Operand> operands;
    for (int i = 0; i < static_cast<int>(node.args.size()); ++i) {
      Operand o = operand_at(node, i);
      if (o.value) o.value = pointwise_operand(rw, o.value);
      operands.push_back(o);
    }
    return rw.make(node.op, operands, node.kwargs, {type.dtype, last_sizes(type.sizes)});
  }

  // [N, C, 1, 1], [C, 1, 1] or a number: the same for every pixel.
  static bool is_channel_vector(const std::vector<Sym>& sizes) {
    const size_t rank = sizes.size();
    if (rank > 4) return false;
    return rank == 0 || (is_one(sizes[rank - 1]) && (rank == 1 || is_one(sizes[rank - 2])));
  }

  static Value* pool(Rewriter& rw, const Node& node) {
    Value *x = node.inputs[0], *last = last_of(x);
    if (!last) return nullptr;
    const TensorType type{node.out()->type.dtype, last_sizes(node.out()->type.sizes)};
    if (node.op == "aten.adaptive_avg_pool2d" && is_one(type.sizes[1]) && is_one(type.sizes[2]))
      return rw.make("aten.mean.dim", {{last, {}}},
                     {{"dim", AttrList{Sym(1), Sym(2)}}, {"keepdim", true}, {"dtype", None{}}}, type);
    Kwargs kwargs = node.kwargs;
    kwargs.emplace_back("layout", "nhwc");
    return rw.make("kpt." + node.op.substr(5), {{x, {}}}, kwargs, type);
  }

  // The mean of each channel: [N, C, 1, 1] or [N, C].
  static Value* mean(Rewriter& rw, const Node& node) {
    Value* last = last_of(node.inputs[0]);
    std::vector<int64_t> dims = get_ints(node.kwargs, "dim");
    for (int64_t& d : dims) d = wrap_dim(d, 4);
    std::sort(dims.begin(), dims.end());
    if (!last || dims != std::vector<int64_t>{2, 3}) return nullptr;
    TensorType type = node.out()->type;
    if (type.rank() == 4) type.sizes = last_sizes(type.sizes);
    Kwargs kwargs = node.kwargs;
    for (auto& [name, value] : kwargs)
      if (name == "dim") value = AttrList{Sym(1), Sym(2)};
    return rw.make(node.op, {{last, {}}}, kwargs, type);
  }

  static Value* cat_channels(Rewriter& rw, const Node& node) {
    std::vector<Value*> list;
    for (Value* v : operand_list(node, 0)) list.push_back(v ? last_of(v) : nullptr);
    if (list.empty() || std::count(list.begin(), list.end(), nullptr)) return nullptr;
    if (wrap_dim(get_int(node.kwargs, "dim", 0), 4) != 1) return nullptr;
    return rw.make_list(node.op, list, {{"dim", Sym(3)}}, {node.out()->type.dtype, last_sizes(node.out()->type.sizes)});
  }

  // An add or an activation of a convolution that nobody else reads becomes part of it; the value that stands for `v`.
  Value* into_convolution(Value* v) {
    static const std::map<std::string, std::string, std::less<>> acts{
        {"aten.relu", "relu"}, {"aten.silu", "silu"}, {"aten.tanh", "tanh"}, {"aten.sigmoid", "sigmoid"}};
    Node& node = *v->producer;
    const auto act = acts.find(node.op);
    if (act != acts.end()) {
      Value* conv = node.inputs[0];
      if (!absorbs(conv, v)) return v;
      return absorb(node, conv, operand_at(*conv->producer, 3).value, act->second);
    }
    if (node.op != "aten.add.Tensor" || node.inputs.size() != 2) return v;
    for (int i = 0; i < 2; ++i) {
      Value *conv = node.inputs[static_cast<size_t>(i)], *residual = node.inputs[static_cast<size_t>(1 - i)];
      if (residual->type == v->type && absorbs(conv, v) && !operand_at(*conv->producer, 3).value)
        return absorb(node, conv, residual, "none");
    }
    return v;
  }

  bool absorbs(Value* conv, const Value* v) const {
    return convolutions_.count(conv) && conv->type == v->type && graph_.use_count(conv) == 1 &&
           get_string(conv->producer->kwargs, "act", "none") == "none";
  }

  Value* absorb(Node& node, Value* conv, Value* residual, const std::string& act) {
    Node* const old = conv->producer;
    Rewriter rw(graph_, &node);
    Kwargs kwargs = old->kwargs;
    for (auto& [name, value] : kwargs)
      if (name == "act") value = act;
    Value* y =
        rw.make("kpt.convolution", {operand_at(*old, 0), operand_at(*old, 1), operand_at(*old, 2), {residual, {}}},
                kwargs, conv->type);
    const size_t index = convolutions_.at(conv);
    convolutions_.erase(conv);
    rewrites_[index].why += act == "none" ? "; adds the residual" : "; applies " + act;
    graph_.replace_uses(node.out(), y);
    graph_.erase(&node);
    graph_.erase(old);
    convolutions_[y] = index;
    return y;
  }

  Graph& graph_;
  PassContext& context_;
  std::vector<Rewrite> rewrites_;
  std::map<Value*, size_t> convolutions_;    // outputs of those made here -> rewrites_
  std::map<const Value*, Value*> laid_out_;  // values of another order -> their copies
};

void channels_last(Graph& graph, PassContext& context) {
  if (context.device == "cuda") ChannelsLast(graph, context).run();
}

}  // namespace

void register_channels_last(PassRegistry& registry) {
  registry.add(
      {"channels_last", 58, "16-bit convolutions of a GPU and what lies between them, channels last.", channels_last});
}

}  // namespace kpt

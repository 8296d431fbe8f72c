// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/ir/rules.h"

namespace kpt {

namespace {

void linear(RuleChecker& c) {
  const auto& x = c.sizes(0);
  if (c.sizes(1).size() == 1 && c.node.op == "aten.linear") return;  // a vector as weight: rare, left to PyTorch
  if (!c.rank_is(1, 2)) return;
  c.equal(c.dim(0, -1), c.dim(1, 1), "the inner size of x against the weight's");
  if (!c.ok()) return;
  std::vector<Sym> want(x.begin(), x.end() - 1);
  want.push_back(c.dim(1, 0));
  if (c.has(2)) c.shape(c.sizes(2), {c.dim(1, 0)}, "bias");
  if (c.has(3)) c.shape(c.sizes(3), want, "residual");
  c.out_shape(want);
}

// [.., M, K] x [.., K, N]; the leading axes broadcast.
void product(RuleChecker& c, int a, int b, std::vector<Sym>& want) {
  c.equal(c.dim(a, -1), c.dim(b, -2), "the inner size");
  if (!c.ok()) return;
  const auto &x = c.sizes(a), &y = c.sizes(b);
  want.assign(c.out().sizes.begin(), c.out().sizes.end());
  const size_t rank = std::max(x.size(), y.size());
  if (want.size() != rank) return c.fail("got output rank ", want.size(), ", want ", rank);
  c.broadcast({{x.begin(), x.end() - 2}, {y.begin(), y.end() - 2}}, {want.begin(), want.end() - 2});
  want[rank - 2] = c.dim(a, -2);
  want[rank - 1] = c.dim(b, -1);
}

void matmul(RuleChecker& c) {
  if (c.sizes(0).size() < 2 || c.sizes(1).size() < 2) return;  // vectors: left to PyTorch
  std::vector<Sym> want;
  product(c, 0, 1, want);
  if (c.ok()) c.out_shape(want);
}

template <int kRank>
void matmul_of_rank(RuleChecker& c) {
  if (c.rank_is(0, kRank) && c.rank_is(1, kRank)) matmul(c);
}

template <int kRank>
void add_matmul(RuleChecker& c) {
  if (!c.rank_is(1, kRank) || !c.rank_is(2, kRank)) return;
  std::vector<Sym> want;
  product(c, 1, 2, want);
  if (!c.ok()) return;
  c.out_shape(want);
  if (c.ok()) c.broadcast({c.sizes(0), want}, want);
}

void attention(RuleChecker& c) {
  for (int i = 0; i < 3; ++i)
    if (!c.rank_is(i, 4)) return;
  const bool bshd = get_string(c.node.kwargs, "layout", "bhsd") == "bshd";
  const Sym b = c.dim(0, 0), heads = c.dim(0, 1), s = c.dim(0, 2), t = c.dim(1, 2), width = c.dim(2, 3);
  c.equal(c.dim(1, 0), b, "the batch of k");
  c.equal(c.dim(2, 0), b, "the batch of v");
  c.equal(c.dim(1, 3), c.dim(0, 3), "the head size of k");
  c.equal(c.dim(2, 1), c.dim(1, 1), "the heads of v");
  c.equal(c.dim(2, 2), t, "the length of v");
  const Sym kv = c.dim(1, 1);
  if (heads.is_const() && kv.is_const() && (kv.value() <= 0 || heads.value() % kv.value() != 0))
    c.fail("got ", heads, " heads of q, want a multiple of the ", kv, " of k and v");
  const std::string mask = get_string(c.node.kwargs, "mask_kind", "none");
  if ((mask != "none") != c.has(3)) c.fail("got mask_kind ", mask, c.has(3) ? " with" : " without", " a mask");
  if (mask == "key" && c.has(3)) c.shape(c.sizes(3), {b, t}, "mask");
  if ((mask == "bool" || mask == "add") && c.has(3)) {
    if (!c.rank_is(3, 4)) return;
    c.broadcast({c.sizes(3), {b, heads, s, t}}, {b, heads, s, t});
  }
  c.out_shape(bshd ? std::vector<Sym>{b, s, heads, width} : std::vector<Sym>{b, heads, s, width});
}

void embedding(RuleChecker& c) {
  if (!c.rank_is(0, 2)) return;
  std::vector<Sym> want = c.sizes(1);
  want.push_back(c.dim(0, 1));
  c.out_shape(want);
  if (!c.ok()) return;
  const DType index = c.node.operand(1)->type.dtype;
  if (index != DType::i64 && index != DType::i32) c.fail("got indices of dtype ", index, ", want i64 or i32");
}

void index_select(RuleChecker& c) {
  std::vector<Sym> want = c.sizes(0);
  if (want.empty()) return;
  const int d = c.axis(get_int(c.node.kwargs, "dim", 0), static_cast<int>(want.size()));
  const auto& index = c.sizes(1);
  if (!c.ok()) return;
  want[static_cast<size_t>(d)] = index.empty() ? Sym(1) : index[0];
  c.out_shape(want);
}

void gather(RuleChecker& c) {
  if (c.sizes(0).size() != c.sizes(1).size() && !c.sizes(0).empty() && !c.sizes(1).empty())
    c.fail("got an index of rank ", c.sizes(1).size(), ", want ", c.sizes(0).size());
  c.out_shape(c.sizes(1));
}

int64_t at_or_last(const std::vector<int64_t>& v, size_t i, int64_t otherwise) {
  if (v.empty()) return otherwise;
  return i < v.size() ? v[i] : v.back();
}

void index_copy(RuleChecker& c) {
  std::vector<Sym> want = c.sizes(0);
  c.out_shape(want);
  const int d = c.axis(get_int(c.node.kwargs, "dim", 0), static_cast<int>(want.size()));
  if (!c.ok() || !c.rank_is(1, 1)) return;
  want[static_cast<size_t>(d)] = c.dim(1, 0);
  c.shape(c.sizes(2), want, "source");
  if (c.has(0)) c.dtype(c.out().dtype, c.node.operand(0)->type.dtype, "output");
}

// Written in place: what else read the state would see it before or after, as the steps happen to lie.
void write(RuleChecker& c) {
  index_copy(c);
  const Value* state = c.node.operand(0);
  if (!state) return;
  if (state->kind != Value::Kind::weight) return c.fail("got %", state->name, ", want a weight: only state is written");
  if (state->users.size() != 1)
    c.fail("got %", state->name, ", which other nodes read too: want them to read the output");
}

void convolution(RuleChecker& c) {
  const int rank = static_cast<int>(c.sizes(0).size());
  if (rank < 3 || !c.rank_is(1, rank)) return;
  const auto& kw = c.node.kwargs;
  const bool transposed = get_bool(kw, "transposed", false);
  const int64_t groups = get_int(kw, "groups", 1);
  const auto stride = get_ints(kw, "stride"), padding = get_ints(kw, "padding"), dilation = get_ints(kw, "dilation"),
             extra = get_ints(kw, "output_padding");
  if (groups < 1) return c.fail("got ", groups, " groups");
  const Sym channels = transposed ? c.dim(1, 0) : c.dim(1, 1) * groups;
  c.equal(c.dim(0, 1), channels, "the channels of x");
  const Sym filters = transposed ? c.dim(1, 1) * groups : c.dim(1, 0);
  if (c.has(2)) c.shape(c.sizes(2), {filters}, "bias");
  std::vector<Sym> want = {c.dim(0, 0), filters};
  for (int i = 2; i < rank; ++i) {
    const size_t k = static_cast<size_t>(i - 2);
    const Sym s = at_or_last(stride, k, 1), p = at_or_last(padding, k, 0), d = at_or_last(dilation, k, 1);
    if (s.value() < 1) return c.fail("got stride ", s);
    const Sym reach = d * (c.dim(1, i) - 1) + 1;
    if (transposed)
      want.push_back((c.dim(0, i) - 1) * s - Sym(2) * p + reach + at_or_last(extra, k, 0));
    else
      want.push_back(floordiv(c.dim(0, i) + Sym(2) * p - reach, s) + 1);
  }
  const std::string layout = get_string(kw, "layout", "nchw");
  if (layout == "nhwc")
    std::rotate(want.begin() + 1, want.begin() + 2, want.end());
  else if (layout != "nchw")
    return c.fail("got layout \"", layout, "\", want nchw or nhwc");
  if (c.has(3)) c.shape(c.sizes(3), want, "residual");
  c.out_shape(want);
}

void copy(RuleChecker& c) {
  c.out_shape(c.sizes(0));
  if (c.has(0)) c.dtype(c.out().dtype, c.node.operand(0)->type.dtype, "output");
}

}  // namespace

void add_matmul_rules(RuleTable& table) {
  table["aten.linear"] = linear;
  table["kpt.linear"] = linear;
  table["aten.matmul"] = matmul;
  table["aten.mm"] = matmul_of_rank<2>;
  table["aten.bmm"] = matmul_of_rank<3>;
  table["aten.addmm"] = add_matmul<2>;
  table["aten.baddbmm"] = add_matmul<3>;
  table["kpt.attention"] = attention;
  table["aten.embedding"] = embedding;
  table["aten.index_select"] = index_select;
  table["aten.gather"] = gather;
  table["kpt.write_"] = write;
  table["aten.convolution"] = convolution;
  table["kpt.convolution"] = convolution;
  table["kpt.copy"] = copy;
}

}  // namespace kpt

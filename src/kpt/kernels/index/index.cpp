// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/index/index_problem.h"

#include <algorithm>
#include <cstring>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {
namespace {

Verdict broadcast(const Problem& p, Index& k) {
  int rank = 0;
  for (int i : k.inputs) rank = std::max(rank, p.inputs[static_cast<size_t>(i)].sizes.rank());
  k.picks = Dims::filled(rank, 1);
  for (int i : k.inputs) {
    const Dims& s = p.inputs[static_cast<size_t>(i)].sizes;
    for (int d = 0; d < s.rank(); ++d)
      if (s[d] != 1) k.picks[rank - s.rank() + d] = s[d];
  }
  for (int i : k.inputs) {
    const TensorDesc& t = p.inputs[static_cast<size_t>(i)];
    if (t.dtype != DType::i64 && t.dtype != DType::i32) return no("index of ", t.dtype);
    const int shift = rank - t.sizes.rank();
    Dims strides = Dims::filled(rank, 0);
    for (int d = 0; d < t.sizes.rank(); ++d) {
      if (t.sizes[d] != 1 && t.sizes[d] != k.picks[shift + d])
        return no("index ", t, " does not broadcast to ", k.picks);
      strides[shift + d] = t.sizes[d] == 1 ? 0 : t.strides[d];
    }
    k.strides.push_back(strides);
  }
  return yes();
}

}  // namespace

Verdict read_index(const Problem& p, Index& k) {
  const TensorDesc* x = p.operand(0);
  if (!x || p.outputs.size() != 1) return no("want x and indices in, one tensor out");
  const std::vector<int> list = p.operand_list(1);
  if (static_cast<int>(list.size()) > x->sizes.rank()) return no(list.size(), " indices for ", *x);
  for (size_t d = 0; d < list.size(); ++d) {
    if (list[d] < 0) continue;
    k.dims.push_back(static_cast<int>(d));
    k.inputs.push_back(list[d]);
  }
  if (k.dims.empty()) return no("no index");
  if (Verdict v = broadcast(p, k); !v) return v;
  const bool neighbours = k.dims.back() - k.dims.front() + 1 == static_cast<int>(k.dims.size());
  for (int d = 0; d < x->sizes.rank(); ++d) {
    if (std::find(k.dims.begin(), k.dims.end(), d) != k.dims.end()) continue;
    const bool in_front = neighbours && d < k.dims.front();
    (in_front ? k.before : k.after).push_back(x->sizes[d]);
    (in_front ? k.before_strides : k.after_strides).push_back(x->strides[d]);
  }
  Dims want = k.before;
  for (const Dims* part : {&k.picks, &k.after})
    for (int64_t n : *part) want.push_back(n);
  const TensorDesc& y = p.outputs[0];
  if (y.sizes != want || y.dtype != x->dtype || !y.is_contiguous())
    return no("output ", y, ", want dense ", x->dtype, want);
  return yes();
}

namespace {

Verdict supports(const Problem& p) {
  Index k;
  return read_index(p, k);
}

// The position of pick number `pick` in x, in elements.
int64_t locate(const Problem& p, const Index& k, const RunArgs& args, const Dims& pick) {
  const TensorDesc& x = *p.operand(0);
  int64_t at = 0;
  for (size_t i = 0; i < k.dims.size(); ++i) {
    const TensorDesc& t = p.inputs[static_cast<size_t>(k.inputs[i])];
    int64_t offset = 0;
    for (int d = 0; d < pick.rank(); ++d) offset += pick[d] * k.strides[i][d];
    const char* where = shifted(args.inputs[k.inputs[i]], offset, t.dtype);
    int64_t n;
    if (t.dtype == DType::i64) {
      std::memcpy(&n, where, sizeof n);
    } else {
      int32_t narrow;
      std::memcpy(&narrow, where, sizeof narrow);
      n = narrow;
    }
    const int64_t size = x.sizes[k.dims[i]];
    KPT_CHECK(n >= -size && n < size, "kernels.index", "got index ", n, " for dimension ", k.dims[i], ", want one in [",
              -size, ", ", size, ")");
    at += (n < 0 ? n + size : n) * x.strides[k.dims[i]];
  }
  return at;
}

int64_t dot(const Dims& index, const Dims& strides) {
  int64_t at = 0;
  for (int d = 0; d < index.rank(); ++d) at += index[d] * strides[d];
  return at;
}

std::unique_ptr<Launch> make(const Problem& p) {
  Index k;
  const Verdict v = read_index(p, k);
  KPT_CHECK(v.ok, "kernels.index", "got ", p.str(), ": ", v.reason);
  const TensorDesc& x = *p.operand(0);
  const TensorDesc tail{x.dtype, k.after, k.after_strides};
  const bool dense = tail.is_contiguous();
  const int64_t run = k.after.numel(), width = static_cast<int64_t>(size_of(x.dtype));
  return make_launch([p, k, dense, run, width](const RunArgs& args) {
    const int in = p.operand_index(0);
    char* to = static_cast<char*>(args.outputs[0]);
    each_index(k.before, [&](const Dims& front) {
      each_index(k.picks, [&](const Dims& pick) {
        const int64_t at = dot(front, k.before_strides) + locate(p, k, args, pick);
        const char* from = static_cast<const char*>(args.inputs[in]) + at * width;
        if (dense) {
          std::memcpy(to, from, static_cast<size_t>(run * width));
          to += run * width;
          return;
        }
        each_index(k.after, [&](const Dims& back) {
          std::memcpy(to, from + dot(back, k.after_strides) * width, static_cast<size_t>(width));
          to += width;
        });
      });
    });
  });
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  Index k;
  const Verdict v = read_index(p, k);
  KPT_CHECK(v.ok, "kernels.index", "got ", p.str(), ": ", v.reason);
  return make_launch([p, k](const RunArgs& args) {
    const Elements y(p.outputs[0], args.outputs[0]);
    const DType dtype = p.outputs[0].dtype;
    each_index(p.outputs[0].sizes, [&](const Dims& at) {
      int d = 0;
      int64_t from = 0;
      for (int i = 0; i < k.before.rank(); ++i) from += at[d++] * k.before_strides[i];
      Dims pick;
      for (int i = 0; i < k.picks.rank(); ++i) pick.push_back(at[d++]);
      for (int i = 0; i < k.after.rank(); ++i) from += at[d++] * k.after_strides[i];
      from += locate(p, k, args, pick);
      std::memcpy(y.at(at), shifted(args.inputs[p.operand_index(0)], from, dtype), size_of(dtype));
    });
  });
}

}  // namespace

void register_index(KernelRegistry& registry) {
  add_cpu(registry, "aten.index.Tensor", "index", supports, make);
  add_reference(registry, "aten.index.Tensor", "index", supports, make_reference);
}

}  // namespace kpt

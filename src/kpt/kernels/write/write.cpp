// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/write/write.h"

#include <cstring>

#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/write/write_problem.h"

namespace kpt {

Verdict read_write(const Problem& p, Write& w) {
  const TensorDesc *state = p.operand(0), *index = p.operand(1), *source = p.operand(2);
  if (!state || !index || !source || p.outputs.size() != 1)
    return no("want state, index and source in, one tensor out");
  w = {*state, *index, *source};
  const int rank = state->sizes.rank();
  w.dim = normal_dim(get_int(p.kwargs, "dim", 0), rank);
  if (rank == 0 || w.dim < 0 || source->sizes.rank() != rank) return no("writes ", *source, " into ", *state);
  if (index->dtype != DType::i64 && index->dtype != DType::i32) return no("index of ", index->dtype);
  if (index->sizes.rank() != 1) return no("index ", *index, ", want one dimension");
  w.count = index->sizes[0];
  w.size = state->sizes[w.dim];
  Dims want = state->sizes;
  want[w.dim] = w.count;
  if (source->sizes != want || source->dtype != state->dtype)
    return no("source ", *source, ", want ", state->dtype, want);
  if (!state->is_contiguous()) return no("state ", *state, " is not dense");
  const TensorDesc& y = p.outputs[0];
  if (y.sizes != state->sizes || y.dtype != state->dtype || !y.is_contiguous())
    return no("output ", y, ", want dense ", *state);
  for (int d = w.dim + 1; d < rank; ++d) w.inner *= state->sizes[d];
  return yes();
}

namespace {

Verdict supports(const Problem& p) {
  Write w;
  return read_write(p, w);
}

std::vector<int64_t> places(const Write& w, const void* index) {
  std::vector<int64_t> out;
  for (int64_t j = 0; j < w.count; ++j) {
    int64_t n;
    if (w.index.dtype == DType::i64) {
      std::memcpy(&n, shifted(index, j * w.step(), DType::i64), sizeof n);
    } else {
      int32_t narrow;
      std::memcpy(&narrow, shifted(index, j * w.step(), DType::i32), sizeof narrow);
      n = narrow;
    }
    KPT_CHECK(n >= 0 && n < w.size, "kernels.write", "got place ", n, " in dimension ", w.dim, ", want one in [0, ",
              w.size, ")");
    out.push_back(n);
  }
  return out;
}

void copy_state(const Write& w, const RunArgs& args, int state) {
  if (args.inputs[state] != args.outputs[0]) std::memcpy(args.outputs[0], args.inputs[state], w.state.bytes());
}

// One memcpy for each run of the source: dimensions behind dim that are dense in it.
std::unique_ptr<Launch> make(const Problem& p) {
  Write w;
  const Verdict v = read_write(p, w);
  KPT_CHECK(v.ok, "kernels.write", "got ", p.str(), ": ", v.reason);
  int first = w.state.sizes.rank();  // of the dimensions of a run
  while (first > w.dim + 1 && dense_from(w.source, first - 1)) --first;
  const int state = p.operand_index(0), index = p.operand_index(1), source = p.operand_index(2);
  return make_launch([w, first, state, index, source](const RunArgs& args) {
    const std::vector<int64_t> at = places(w, args.inputs[index]);
    copy_state(w, args, state);
    Dims outer;
    int64_t run = 1;
    for (int d = 0; d < w.source.sizes.rank(); ++d)
      d < first ? outer.push_back(w.source.sizes[d]) : void(run *= w.source.sizes[d]);
    const size_t bytes = static_cast<size_t>(run) * size_of(w.state.dtype);
    if (run == 0) return;
    each_index(outer, [&](const Dims& i) {
      int64_t from = 0, to = 0;
      for (int d = 0; d < first; ++d) {
        from += i[d] * w.source.strides[d];
        to += (d == w.dim ? at[static_cast<size_t>(i[d])] : i[d]) * w.state.strides[d];
      }
      std::memcpy(shifted(args.outputs[0], to, w.state.dtype), shifted(args.inputs[source], from, w.state.dtype),
                  bytes);
    });
  });
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  Write w;
  const Verdict v = read_write(p, w);
  KPT_CHECK(v.ok, "kernels.write", "got ", p.str(), ": ", v.reason);
  const int state = p.operand_index(0), index = p.operand_index(1), source = p.operand_index(2);
  return make_launch([w, state, index, source](const RunArgs& args) {
    const std::vector<int64_t> at = places(w, args.inputs[index]);
    copy_state(w, args, state);
    const Elements x(w.source, args.inputs[source]), y(w.state, args.outputs[0]);
    each_index(w.source.sizes, [&](const Dims& from) {
      Dims to = from;
      to[w.dim] = at[static_cast<size_t>(from[w.dim])];
      std::memcpy(y.at(to), x.at(from), size_of(w.state.dtype));
    });
  });
}

}  // namespace

void register_write(KernelRegistry& registry) {
  add_cpu(registry, "kpt.write_", "write", supports, make);
  add_reference(registry, "kpt.write_", "write", supports, make_reference);
}

}  // namespace kpt

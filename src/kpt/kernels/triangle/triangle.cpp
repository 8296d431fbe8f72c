// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/triangle/triangle_problem.h"

namespace kpt {
Verdict triangle_supports(const Problem& p) {
  const TensorDesc* x = p.operand(0);
  if (!x || p.outputs.size() != 1) return no("want one tensor in and one out");
  if (x->sizes.rank() < 2) return no("x ", *x, " is no matrix");
  if (x->sizes != p.outputs[0].sizes || x->dtype != p.outputs[0].dtype) return no("from ", *x, " to ", p.outputs[0]);
  return p.outputs[0].is_contiguous() ? yes() : no("output ", p.outputs[0], " is not dense");
}

namespace {

std::unique_ptr<Launch> make(const Problem& p) {
  const TensorDesc x = *p.operand(0);
  const int in = p.operand_index(0), rank = x.sizes.rank();
  const int64_t columns = x.sizes[rank - 1], height = x.sizes[rank - 2], diagonal = get_int(p.kwargs, "diagonal", 0);
  const bool lower = p.op == "aten.tril";
  const size_t width = size_of(x.dtype);
  const RowMap map(x, rank - 1);
  const Split split(map.rows(), columns * static_cast<int64_t>(width), p.threads);
  return make_launch([=, stride = x.strides[rank - 1], dtype = x.dtype](const RunArgs& args) {
    parallel(columns ? split.tasks : 0, split.threads, [&](int64_t task, int) {
      for (int64_t r = split.begin(task, map.rows()); r < split.begin(task + 1, map.rows()); ++r) {
        // Kept: columns up to i + diagonal (tril), from there on (triu).
        const int64_t edge = std::clamp<int64_t>(r % height + diagonal + (lower ? 1 : 0), 0, columns);
        const int64_t begin = lower ? 0 : edge, end = lower ? edge : columns;
        const char* from = shifted(args.inputs[in], map.offset(r), dtype);
        char* to = static_cast<char*>(args.outputs[0]) + static_cast<size_t>(r * columns) * width;
        for (int64_t c = 0; c < columns; ++c) {
          char* element = to + static_cast<size_t>(c) * width;
          if (c >= begin && c < end) {
            std::memmove(element, from + c * stride * static_cast<int64_t>(width), width);
          } else {
            std::memset(element, 0, width);
          }
        }
      }
    });
  });
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  return make_launch([p](const RunArgs& args) {
    const Elements x(*p.operand(0), args.inputs[p.operand_index(0)]), y(p.outputs[0], args.outputs[0]);
    const int64_t diagonal = get_int(p.kwargs, "diagonal", 0);
    each_index(p.outputs[0].sizes, [&](const Dims& i) {
      const int64_t distance = i[i.rank() - 1] - i[i.rank() - 2];
      y.set(i, (p.op == "aten.tril" ? distance <= diagonal : distance >= diagonal) ? x.get(i) : 0);
    });
  });
}

}  // namespace

void register_triangle(KernelRegistry& registry) {
  for (const char* op : {"aten.tril", "aten.triu"}) {
    add_cpu(registry, op, "triangle", triangle_supports, make);
    add_reference(registry, op, "triangle", triangle_supports, make_reference);
  }
}

}  // namespace kpt

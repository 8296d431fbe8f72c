// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/pool/pool_problem.h"
#include "kpt/kernels/pool/pool_row.h"

namespace kpt {
void PoolAxis::window(int64_t o, int64_t& begin, int64_t& end, int64_t& padded) const {
  if (adaptive) {  // PyTorch's AdaptivePooling.h: floor and ceil of the exact borders
    begin = o * size / out;
    end = ((o + 1) * size + out - 1) / out;
    padded = end - begin;
    return;
  }
  begin = o * stride - padding;
  end = std::min(begin + (kernel - 1) * dilation + 1, size + padding);
  padded = end - begin;
  if (begin < 0) begin += (-begin + dilation - 1) / dilation * dilation;
  end = std::min(end, size);
}

namespace {

// A number or a list of one or two numbers.
bool pair(const Kwargs& kwargs, std::string_view name, int64_t otherwise, int64_t& h, int64_t& w) {
  const Attr* a = find(kwargs, name);
  std::vector<int64_t> values = {otherwise};
  if (a && a->is<Sym>()) values = {get_int(kwargs, name, otherwise)};
  if (a && a->is<AttrList>() && !a->as<AttrList>().empty()) values = get_ints(kwargs, name);
  if (values.size() > 2) return false;
  h = values[0];
  w = values.back();
  return true;
}

Verdict read_window(const Problem& p, Pool& k) {
  const Kwargs& kw = p.kwargs;
  if (!pair(kw, "kernel_size", 1, k.h.kernel, k.w.kernel) || !pair(kw, "stride", 0, k.h.stride, k.w.stride) ||
      !pair(kw, "padding", 0, k.h.padding, k.w.padding) || !pair(kw, "dilation", 1, k.h.dilation, k.w.dilation))
    return no("a window of more than two numbers");
  for (PoolAxis* a : {&k.h, &k.w}) {
    if (a->stride == 0) a->stride = a->kernel;
    if (a->kernel < 1 || a->stride < 1 || a->dilation < 1 || a->padding < 0 || a->padding * 2 > a->kernel)
      return no("window ", a->kernel, " padding ", a->padding);
    // The last window must begin inside x or its left padding, or it would be empty.
    if (a->out > 0 && (a->out - 1) * a->stride >= a->size + a->padding)
      return no("output of ", a->out, " from ", a->size);
    const int64_t reach = a->size + 2 * a->padding - a->dilation * (a->kernel - 1) - 1;
    if (a->out > (reach + a->stride - 1) / a->stride + 1) return no("output of ", a->out, " from ", a->size);
  }
  return yes();
}

}  // namespace

Verdict read_pool(const Problem& p, Pool& k) {
  const TensorDesc* x = p.operand(0);
  if (!x || p.outputs.size() != 1) return no("want one tensor in and one out");
  const TensorDesc& y = p.outputs[0];
  const int rank = x->sizes.rank();
  if ((rank != 3 && rank != 4) || y.sizes.rank() != rank) return no("x ", *x, " is not [N, C, H, W] or [C, H, W]");
  if (!is_float(x->dtype) || y.dtype != x->dtype) return no("from ", x->dtype, " to ", y.dtype);
  if (!y.is_contiguous()) return no("output ", y, " is not dense");
  k.planes_rank = rank - 2;
  const std::string layout = get_string(p.kwargs, "layout", "nchw");
  if (layout != "nchw" && (layout != "nhwc" || rank != 4))
    return no("got layout \"", layout, "\" of rank ", rank, ", want nchw, or nhwc of rank 4");
  k.last = layout == "nhwc";
  k.channels = x->sizes[rank - 3];
  const Dims out = k.last ? Dims{y.sizes[0], y.sizes[3], y.sizes[1], y.sizes[2]} : y.sizes;
  for (int d = 0; d < k.planes_rank; ++d)
    if (x->sizes[d] != out[d]) return no("output ", y, " for ", *x);
  k.h.size = x->sizes[rank - 2];
  k.w.size = x->sizes[rank - 1];
  k.h.out = out[rank - 2];
  k.w.out = out[rank - 1];
  k.h.step = x->strides[rank - 2];
  k.w.step = x->strides[rank - 1];
  if (k.h.size < 1 || k.w.size < 1) return no("planes of no elements");
  k.max = p.op.ends_with("max_pool2d");
  k.h.adaptive = k.w.adaptive = p.op.ends_with("adaptive_avg_pool2d");
  if (k.h.adaptive) return yes();
  k.include_pad = get_bool(p.kwargs, "count_include_pad", true);
  k.divisor = get_int(p.kwargs, "divisor_override", 0);
  return read_window(p, k);
}

namespace {

// One plane. T: element as stored; load and store convert.
template <class S, class Load, class Store>
void plane(const Pool& k, Load load, Store store) {
  for (int64_t i = 0; i < k.h.out; ++i) {
    int64_t top, bottom, rows, left, right, columns;
    k.h.window(i, top, bottom, rows);
    for (int64_t j = 0; j < k.w.out; ++j) {
      k.w.window(j, left, right, columns);
      S sum = k.max ? -std::numeric_limits<S>::infinity() : 0;
      for (int64_t r = top; r < bottom; r += k.h.dilation) {
        for (int64_t c = left; c < right; c += k.w.dilation) {
          const S v = load(r * k.h.step + c * k.w.step);
          if (!k.max) {
            sum += v;
          } else if (v > sum || v != v) {
            sum = v;
          }
        }
      }
      const int64_t count = k.divisor ? k.divisor : k.include_pad ? rows * columns : (bottom - top) * (right - left);
      store(i * k.w.out + j, k.max ? sum : sum / static_cast<S>(count));
    }
  }
}

template <class S>
std::unique_ptr<Launch> launch(const Problem& p, const Pool& k, int threads) {
  const TensorDesc x = *p.operand(0);
  const RowMap planes(x, k.planes_rank);
  const int in = p.operand_index(0);
  const int64_t out = k.h.out * k.w.out;
  const bool gapless = std::is_same_v<S, float> && !k.last && (k.w.step == 1 || k.w.size == 1);
#define KPT_ENTRY(isa) isa::pool_plane
  static constexpr PoolFn (*kTable[])(Elem) = KPT_ISA_TABLE(KPT_ENTRY);
#undef KPT_ENTRY
  const PoolFn dense = gapless ? kTable[static_cast<size_t>(cpu_isa())](*elem_of(x.dtype)) : nullptr;
  const Split split(planes.rows(), k.h.size * k.w.size * (dense ? 1 : 16), threads);
  return make_launch(
      [=, dtype = x.dtype](const RunArgs& args) {
        parallel(planes.rows() ? split.tasks : 0, split.threads, [&](int64_t task, int) {
          float* const line = static_cast<float*>(args.workspace) + (dense ? task * (k.w.size + k.w.out) : 0);
          for (int64_t i = split.begin(task, planes.rows()); i < split.begin(task + 1, planes.rows()); ++i) {
            const char* from = shifted(args.inputs[in], planes.offset(i), dtype);
            const int64_t image = k.last ? i / k.channels : i, channel = k.last ? i % k.channels : 0;
            const int64_t step = k.last ? k.channels : 1;
            char* to = shifted(args.outputs[0], image * out * step + channel, dtype);
            if (dense) {
              dense({k, from, to, line});
            } else if (std::is_same_v<S, float> && dtype == DType::f32) {
              plane<float>(
                  k, [&](int64_t at) { return reinterpret_cast<const float*>(from)[at]; },
                  [&](int64_t at, float v) { reinterpret_cast<float*>(to)[at * step] = v; });
            } else if (std::is_same_v<S, float> && dtype == DType::bf16) {
              plane<float>(
                  k, [&](int64_t at) { return bf16_to_f32(reinterpret_cast<const uint16_t*>(from)[at]); },
                  [&](int64_t at, float v) { reinterpret_cast<uint16_t*>(to)[at * step] = f32_to_bf16(v); });
            } else {
              plane<S>(
                  k, [&](int64_t at) { return static_cast<S>(load_as_double(dtype, shifted(from, at, dtype))); },
                  [&](int64_t at, S v) {
                    store_from_double(dtype, shifted(to, at * step, dtype), static_cast<double>(v));
                  });
            }
          }
        });
      },
      dense ? static_cast<size_t>(split.tasks * (k.w.size + k.w.out)) * sizeof(float) : 0,
      cat(dense ? cat(name(cpu_isa()), " rows, ") : "", "threads ", split.threads));
}

Verdict reference_supports(const Problem& p) {
  Pool k;
  return read_pool(p, k);
}

Verdict supports(const Problem& p) {
  if (Verdict v = reference_supports(p); !v) return v;
  return elem_of(p.operand(0)->dtype) ? yes() : no("dtype ", p.operand(0)->dtype);
}

template <class S>
std::unique_ptr<Launch> make(const Problem& p) {
  Pool k;
  const Verdict v = read_pool(p, k);
  KPT_CHECK(v.ok, "kernels.pool", "got ", p.str(), ": ", v.reason);
  return launch<S>(p, k, std::is_same_v<S, double> ? 1 : p.threads);
}

}  // namespace

void register_pool(KernelRegistry& registry) {
  for (const char* op : {"aten.max_pool2d", "aten.avg_pool2d", "aten.adaptive_avg_pool2d", "kpt.max_pool2d",
                         "kpt.avg_pool2d", "kpt.adaptive_avg_pool2d"}) {
    add_cpu(registry, op, "pool", supports, make<float>);
    add_reference(registry, op, "pool", reference_supports, make<double>);
  }
}

}  // namespace kpt

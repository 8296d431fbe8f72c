// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/convolution/convolution.h"

#include <algorithm>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/gemm_run.h"
#include "kpt/kernels/lib/cpu/isa.h"

namespace kpt {

namespace {

struct Entries {
  int (*lanes)();
  int (*max_v)();
  int64_t (*worker_floats)(const ConvProblem&, const ConvPlan&);
  void (*task)(const ConvProblem&, const ConvPlan&, const ConvPointers&, int64_t, void*);
};

#define KPT_ENTRIES(isa) \
  Entries { isa::gemm_lanes, isa::gemm_max_v, isa::conv_worker_floats, isa::conv_task }
const Entries& entries(Isa isa) {
  static const Entries table[] = KPT_ISA_TABLE(KPT_ENTRIES);
  return table[static_cast<size_t>(isa)];
}
#undef KPT_ENTRIES

// Rows of a panel laid out at once: 512 by 48 pixels are 98 KB, a tenth of L2, beside the weights that stream past it.
constexpr int64_t kPanelRows = 512;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

Verdict check_operands(const Problem& problem, const TensorDesc* x, const TensorDesc* w, const TensorDesc* b,
                       const TensorDesc* residual) {
  if (!x || !w || problem.outputs.size() != 1) return no("got ", problem.str(), ", want x, w and one output");
  if (get_bool(problem.kwargs, "transposed", false)) return no("transposed convolution");
  const int rank = x->sizes.rank();
  if (rank != 3 && rank != 4) return no("got x of rank ", rank, ", want 3 or 4");
  if (w->sizes.rank() != rank) return no("got w of rank ", w->sizes.rank(), " for x of rank ", rank);
  for (const TensorDesc* d : {w, b, residual, &problem.outputs[0]})
    if (d && d->dtype != x->dtype) return no("got ", d->dtype, " beside ", x->dtype, ", want one type for all tensors");
  if (!is_float(x->dtype)) return no("got ", x->dtype, ", want a float type");
  if (b && (b->sizes.rank() != 1 || b->sizes[0] != w->sizes[0] || (b->sizes[0] > 1 && b->strides[0] != 1)))
    return no("got bias ", *b, ", want contiguous [", w->sizes[0], "]");
  if (!problem.outputs[0].is_contiguous()) return no("output is not row-major");
  if (residual && residual->sizes != problem.outputs[0].sizes)
    return no("got residual ", residual->sizes, ", want the output's ", problem.outputs[0].sizes);
  if (residual && !residual->is_contiguous()) return no("the residual is not row-major");
  return yes();
}

// The two numbers of a spatial attribute; one for 1-D, whose height is 1.
Verdict pair_of(const Problem& problem, const char* name, int spatial, int64_t otherwise, int64_t* h, int64_t* w) {
  std::vector<int64_t> v = get_ints(problem.kwargs, name);
  if (v.empty()) v.assign(static_cast<size_t>(spatial), otherwise);
  if (v.size() == 1 && spatial == 2) v.push_back(v[0]);
  if (static_cast<int>(v.size()) != spatial) return no("got ", v.size(), " numbers of ", name, ", want ", spatial);
  *h = spatial == 2 ? v[0] : otherwise;
  *w = v.back();
  if (*h < otherwise || *w < otherwise) return no("got ", name, " [", *h, ", ", *w, "], want at least ", otherwise);
  return yes();
}

Verdict set_attributes(const Problem& problem, int spatial, ConvProblem& p) {
  if (Verdict v = pair_of(problem, "stride", spatial, 1, &p.stride_h, &p.stride_w); !v) return v;
  if (Verdict v = pair_of(problem, "padding", spatial, 0, &p.pad_h, &p.pad_w); !v) return v;
  if (Verdict v = pair_of(problem, "dilation", spatial, 1, &p.dilation_h, &p.dilation_w); !v) return v;
  const std::string act = get_string(problem.kwargs, "act", "none");
  if (!parse_act(act, &p.act))
    return no("got act \"", act, "\", want none, gelu, gelu_tanh, silu, relu, tanh or sigmoid");
  const std::string layout = get_string(problem.kwargs, "layout", "nchw");
  if (layout != "nchw" && layout != "nhwc") return no("got layout \"", layout, "\", want nchw or nhwc");
  p.last = layout == "nhwc";
  p.groups = get_int(problem.kwargs, "groups", 1);
  p.threads = problem.threads;
  return yes();
}

void set_sizes(const TensorDesc& x, const TensorDesc& w, int spatial, ConvProblem& p) {
  const bool flat = spatial == 1;
  p.b = x.sizes[0], p.c = x.sizes[1], p.o = w.sizes[0];
  p.h = flat ? 1 : x.sizes[2], p.w = x.sizes.back();
  p.kh = flat ? 1 : w.sizes[2], p.kw = w.sizes.back();
  p.x_b = x.strides[0], p.x_c = x.strides[1];
  p.x_h = flat ? 0 : x.strides[2], p.x_w = x.strides.back();
  p.w_o = w.strides[0], p.w_c = w.strides[1];
  p.w_h = flat ? 0 : w.strides[2], p.w_w = w.strides.back();
}

bool row_major_weights(const ConvProblem& p) {
  const int64_t plane = p.kh * p.kw;
  if (p.c == 0 || p.o == 0) return true;
  return (p.kw == 1 || p.w_w == 1) && (p.kh == 1 || p.w_h == p.kw) && (p.c == p.groups || p.w_c == plane) &&
         (p.o == 1 || p.w_o == p.c / p.groups * plane);
}

class ConvLaunch : public Launch {
 public:
  ConvLaunch(ConvCall call, Isa isa) : call_(std::move(call)), isa_(isa), plan_(plan_conv(call_.p, isa)) {}
  size_t workspace_bytes() const override { return static_cast<size_t>(plan_.worker_bytes * workers()); }
  std::string config() const override {
    return cat(name(isa_), plan_.planes ? " planes" : " panels ", plan_.planes ? "" : cat(plan_.panels), ", tasks ",
               plan_.tasks, ", threads ", workers());
  }
  void run(const RunArgs& args) const override {
    const void* bias = call_.bias < 0 ? nullptr : args.inputs[call_.bias];
    const ConvPointers at{args.inputs[call_.x], args.inputs[call_.w], bias, args.outputs[0]};
    const Entries& e = entries(isa_);
    char* scratch = static_cast<char*>(args.workspace);
    parallel(plan_.tasks, workers(), [&](int64_t task, int worker) {
      e.task(call_.p, plan_, at, task, scratch + worker * plan_.worker_bytes);
    });
  }

 private:
  int workers() const { return static_cast<int>(std::clamp<int64_t>(plan_.tasks, 1, std::max(1, call_.p.threads))); }

  ConvCall call_;
  Isa isa_;
  ConvPlan plan_;
};

// A 1x1 kernel that walks every pixel sees the image as one long row: panels are then plain copies.
void flatten_pixels(ConvProblem& p) {
  const bool pointwise = p.kh == 1 && p.kw == 1 && p.stride_h == 1 && p.stride_w == 1 && p.pad_h == 0 && p.pad_w == 0;
  if (!pointwise || p.x_h != p.w) return;
  p.w *= p.h;
  p.ow *= p.oh;
  p.h = p.oh = 1;
}

}  // namespace

Verdict conv_call(const Problem& problem, ConvCall& call) {
  const TensorDesc *x = problem.operand(0), *w = problem.operand(1), *b = problem.operand(2),
                   *residual = problem.operand(3);
  if (Verdict v = check_operands(problem, x, w, b, residual); !v) return v;
  const int spatial = x->sizes.rank() - 2;
  ConvProblem& p = call.p;
  call.dtype = x->dtype;
  call.x = problem.operand_index(0), call.w = problem.operand_index(1), call.bias = problem.operand_index(2);
  call.residual = problem.operand_index(3);
  if (Verdict v = set_attributes(problem, spatial, p); !v) return v;
  set_sizes(*x, *w, spatial, p);
  p.has_bias = b != nullptr;
  p.has_residual = residual != nullptr;
  if (p.groups < 1 || p.c % p.groups || p.o % p.groups || w->sizes[1] != p.c / p.groups)
    return no("got ", p.c, " channels, ", p.groups, " groups and weights ", w->sizes);
  if (p.kh < 1 || p.kw < 1) return no("got a kernel of size 0");
  const int64_t reach_h = p.h + 2 * p.pad_h - p.dilation_h * (p.kh - 1) - 1,
                reach_w = p.w + 2 * p.pad_w - p.dilation_w * (p.kw - 1) - 1;
  if (reach_h < 0 || reach_w < 0) return no("the kernel is larger than the padded input");
  p.oh = reach_h / p.stride_h + 1;
  p.ow = reach_w / p.stride_w + 1;
  Dims want = {p.b};
  if (!p.last) want.push_back(p.o);
  if (spatial == 2) want.push_back(p.oh);
  want.push_back(p.ow);
  if (p.last) want.push_back(p.o);
  if (problem.outputs[0].sizes != want) return no("got output ", problem.outputs[0].sizes, ", want ", want);
  return yes();
}

Verdict conv_supports(const ConvCall& call) {
  if (call.dtype == DType::f64) return no("got f64, want f32, bf16 or f16: the sum is f32");
  if (call.p.last) return no("the output is channels-last");
  if (call.p.has_residual) return no("a residual");
  if (!row_major_weights(call.p)) return no("weights are not row-major");
  if (call.p.w > 1 && call.p.x_w != 1) return no("the last axis of x has stride ", call.p.x_w, ", want 1");
  return yes();
}

ConvPlan plan_conv(const ConvProblem& p, Isa isa) {
  const Entries& e = entries(isa);
  const int64_t lanes = e.lanes(), group_c = p.c / p.groups, group_o = p.o / p.groups;
  ConvPlan plan;
  if (p.b * p.o * p.oh * p.ow == 0) return plan;
  plan.planes = group_c == 1 && group_o <= 2;
  const double flops =
      2.0 * static_cast<double>(p.b * p.o * p.oh * p.ow) * static_cast<double>(group_c * p.kh * p.kw + 1);
  if (plan.planes) {
    plan.phase_width = ceil_div(p.w + 2 * p.pad_w, p.stride_w) + lanes + p.dilation_w * p.kw;
    plan.units = p.b * p.o;
  } else {
    const int64_t vectors = ceil_div(p.oh * p.ow, lanes);
    plan.max_v = static_cast<int>(std::min<int64_t>(vectors, e.max_v()));
    plan.panels = ceil_div(vectors, plan.max_v);
    plan.wide = vectors - plan.panels * (plan.max_v - 1);
    plan.k_block = std::clamp<int64_t>(kPanelRows / (p.kh * p.kw), 1, std::max<int64_t>(group_c, 1));
    // About 8 tasks a thread, none below 1 MFLOP; splitting channels lays the same patches out again.
    const int64_t whole = p.b * p.groups * plan.panels, groups = ceil_div(group_o, lanes);
    const int64_t wanted =
        p.threads <= 1 ? 1 : std::clamp<int64_t>(static_cast<int64_t>(flops / 1e6), 1, 8 * p.threads);
    plan.row_block = ceil_div(groups, std::clamp<int64_t>(ceil_div(wanted, whole), 1, groups)) * lanes;
    plan.row_blocks = ceil_div(group_o, plan.row_block);
    plan.units = whole * plan.row_blocks;
  }
  const double unit_flops = flops / static_cast<double>(plan.units);
  plan.units_per_task = std::clamp<int64_t>(static_cast<int64_t>(1e6 / unit_flops), 1,
                                            std::max<int64_t>(1, plan.units / (2 * std::max(1, p.threads))));
  plan.tasks = ceil_div(plan.units, plan.units_per_task);
  plan.worker_bytes = ceil_div(e.worker_floats(p, plan) * 4, 64) * 64;
  return plan;
}

std::unique_ptr<Launch> make_conv(ConvCall call, Isa isa) {
  const Verdict v = conv_supports(call);
  KPT_CHECK(v.ok, "kernels.convolution", v.reason);
  call.p.elem = call.dtype == DType::bf16 ? Elem::bf16 : call.dtype == DType::f16 ? Elem::f16 : Elem::f32;
  flatten_pixels(call.p);
  return std::make_unique<ConvLaunch>(std::move(call), isa);
}

namespace {

Verdict supports(const Problem& problem) {
  ConvCall call;
  if (Verdict v = conv_call(problem, call); !v) return v;
  return conv_supports(call);
}

Verdict reference_supports(const Problem& problem) {
  ConvCall call;
  return conv_call(problem, call);
}

ConvCall checked(const Problem& problem) {
  ConvCall call;
  const Verdict v = conv_call(problem, call);
  KPT_CHECK(v.ok, "kernels.convolution", v.reason);
  return call;
}

}  // namespace

void register_convolution(KernelRegistry& registry) {
  for (const char* op : {"aten.convolution", "kpt.convolution"}) {
    registry.add(
        {op, "kpt", "cpu", "convolution_cpu", 0, supports, [](const Problem& p) { return make_conv(checked(p)); }});
    registry.add({op, "reference", "cpu", "convolution_reference", 0, reference_supports,
                  [](const Problem& p) { return make_conv_reference(checked(p)); }});
  }
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/gemm.h"
#include "kpt/kernels/lib/cpu/isa.h"

namespace kpt {

namespace {

struct Entries {
  int (*lanes)();
  int (*max_v)();
  int64_t (*worker_floats)(const AttentionProblem&, const AttentionPlan&);
  void (*task)(const AttentionProblem&, const AttentionPlan&, const AttentionPointers&, int64_t, void*);
};

#define KPT_ENTRIES(isa) \
  Entries { isa::gemm_lanes, isa::gemm_max_v, isa::attention_worker_floats, isa::attention_task }
const Entries& entries(Isa isa) {
  static const Entries table[] = KPT_ISA_TABLE(KPT_ENTRIES);
  return table[static_cast<size_t>(isa)];
}
#undef KPT_ENTRIES

// Keys in a block: scores of 256 by 48 queries are 48 KB, in L2 at any length. On Zen 4, blocks of 128, 256 and 512 are
// within 2 % of each other (512 to 2,048 keys, heads of 32 and 64).
constexpr int64_t kBlock = 256;

// Up to so many queries a panel would be mostly padding (decoding).
constexpr int64_t kFewQueries = 4;

// Size of `axis` in a mask that broadcasts to `size`; its step there.
bool broadcasts(const TensorDesc& mask, int axis, int64_t size, int64_t* step) {
  if (mask.sizes[axis] != size && mask.sizes[axis] != 1) return false;
  *step = mask.sizes[axis] == 1 ? 0 : mask.strides[axis];
  return true;
}

Verdict set_mask(const Problem& problem, AttentionCall& call) {
  AttentionProblem& p = call.p;
  const std::string kind = get_string(problem.kwargs, "mask_kind", "none");
  const TensorDesc* mask = problem.operand(3);
  if (kind == "none") return mask ? no("got a mask with mask_kind none") : yes();
  if (!mask) return no("got mask_kind ", kind, " without a mask");
  call.mask = problem.operand_index(3);
  call.mask_dtype = mask->dtype;
  if (kind == "key") {
    p.mask = MaskKind::key;
    const bool fits = mask->sizes.rank() == 2 && broadcasts(*mask, 0, p.b, &p.mask_b) && mask->sizes[1] == p.t;
    if (!fits || mask->dtype != DType::boolean) return no("got key mask ", *mask, ", want bool [", p.b, ", ", p.t, "]");
    p.mask_t = mask->strides[1];
    return yes();
  }
  if (kind != "bool" && kind != "add") return no("got mask_kind \"", kind, "\", want none, key, bool or add");
  p.mask = kind == "bool" ? MaskKind::boolean : MaskKind::add;
  const bool right_type = p.mask == MaskKind::boolean ? mask->dtype == DType::boolean : is_float(mask->dtype);
  if (!right_type) return no("got a mask of ", mask->dtype, " with mask_kind ", kind);
  const bool fits = mask->sizes.rank() == 4 && broadcasts(*mask, 0, p.b, &p.mask_b) &&
                    broadcasts(*mask, 1, p.h, &p.mask_h) && broadcasts(*mask, 2, p.s, &p.mask_s) &&
                    broadcasts(*mask, 3, p.t, &p.mask_t);
  return fits ? yes()
              : no("got mask ", *mask, ", want 4 axes that broadcast to [", p.b, ", ", p.h, ", ", p.s, ", ", p.t, "]");
}

Verdict set_output(const Problem& problem, AttentionProblem& p) {
  const std::string layout = get_string(problem.kwargs, "layout", "bhsd");
  if (layout != "bhsd" && layout != "bshd") return no("got layout \"", layout, "\", want bhsd or bshd");
  const bool heads_first = layout == "bhsd";
  const Dims want = heads_first ? Dims{p.b, p.h, p.s, p.e} : Dims{p.b, p.s, p.h, p.e};
  const TensorDesc& y = problem.outputs[0];
  if (y.sizes != want || !y.is_contiguous()) return no("got output ", y, ", want row-major ", want);
  p.y_b = p.h * p.s * p.e;
  p.y_h = heads_first ? p.s * p.e : p.e;
  p.y_s = heads_first ? p.e : p.h * p.e;
  return yes();
}

double element(const RunArgs& args, int input, DType dtype, int64_t index) {
  return load_as_double(dtype,
                        static_cast<const char*>(args.inputs[input]) + index * static_cast<int64_t>(size_of(dtype)));
}

class AttentionLaunch : public Launch {
 public:
  AttentionLaunch(AttentionCall call, Isa isa)
      : call_(std::move(call)), isa_(isa), plan_(plan_attention(call_.p, isa)) {}
  size_t workspace_bytes() const override { return static_cast<size_t>(plan_.worker_bytes * workers()); }
  std::string config() const override {
    return cat(name(isa_), plan_.few ? " few queries" : cat(" panels ", plan_.panels), ", keys in blocks of ",
               plan_.block, ", tasks ", plan_.tasks, ", threads ", workers());
  }
  void run(const RunArgs& args) const override {
    const void* mask = call_.mask < 0 ? nullptr : args.inputs[call_.mask];
    const AttentionPointers at{args.inputs[call_.q], args.inputs[call_.k], args.inputs[call_.v], mask, args.outputs[0]};
    const Entries& e = entries(isa_);
    char* scratch = static_cast<char*>(args.workspace);
    parallel(plan_.tasks, workers(), [&](int64_t task, int worker) {
      e.task(call_.p, plan_, at, task, scratch + worker * plan_.worker_bytes);
    });
  }

 private:
  int workers() const { return static_cast<int>(std::clamp<int64_t>(plan_.tasks, 1, std::max(1, call_.p.threads))); }

  AttentionCall call_;
  Isa isa_;
  AttentionPlan plan_;
};

class AttentionReference : public Launch {
 public:
  explicit AttentionReference(AttentionCall call) : call_(std::move(call)) {}
  std::string config() const override { return "double loops"; }
  void run(const RunArgs& args) const override {
    const AttentionProblem& p = call_.p;
    for (int64_t b = 0; b < p.b; ++b)
      for (int64_t h = 0; h < p.h; ++h)
        for (int64_t s = 0; s < p.s; ++s) query(args, b, h, s);
  }

 private:
  // -inf where hidden.
  double score(const RunArgs& args, int64_t b, int64_t h, int64_t s, int64_t t) const {
    const AttentionProblem& p = call_.p;
    const double hidden = -std::numeric_limits<double>::infinity();
    const int64_t g = h / (p.h / p.kv_heads);
    double sum = 0;
    for (int64_t d = 0; d < p.d; ++d)
      sum += element(args, call_.q, call_.dtype, b * p.q_b + h * p.q_h + s * p.q_s + d * p.q_d) *
             element(args, call_.k, call_.dtype, b * p.k_b + g * p.k_h + t * p.k_t + d * p.k_d);
    sum *= p.scale;
    if (p.causal && t > s) return hidden;
    if (p.mask == MaskKind::none) return sum;
    const bool key = p.mask == MaskKind::key;
    const int64_t at = b * p.mask_b + t * p.mask_t + (key ? 0 : h * p.mask_h + s * p.mask_s);
    const double m = element(args, call_.mask, call_.mask_dtype, at);
    return p.mask == MaskKind::add ? sum + m : m != 0 ? sum : hidden;
  }

  void query(const RunArgs& args, int64_t b, int64_t h, int64_t s) const {
    const AttentionProblem& p = call_.p;
    std::vector<double> w(static_cast<size_t>(p.t)), y(static_cast<size_t>(p.e), 0.0);
    double top = -std::numeric_limits<double>::infinity(), total = 0;
    for (int64_t t = 0; t < p.t; ++t) {
      w[static_cast<size_t>(t)] = score(args, b, h, s, t);
      top = std::max(top, w[static_cast<size_t>(t)]);
    }
    const bool nothing = top == -std::numeric_limits<double>::infinity();
    const bool zero = nothing && (p.mask == MaskKind::key || p.mask == MaskKind::boolean || p.t == 0);
    const int64_t g = h / (p.h / p.kv_heads);
    for (int64_t t = 0; t < p.t && !zero; ++t) {
      // A hidden key weighs nothing, whatever its value: a NaN there does not count.
      const double x = w[static_cast<size_t>(t)];
      if (x == -std::numeric_limits<double>::infinity() && !nothing) continue;
      const double weight = std::exp(x - top);
      total += weight;
      for (int64_t e = 0; e < p.e; ++e)
        y[static_cast<size_t>(e)] +=
            weight * element(args, call_.v, call_.dtype, b * p.v_b + g * p.v_h + t * p.v_t + e * p.v_e);
    }
    for (int64_t e = 0; e < p.e; ++e) {
      const int64_t at = b * p.y_b + h * p.y_h + s * p.y_s + e;
      store_from_double(call_.dtype,
                        static_cast<char*>(args.outputs[0]) + at * static_cast<int64_t>(size_of(call_.dtype)),
                        zero ? 0 : y[static_cast<size_t>(e)] / total);
    }
  }

  AttentionCall call_;
};

Elem elem_of(DType dtype) { return dtype == DType::bf16 ? Elem::bf16 : dtype == DType::f16 ? Elem::f16 : Elem::f32; }

Verdict check_operands(const Problem& problem, const TensorDesc* q, const TensorDesc* k, const TensorDesc* v) {
  if (!q || !k || !v || problem.outputs.size() != 1) return no("got ", problem.str(), ", want q, k, v and one output");
  for (const TensorDesc* d : {q, k, v}) {
    if (d->sizes.rank() != 4) return no("got rank ", d->sizes.rank(), ", want [batch, heads, length, size]");
    if (d->dtype != q->dtype || !is_float(d->dtype))
      return no("got ", q->dtype, " and ", d->dtype, ", want one float type");
  }
  if (problem.outputs[0].dtype != q->dtype)
    return no("got an output of ", problem.outputs[0].dtype, " from ", q->dtype);
  const Dims &sq = q->sizes, &sk = k->sizes, &sv = v->sizes;
  if (sk[0] != sq[0] || sv[0] != sq[0] || sk[1] != sv[1] || sk[2] != sv[2] || sk[3] != sq[3])
    return no("got q ", sq, ", k ", sk, ", v ", sv, ": batch, heads, length or size differ");
  if (sk[1] == 0 ? sq[1] != 0 : sq[1] % sk[1] != 0)
    return no("got ", sq[1], " heads over ", sk[1], " of keys, want a multiple");
  return yes();
}

}  // namespace

Verdict attention_call(const Problem& problem, AttentionCall& call) {
  const TensorDesc *q = problem.operand(0), *k = problem.operand(1), *v = problem.operand(2);
  if (Verdict verdict = check_operands(problem, q, k, v); !verdict) return verdict;
  AttentionProblem& p = call.p;
  call.dtype = q->dtype;
  call.q = problem.operand_index(0), call.k = problem.operand_index(1), call.v = problem.operand_index(2);
  p.b = q->sizes[0], p.h = q->sizes[1], p.s = q->sizes[2], p.d = q->sizes[3];
  p.kv_heads = std::max<int64_t>(k->sizes[1], 1), p.t = k->sizes[2], p.e = v->sizes[3];
  p.q_b = q->strides[0], p.q_h = q->strides[1], p.q_s = q->strides[2], p.q_d = q->strides[3];
  p.k_b = k->strides[0], p.k_h = k->strides[1], p.k_t = k->strides[2], p.k_d = k->strides[3];
  p.v_b = v->strides[0], p.v_h = v->strides[1], p.v_t = v->strides[2], p.v_e = v->strides[3];
  if (p.d <= 1) p.q_d = p.k_d = 1;
  p.causal = get_bool(problem.kwargs, "causal", false);
  p.scale = get_float(problem.kwargs, "scale", 1 / std::sqrt(static_cast<double>(std::max<int64_t>(p.d, 1))));
  p.threads = problem.threads;
  if (Verdict verdict = set_mask(problem, call); !verdict) return verdict;
  return set_output(problem, p);
}

Verdict attention_supports(const AttentionCall& call) {
  if (call.dtype == DType::f64 || (call.p.mask == MaskKind::add && call.mask_dtype == DType::f64))
    return no("got f64, want f32, bf16 or f16: scores are f32");
  return yes();
}

AttentionPlan plan_attention(const AttentionProblem& p, Isa isa) {
  const Entries& e = entries(isa);
  const int64_t lanes = e.lanes();
  AttentionPlan plan;
  if (p.b * p.h * p.s * p.e == 0) return plan;
  const int64_t vectors = (p.s + lanes - 1) / lanes;
  plan.max_v = static_cast<int>(std::min<int64_t>(vectors, e.max_v()));
  plan.panels = (vectors + plan.max_v - 1) / plan.max_v;
  plan.wide = vectors - plan.panels * (plan.max_v - 1);
  plan.block = std::clamp<int64_t>(p.t, 1, kBlock);
  plan.few = p.s <= kFewQueries && p.k_d == 1 && p.q_d == 1 && (p.v_e == 1 || p.e == 1);
  plan.units = p.b * p.h * plan.panels;
  // At least 1 MFLOP (10 us) a task; an exponential counts as 16.
  const double flops =
      2.0 * static_cast<double>(plan.max_v * lanes) * static_cast<double>(p.t) * static_cast<double>(p.d + p.e + 16);
  plan.units_per_task = std::clamp<int64_t>(static_cast<int64_t>(1e6 / (flops + 1)), 1,
                                            std::max<int64_t>(1, plan.units / (2 * std::max(1, p.threads))));
  plan.tasks = (plan.units + plan.units_per_task - 1) / plan.units_per_task;
  plan.worker_bytes = (e.worker_floats(p, plan) * 4 + 63) / 64 * 64;
  return plan;
}

std::unique_ptr<Launch> make_attention(AttentionCall call, Isa isa) {
  const Verdict v = attention_supports(call);
  KPT_CHECK(v.ok, "kernels.attention", v.reason);
  call.p.elem = elem_of(call.dtype);
  call.p.mask_elem = elem_of(call.mask_dtype);
  return std::make_unique<AttentionLaunch>(std::move(call), isa);
}

std::unique_ptr<Launch> make_attention_reference(AttentionCall call) {
  return std::make_unique<AttentionReference>(std::move(call));
}

namespace {

Verdict supports(const Problem& problem) {
  AttentionCall call;
  if (Verdict v = attention_call(problem, call); !v) return v;
  return attention_supports(call);
}

Verdict reference_supports(const Problem& problem) {
  AttentionCall call;
  return attention_call(problem, call);
}

AttentionCall checked(const Problem& problem) {
  AttentionCall call;
  const Verdict v = attention_call(problem, call);
  KPT_CHECK(v.ok, "kernels.attention", v.reason);
  return call;
}

}  // namespace

void register_attention(KernelRegistry& registry) {
  registry.add({"kpt.attention", "kpt", "cpu", "attention_cpu", 0, supports,
                [](const Problem& p) { return make_attention(checked(p)); }});
  registry.add({"kpt.attention", "reference", "cpu", "attention_reference", 0, reference_supports,
                [](const Problem& p) { return make_attention_reference(checked(p)); }});
}

}  // namespace kpt

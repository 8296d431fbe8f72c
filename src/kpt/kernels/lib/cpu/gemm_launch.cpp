// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kpt/kernels/lib/cpu/act_reference.h"
#include "kpt/kernels/lib/cpu/gemm_run.h"

namespace kpt {

namespace {

void erase_dim(GemmProblem& p, int d) {
  const auto drop = [&](int64_t* v) {
    for (int i = d; i + 1 < p.batch_dims; ++i) v[i] = v[i + 1];
  };
  for (int64_t* v : {p.batch, p.x_batch, p.w_batch, p.y_batch, p.residual_batch}) drop(v);
  --p.batch_dims;
}

bool steps_alike(const GemmProblem& p, int outer, int inner) {
  for (const int64_t* s : {p.x_batch, p.w_batch, p.y_batch}) {
    if (s[outer] != s[inner] * p.batch[inner]) return false;
  }
  return !p.has_residual || p.residual_batch[outer] == p.residual_batch[inner] * p.batch[inner];
}

bool joins_m(const GemmProblem& p, int d) {
  return p.w_batch[d] == 0 && p.x_batch[d] == p.m * p.x_m && p.y_batch[d] == p.m * p.y_m &&
         (!p.has_residual || p.residual_batch[d] == p.m * p.residual_m);
}

const void* input_at(const RunArgs& args, int index) { return index < 0 ? nullptr : args.inputs[index]; }

class GemmLaunch : public Launch {
 public:
  GemmLaunch(GemmCall call, Isa isa) : call_(std::move(call)), isa_(isa), plan_(plan_gemm(call_.product, isa_)) {}
  size_t workspace_bytes() const override { return gemm_workspace(call_.product, plan_); }
  void run(const RunArgs& args) const override {
    const GemmOperands& at = call_.at;
    run_gemm(call_.product, plan_,
             {input_at(args, at.x), input_at(args, at.w), input_at(args, at.bias), input_at(args, at.residual),
              args.outputs[0]},
             args.workspace, isa_);
  }
  std::string config() const override { return describe(call_.product, plan_, isa_); }

 private:
  GemmCall call_;
  Isa isa_;
  GemmPlan plan_;
};

class GemmReference : public Launch {
 public:
  explicit GemmReference(GemmCall call) : call_(std::move(call)) {}
  std::string config() const override { return "double loops"; }
  void run(const RunArgs& args) const override {
    const GemmProblem& p = call_.product;
    int64_t items = 1;
    for (int d = 0; d < p.batch_dims; ++d) items *= p.batch[d];
    for (int64_t item = 0; item < items; ++item) {
      int64_t x = 0, w = 0, y = 0, res = 0, rest = item;
      for (int d = p.batch_dims - 1; d >= 0; --d) {
        const int64_t i = rest % p.batch[d];
        rest /= p.batch[d];
        x += i * p.x_batch[d];
        w += i * p.w_batch[d];
        y += i * p.y_batch[d];
        res += i * p.residual_batch[d];
      }
      for (int64_t m = 0; m < p.m; ++m)
        for (int64_t n = 0; n < p.n; ++n) element(args, m, n, x + m * p.x_m, w + n * p.w_n, y + m * p.y_m + n, res);
    }
  }

 private:
  double at(const RunArgs& args, int input, int64_t index) const {
    return load_as_double(
        call_.dtype, static_cast<const char*>(args.inputs[input]) + index * static_cast<int64_t>(size_of(call_.dtype)));
  }
  void element(const RunArgs& args, int64_t m, int64_t n, int64_t x, int64_t w, int64_t y, int64_t res) const {
    const GemmProblem& p = call_.product;
    double sum = 0;
    for (int64_t k = 0; k < p.k; ++k) sum += at(args, call_.at.x, x + k * p.x_k) * at(args, call_.at.w, w + k * p.w_k);
    sum *= p.alpha;
    if (p.has_bias) sum += at(args, call_.at.bias, n);
    sum = activate(p.act, sum);
    if (p.has_residual) sum += p.beta * at(args, call_.at.residual, res + m * p.residual_m + n * p.residual_n);
    store_from_double(call_.dtype, static_cast<char*>(args.outputs[0]) + y * static_cast<int64_t>(size_of(call_.dtype)),
                      sum);
  }

  GemmCall call_;
};

}  // namespace

double activate(Act act, double x) {
  switch (act) {
    case Act::none: return x;
    case Act::gelu: return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Act::gelu_tanh: return x * 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Act::silu: return x / (1 + std::exp(-x));
    case Act::relu: return x < 0 ? 0 : x;
    case Act::tanh: return std::tanh(x);
    case Act::sigmoid: return 1 / (1 + std::exp(-x));
  }
  return x;
}

void fold_batch(GemmProblem& p) {
  for (int d = p.batch_dims - 1; d >= 0; --d) {
    if (p.batch[d] == 1)
      erase_dim(p, d);
    else if (d + 1 < p.batch_dims && steps_alike(p, d, d + 1)) {
      p.batch[d + 1] *= p.batch[d];
      erase_dim(p, d);
    }
  }
  while (p.batch_dims > 0) {
    const int d = p.batch_dims - 1;
    if (p.m == 1 && p.w_batch[d] == 0) {  // one row: its stride is free
      p.m = p.batch[d];
      p.x_m = p.x_batch[d];
      p.y_m = p.y_batch[d];
      p.residual_m = p.residual_batch[d];
    } else if (joins_m(p, d)) {
      p.m *= p.batch[d];
    } else {
      break;
    }
    --p.batch_dims;
  }
}

Verdict gemm_supports(const GemmCall& call) {
  if (call.dtype == DType::f32 || call.dtype == DType::bf16 || call.dtype == DType::f16) return yes();
  return no("got ", call.dtype, ", want f32, bf16 or f16: the product is summed in f32");
}

std::unique_ptr<Launch> make_gemm(GemmCall call, Isa isa) {
  const Verdict v = gemm_supports(call);
  KPT_CHECK(v.ok, "kernels.gemm", v.reason);
  call.product.elem = call.dtype == DType::f32 ? Elem::f32 : call.dtype == DType::bf16 ? Elem::bf16 : Elem::f16;
  fold_batch(call.product);
  return std::make_unique<GemmLaunch>(std::move(call), isa);
}

std::unique_ptr<Launch> make_gemm_reference(GemmCall call) { return std::make_unique<GemmReference>(std::move(call)); }

bool parse_act(std::string_view name, Act* act) {
  constexpr std::pair<std::string_view, Act> kNames[] = {
      {"none", Act::none}, {"gelu", Act::gelu}, {"gelu_tanh", Act::gelu_tanh}, {"silu", Act::silu},
      {"relu", Act::relu}, {"tanh", Act::tanh}, {"sigmoid", Act::sigmoid}};
  for (const auto& [known, value] : kNames)
    if (known == name) {
      *act = value;
      return true;
    }
  return false;
}

}  // namespace kpt

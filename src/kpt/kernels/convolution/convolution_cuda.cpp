// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/convolution/convolution_cuda.h"

#include <array>
#include <limits>
#include <mutex>

namespace kpt {
namespace {

constexpr int64_t kThreads = 256;
// Products that the direct kernel does in a few microseconds where there is no other.
constexpr int64_t kSmall = int64_t{1} << 24;

int64_t outputs(const ConvProblem& p) { return p.b * p.o * p.oh * p.ow; }

using Four = std::array<int64_t, 4>;

// Strides of [n, c, h, w] without gaps, channels before the pixels or last.
Four packed(const Four& n, bool last) {
  if (last) return {n[1] * n[2] * n[3], 1, n[3] * n[1], n[1]};
  return {n[1] * n[2] * n[3], n[2] * n[3], n[3], 1};
}

// Images may stand apart, nothing else may. The stride of an axis of size 1 is free.
bool is_packed(const Four& sizes, const Four& strides, bool last) {
  const Four want = packed(sizes, last);
  for (size_t i = 1; i < 4; ++i)
    if (sizes[i] != 1 && strides[i] != want[i]) return false;
  return sizes[0] == 1 || strides[0] >= want[0];
}

Four x_sizes(const ConvProblem& p) { return {p.b, p.c, p.h, p.w}; }
Four x_strides(const ConvProblem& p) { return {p.x_b, p.x_c, p.x_h, p.x_w}; }
Four w_sizes(const ConvProblem& p) { return {p.o, p.c / p.groups, p.kh, p.kw}; }
Four w_strides(const ConvProblem& p) { return {p.w_o, p.w_c, p.w_h, p.w_w}; }

bool has_tail(const ConvProblem& p) { return p.has_bias || p.has_residual || p.act != Act::none; }

CudaCall call_of(const ConvCall& call, const char* file, const char* entry, int64_t threads) {
  CudaCall out;
  out.program = {cat("convolution/", file),
                 cuda_text(cat("convolution/", file)),
                 {cat("T=", cuda_type(call.dtype)), cat("ACT=", static_cast<int>(call.p.act))},
                 entry};
  out.shape.grid = {static_cast<uint32_t>((threads + kThreads - 1) / kThreads), 1, 1};
  out.shape.block = {static_cast<uint32_t>(kThreads), 1, 1};
  out.shape.overlap = true;
  return out;
}

// Numbers of tail.cu and direct.cu.
struct TailNumbers {
  int64_t count, pixels, channels;
};
struct DirectNumbers {
  int64_t count, x_b, x_c, x_h, x_w, w_o, w_c, w_h, w_w;
  int32_t h, w, kh, kw, oh, ow, outputs, group_c, group_o;
  int32_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, last;
};

Verdict sizes_fit(const ConvProblem& p) {
  for (int64_t n : {p.c, p.h, p.w, p.o, p.oh, p.ow, p.pad_h, p.pad_w, p.h + 2 * p.pad_h, p.w + 2 * p.pad_w})
    if (n > std::numeric_limits<int32_t>::max()) return no("got a size of ", n, ", want less than 2^31");
  if (outputs(p) / kThreads >= std::numeric_limits<int32_t>::max()) return no("got ", outputs(p), " outputs");
  return yes();
}

class ConvLaunch final : public Launch {
 public:
  explicit ConvLaunch(ConvCall call) : call_(std::move(call)), device_(current_cuda_device()) {
    KPT_ASSERT(device_ >= 0, "kernels.convolution", "no CUDA context is current");
  }

  void prepare(Effort effort) override {
    if (outputs(call_.p) == 0) return;
    if (has_tail(call_.p)) {
      tail_ = make_cuda_launch(plan_conv_tail(call_));
      tail_->prepare(effort);
    }
    const bool sums = call_.p.c > 0;
    if (sums) {
      const CudnnConvolution problem = cudnn_problem(call_);
      const auto tail = [this](const CudnnPointers& at, CUstream stream) { run_tail(at, stream); };
      CudnnChoice choice = cudnn_convolution(problem, device_, tail, effort == Effort::timed);
      plan_ = std::move(choice.plan);
      reason_ = choice.verdict.reason;
    }
    if (!plan_) std::call_once(direct_once_, [this] { make_direct(); });
    if (plan_ && plan_->has_epilogue()) tail_ = nullptr;
  }
  size_t workspace_bytes() const override { return plan_ ? plan_->workspace_bytes() : 0; }
  std::string config() const override {
    if (plan_) return cat(plan_->config(), tail_ ? ", tail kernel" : "");
    return reason_.empty() ? "direct" : cat("direct: ", reason_);
  }
  void run(const RunArgs& args) const override {
    if (outputs(call_.p) == 0) return;
    const auto input = [&args](int index) { return index < 0 ? nullptr : args.inputs[index]; };
    const CudnnPointers at{input(call_.x),        input(call_.w),  input(call_.bias),
                           input(call_.residual), args.outputs[0], args.workspace};
    uintptr_t bits = 0;
    for (const void* p : {at.x, at.w, at.bias, at.residual, const_cast<const void*>(at.y)})
      bits |= reinterpret_cast<uintptr_t>(p);
    if (!plan_ || bits % 16 != 0) {
      std::call_once(direct_once_, [this] { make_direct(); });  // a view that starts off a line: rare, so made late
      direct_->run(args);
      return;
    }
    const auto stream = static_cast<CUstream>(args.stream);
    plan_->run(at, stream);
    if (tail_) run_tail(at, stream);
  }

 private:
  void run_tail(const CudnnPointers& at, CUstream stream) const {
    const std::array<const void*, 2> inputs{at.bias, at.residual};
    void* output = at.y;
    tail_->run({inputs.data(), &output, nullptr, stream});
  }
  void make_direct() const {
    direct_ = make_cuda_launch(plan_conv_direct(call_));
    direct_->prepare(Effort::known);
  }

  ConvCall call_;
  int device_;
  std::shared_ptr<const CudnnConvolutionPlan> plan_;
  std::unique_ptr<Launch> tail_;
  std::string reason_;
  mutable std::once_flag direct_once_;
  mutable std::unique_ptr<Launch> direct_;
};

ConvCall checked(const Problem& problem) {
  ConvCall call;
  const Verdict v = conv_call(problem, call);
  KPT_CHECK(v.ok, "kernels.convolution", v.reason);
  return call;
}

}  // namespace

CudnnConvolution cudnn_problem(const ConvCall& call) {
  const ConvProblem& p = call.p;
  CudnnConvolution out;
  out.dtype = call.dtype;
  out.groups = p.groups;
  out.x = x_sizes(p);
  out.x_strides = packed(out.x, p.last);
  if (p.b > 1) out.x_strides[0] = p.x_b;
  out.w = w_sizes(p);
  out.w_strides = packed(out.w, p.last);
  out.y = {p.b, p.o, p.oh, p.ow};
  out.y_strides = packed(out.y, p.last);
  out.stride = {p.stride_h, p.stride_w};
  out.padding = {p.pad_h, p.pad_w};
  out.dilation = {p.dilation_h, p.dilation_w};
  if (p.act != Act::none && p.act != Act::relu) return out;
  out.bias = p.has_bias;
  out.residual = p.has_residual;
  out.relu = p.act == Act::relu;
  return out;
}

CudaWork plan_conv_tail(const ConvCall& call) {
  const ConvProblem& p = call.p;
  CudaWork work;
  if (outputs(p) == 0 || !has_tail(p)) return work;
  const int64_t vector = 16 / static_cast<int64_t>(size_of(call.dtype));
  CudaCall tail = call_of(call, "tail.cu", "conv_tail", (outputs(p) + vector - 1) / vector);
  tail.params = {out_param(0), p.has_bias ? in_param(0) : null_param(), p.has_residual ? in_param(1) : null_param(),
                 value_param(TailNumbers{outputs(p), p.last ? 1 : p.oh * p.ow, p.o})};
  work.calls.push_back(std::move(tail));
  return work;
}

CudaWork plan_conv_direct(const ConvCall& call) {
  const ConvProblem& p = call.p;
  CudaWork work;
  if (outputs(p) == 0) return work;
  const auto i = [](int64_t n) { return static_cast<int32_t>(n); };
  CudaCall direct = call_of(call, "direct.cu", "conv_direct", outputs(p));
  direct.params = {in_param(call.x),
                   in_param(call.w),
                   p.has_bias ? in_param(call.bias) : null_param(),
                   p.has_residual ? in_param(call.residual) : null_param(),
                   out_param(0),
                   value_param(DirectNumbers{outputs(p),
                                             p.x_b,
                                             p.x_c,
                                             p.x_h,
                                             p.x_w,
                                             p.w_o,
                                             p.w_c,
                                             p.w_h,
                                             p.w_w,
                                             i(p.h),
                                             i(p.w),
                                             i(p.kh),
                                             i(p.kw),
                                             i(p.oh),
                                             i(p.ow),
                                             i(p.o),
                                             i(p.c / p.groups),
                                             i(p.o / p.groups),
                                             i(p.stride_h),
                                             i(p.stride_w),
                                             i(p.pad_h),
                                             i(p.pad_w),
                                             i(p.dilation_h),
                                             i(p.dilation_w),
                                             p.last})};
  work.config = "one output a thread";
  work.calls.push_back(std::move(direct));
  return work;
}

Verdict conv_direct_supports(const ConvCall& call) {
  const ConvProblem& p = call.p;
  if (call.dtype == DType::f64) return no("got f64, want f32, bf16 or f16: the sum is f32");
  if (Verdict v = sizes_fit(p); !v) return v;
  if (p.c == p.groups) return yes();
  const int64_t products = outputs(p) * (p.c / p.groups) * p.kh * p.kw;
  if (!conv_cudnn_supports(call) && products <= kSmall) return yes();
  return no("got ", p.c / p.groups, " channels a group and ", products, " products, want 1 channel, or strides that ",
            "cuDNN does not take and at most ", kSmall, " products");
}

Verdict conv_cudnn_supports(const ConvCall& call) {
  const ConvProblem& p = call.p;
  if (call.dtype == DType::f64) return no("got f64, want f32, bf16 or f16: the sum is f32");
  if (Verdict v = sizes_fit(p); !v) return v;
  // Seen on an H200 with cuDNN 9.19: engines for these leave y unwritten.
  if (p.last && p.groups > 1 && p.c != p.groups) return no("groups of several channels, channels last");
  if (!is_packed(w_sizes(p), w_strides(p), p.last) || (p.o > 1 && p.w_o != packed(w_sizes(p), p.last)[0]))
    return no("weights are not packed");
  if (!is_packed(x_sizes(p), x_strides(p), p.last))
    return no("got strides ", p.x_b, ", ", p.x_c, ", ", p.x_h, ", ", p.x_w, " of x, want ",
              p.last ? "packed pixels" : "packed rows and planes");
  return yes();
}

void register_convolution_cuda(KernelRegistry& registry) {
  const auto direct = [](const Problem& problem) {
    ConvCall call;
    const Verdict v = conv_call(problem, call);
    return v ? conv_direct_supports(call) : v;
  };
  const auto cudnn = [](const Problem& problem) {
    ConvCall call;
    if (Verdict v = conv_call(problem, call); !v) return v;
    if (Verdict v = conv_cudnn_supports(call); !v) return v;
    return cudnn_here();
  };
  for (const char* op : {"aten.convolution", "kpt.convolution"}) {
    add_cuda(registry, op, "convolution", direct, [](const Problem& p) { return plan_conv_direct(checked(p)); });
    registry.add({op, "vendor", "cuda", "convolution_cudnn", 0, cudnn,
                  [](const Problem& p) { return std::make_unique<ConvLaunch>(checked(p)); }});
  }
}

}  // namespace kpt

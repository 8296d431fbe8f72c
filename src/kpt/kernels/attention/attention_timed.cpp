// SPDX-License-Identifier: Apache-2.0
// Large attention by whichever is faster here: the kernel of ours or cuDNN's. cuDNN knows key masks as lengths alone:
// lengths.cu counts them, and batch entries whose mask says more are left to the kernel of ours, whose other blocks
// then return at once.
#include "kpt/kernels/attention/attention_timed.h"

#include <mutex>

#include "kpt/cuda/choices.h"
#include "kpt/cuda/timing.h"

namespace kpt {
namespace {

// Products below which the two differ by their start alone: a few microseconds on 132 multiprocessors.
constexpr double kLeastWork = 5e8;
constexpr int64_t kLine = 256;

int64_t lines(int64_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

AttentionCall checked(const Problem& problem) {
  AttentionCall call;
  const Verdict v = attention_call(problem, call);
  KPT_CHECK(v.ok, "kernels.attention", v.reason);
  return call;
}

bool has_key_mask(const AttentionCall& call) { return call.p.mask != MaskKind::none; }

class TimedAttention final : public Launch {
 public:
  TimedAttention(AttentionCall call, const GpuTraits& gpu, AttentionContest contest)
      : call_(std::move(call)), gpu_(gpu), contest_(contest), device_(current_cuda_device()) {
    KPT_ASSERT(device_ >= 0, "kernels.attention", "no CUDA context is current");
  }

  void prepare(Effort effort) override {
    CudaWork own = attention_cuda_work(call_, gpu_);
    own_bytes_ = lines(static_cast<int64_t>(own.workspace_bytes));
    own_text_ = own.config;
    own_ = make_cuda_launch(own);
    own_->prepare(effort);
    CudnnAttention problem;
    if (Verdict v = cudnn_attention_problem(call_, problem); !v) return;
    ChoiceStore& store = ChoiceStore::of("attention", cudnn_version(), device_);
    const std::string family = cat(call_.dtype, " d", call_.p.d, " e", call_.p.e), key = problem.key();
    if (has_key_mask(call_) && own.calls.size() > 1) return;  // parts of the keys cannot be left out one by one
    const bool fair = contest_ == AttentionContest::fair;
    static std::mutex mutex;  // layers of a model are prepared at the same time: the first one decides for all
    const std::lock_guard<std::mutex> lock(mutex);
    const auto kept = fair ? store.find(family, key) : std::nullopt;
    if (!fair) {
      plan_ = cudnn_attention(problem, device_).plan;
      KPT_CHECK(plan_, "kernels.attention", "got no engine of cuDNN for ", key);
      if (has_key_mask(call_)) make_masked(std::move(own));
      return;
    }
    if (kept && kept->words[0] == 0) return;
    // Building cuDNN's plan takes tens of milliseconds: no call waits for that.
    if (effort == Effort::known && (!kept || !cudnn_attention_built(problem, device_))) {
      how_ = "cudnn not built for this size";
      return;
    }
    CudnnAttentionChoice choice = cudnn_attention(problem, device_);
    if (!choice.plan) {
      why_ = choice.verdict.reason;
      return;
    }
    plan_ = std::move(choice.plan);
    if (has_key_mask(call_)) make_masked(std::move(own));
    if (kept) {
      how_ = cat("kept choice of ", kept->microseconds, " us");
      return;
    }
    race(store, family, key);
  }

  size_t workspace_bytes() const override {
    if (!plan_) return static_cast<size_t>(own_bytes_);
    return static_cast<size_t>(own_bytes_ + lines(lengths_bytes()) + static_cast<int64_t>(plan_->workspace_bytes()));
  }
  std::string config() const override {
    if (plan_) return cat(plan_->config(), ", ", how_);
    return cat(own_text_, how_.empty() ? "" : cat(", ", how_), why_.empty() ? "" : cat(" (", why_, ")"));
  }
  void run(const RunArgs& args) const override {
    const AttentionCall& c = call_;
    const auto address = [&](int i) { return reinterpret_cast<uintptr_t>(args.inputs[i]); };
    const uintptr_t bits = address(c.q) | address(c.k) | address(c.v) | reinterpret_cast<uintptr_t>(args.outputs[0]);
    if (plan_ && bits % 16 == 0)
      run_cudnn(args);
    else
      own_->run(args);
  }

 private:
  int64_t lengths_bytes() const { return has_key_mask(call_) ? 3 * call_.p.b * 4 : 0; }

  // Lengths before cuDNN, and our kernel after it for the entries that lengths do not describe.
  void make_masked(CudaWork own) {
    const AttentionProblem& p = call_.p;
    CudaCall count;
    count.program = {"attention/lengths.cu", cuda_text("attention/lengths.cu"), {}, "lengths"};
    count.shape.grid[0] = static_cast<uint32_t>(p.b);
    count.shape.block[0] = 256;
    count.shape.overlap = true;
    count.params = {in_param(call_.mask),
                    work_param(own_bytes_),
                    value_param<int64_t>(p.b > 1 ? p.mask_b : 0),
                    value_param<int64_t>(p.mask_t),
                    value_param(static_cast<int32_t>(p.s)),
                    value_param(static_cast<int32_t>(p.t))};
    CudaWork lengths;
    lengths.calls.push_back(std::move(count));
    lengths_ = make_cuda_launch(std::move(lengths));
    lengths_->prepare(Effort::known);
    own.calls[0].params[5] = work_param(own_bytes_ + 2 * p.b * 4);  // attention.cu's `done`
    rest_ = make_cuda_launch(std::move(own));
    rest_->prepare(Effort::known);
  }

  void run_cudnn(const RunArgs& args) const {
    char* const at = static_cast<char*>(args.workspace) + own_bytes_;
    const int* const lengths = lengths_ ? reinterpret_cast<const int*>(at) : nullptr;
    if (lengths_) lengths_->run(args);
    plan_->run({args.inputs[call_.q], args.inputs[call_.k], args.inputs[call_.v], args.outputs[0], lengths,
                lengths ? lengths + call_.p.b : nullptr, at + lines(lengths_bytes())},
               static_cast<CUstream>(args.stream));
    if (rest_) rest_->run(args);
  }

  // Times both on memory of the problem's size; plan_ stays where cuDNN is faster.
  void race(ChoiceStore& store, const std::string& family, const std::string& key) {
    const AttentionProblem& p = call_.p;
    const int64_t size = static_cast<int64_t>(size_of(call_.dtype));
    const auto bytes = [&](int64_t b, int64_t b_step, int64_t h, int64_t h_step, int64_t l, int64_t l_step, int64_t d) {
      return lines(((b - 1) * b_step + (h - 1) * h_step + (l - 1) * l_step + d) * size);
    };
    const int64_t q = bytes(p.b, p.q_b, p.h, p.q_h, p.s, p.q_s, p.d),
                  k = bytes(p.b, p.k_b, p.kv_heads, p.k_h, p.t, p.k_t, p.d),
                  v = bytes(p.b, p.v_b, p.kv_heads, p.v_h, p.t, p.v_t, p.e), y = lines(p.b * p.h * p.s * p.e * size),
                  mask = lines((p.b - 1) * p.mask_b + (p.t - 1) * p.mask_t + 1);
    CudaTimer timer;
    CudaScratch scratch(q + k + v + y + mask + static_cast<int64_t>(workspace_bytes()), timer.stream());
    if (!scratch) {
      plan_ = nullptr;
      why_ = "no memory to time cuDNN on";
      return;
    }
    scratch.fill(0x3c);  // 0.0115 as bf16, 1.06 as f16; a mask that keeps all
    char* at = scratch.data();
    std::vector<const void*> inputs(static_cast<size_t>(std::max({call_.q, call_.k, call_.v, call_.mask})) + 1);
    inputs[static_cast<size_t>(call_.q)] = at;
    inputs[static_cast<size_t>(call_.k)] = at + q;
    inputs[static_cast<size_t>(call_.v)] = at + q + k;
    if (call_.mask >= 0) inputs[static_cast<size_t>(call_.mask)] = at + q + k + v + y;
    void* output = at + q + k + v;
    const RunArgs args{inputs.data(), &output, at + q + k + v + y + mask, timer.stream()};
    const std::vector<double> times = timer.times({[&](int) {
                                                     own_->run(args);
                                                     return true;
                                                   },
                                                   [&](int) {
                                                     run_cudnn(args);
                                                     return true;
                                                   }},
                                                  false);
    const bool library = fastest(times) == 1;
    store.add(family, key, {{library ? 1u : 0u}, times[library ? 1 : 0], call_.p.s});
    how_ = cat("timed: ", times[1], " us, own kernel ", times[0], " us");
    if (!library) {
      how_ = cat("timed: ", times[0], " us, cudnn ", times[1], " us");
      plan_ = nullptr;
    }
  }

  AttentionCall call_;
  GpuTraits gpu_;
  AttentionContest contest_;
  int device_;
  int64_t own_bytes_ = 0;
  std::string own_text_, how_, why_;
  std::unique_ptr<Launch> own_, lengths_, rest_;
  std::shared_ptr<const CudnnAttentionPlan> plan_;
};

}  // namespace

Verdict cudnn_attention_problem(const AttentionCall& call, CudnnAttention& out) {
  const AttentionProblem& p = call.p;
  if (call.dtype != DType::bf16 && call.dtype != DType::f16) return no("got ", call.dtype, ", want bf16 or f16");
  if (p.mask == MaskKind::add) return no("an added mask");
  if (p.mask == MaskKind::boolean && ((p.h > 1 && p.mask_h != 0) || (p.s > 1 && p.mask_s != 0)))
    return no("a mask of queries or heads");
  const double all = 4.0 * static_cast<double>(p.b * p.h) * static_cast<double>(p.s * p.t) * static_cast<double>(p.d);
  if (p.s < 64 || (p.causal ? all / 2 : all) < kLeastWork) return no("too small to matter");
  if (p.q_d != 1 || p.k_d != 1 || p.v_e != 1) return no("heads that are not contiguous");
  if (p.d > 128 || p.e > 128) return no("got heads of ", std::max(p.d, p.e), ", want at most 128");
  for (int64_t n : {p.d, p.e, p.q_b, p.q_h, p.q_s, p.k_b, p.k_h, p.k_t, p.v_b, p.v_h, p.v_t, p.y_b, p.y_h, p.y_s})
    if (n % 8 != 0) return no("got a size or stride of ", n, ", want multiples of 8");
  out.dtype = call.dtype;
  out.q = {p.b, p.h, p.s, p.d}, out.q_strides = {p.q_b, p.q_h, p.q_s, 1};
  out.k = {p.b, p.kv_heads, p.t, p.d}, out.k_strides = {p.k_b, p.k_h, p.k_t, 1};
  out.v = {p.b, p.kv_heads, p.t, p.e}, out.v_strides = {p.v_b, p.v_h, p.v_t, 1};
  out.y = {p.b, p.h, p.s, p.e}, out.y_strides = {p.y_b, p.y_h, p.y_s, 1};
  out.scale = p.scale;
  out.causal = p.causal;
  out.lengths = has_key_mask(call);
  return yes();
}

std::unique_ptr<Launch> make_timed_attention(const Problem& problem, AttentionContest contest) {
  return std::make_unique<TimedAttention>(checked(problem), problem.gpu, contest);
}

void register_attention_timed(KernelRegistry& registry) {
  const auto supports = [](const Problem& problem) {
    AttentionCall call;
    if (Verdict v = attention_call(problem, call); !v) return v;
    if (Verdict v = attention_cuda_supports(call, problem.gpu); !v) return v;
    CudnnAttention library;
    if (Verdict v = cudnn_attention_problem(call, library); !v) return v;
    return cudnn_here();
  };
  registry.add({"kpt.attention", "kpt", "cuda", "attention_timed", 1, supports,
                [](const Problem& p) { return make_timed_attention(p, AttentionContest::fair); }});
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/conformance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "kpt/base/threads.h"
#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt::conformance {
namespace {

std::vector<std::pair<std::string, Maker>>& table() {
  static std::vector<std::pair<std::string, Maker>> all;
  return all;
}

// Elements of memory that a desc reaches.
int64_t extent(const TensorDesc& d) {
  if (d.numel() == 0) return 0;
  int64_t last = 0;
  for (int i = 0; i < d.sizes.rank(); ++i) last += (d.sizes[i] - 1) * d.strides[i];
  return last + 1;
}

Tensor memory(const TensorDesc& d) {
  Tensor t = Tensor::empty(d.dtype, {extent(d)});
  t.desc = d;
  return t;
}

uint64_t seed_of(const std::string& label) {
  uint64_t h = 1469598103934665603u;  // FNV-1a
  for (char c : label) h = (h ^ static_cast<uint8_t>(c)) * 1099511628211u;
  return h;
}

DType widened(DType d) { return is_float(d) ? DType::f64 : d; }

Attr widened(const Attr& a) {
  if (a.is<DType>()) return widened(a.as<DType>());
  if (!a.is<AttrList>()) return a;
  AttrList list;
  for (const Attr& item : a.as<AttrList>()) list.push_back(widened(item));
  return list;
}

constexpr int64_t kGuard = 256;
constexpr unsigned char kGuardByte = 0xa5;

// Bytes with a guard behind them; filled with a pattern that is NaN in every float type.
struct Guarded {
  Tensor bytes;
  int64_t size;
  explicit Guarded(int64_t n) : bytes(Tensor::empty(DType::u8, {n + kGuard})), size(n) {
    std::memset(bytes.data, 0xff, static_cast<size_t>(n));
    std::memset(static_cast<char*>(bytes.data) + n, kGuardByte, kGuard);
  }
  bool intact() const {
    const auto* p = static_cast<const unsigned char*>(bytes.data) + size;
    for (int64_t i = 0; i < kGuard; ++i)
      if (p[i] != kGuardByte) return false;
    return true;
  }
};

// Memory on the GPU that mirrors a host tensor's bytes.
class OnDevice {
 public:
  OnDevice(const void* host, int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    cuda_check(cuda().cuMemAlloc(&pointer_, bytes_ + 256), "conformance");
    cuda_check(cuda().cuMemcpyHtoDAsync(pointer_, host, bytes_, nullptr), "conformance");
  }
  OnDevice(OnDevice&& other) noexcept : bytes_(other.bytes_), pointer_(std::exchange(other.pointer_, 0)) {}
  ~OnDevice() {
    if (pointer_) cuda().cuMemFree(pointer_);
  }
  void* data() const { return reinterpret_cast<void*>(pointer_); }
  void read(void* host) const {
    cuda_check(cuda().cuMemcpyDtoHAsync(host, pointer_, bytes_, nullptr), "conformance");
    cuda_check(cuda().cuStreamSynchronize(nullptr), "conformance");
  }

 private:
  size_t bytes_;
  CUdeviceptr pointer_ = 0;
};

int64_t bytes_of(const TensorDesc& d) { return extent(d) * static_cast<int64_t>(size_of(d.dtype)); }

// As the CPU's way, with inputs, outputs and workspace (guards included) on the GPU.
void run_on_gpu(const Launch& launch, const Problem& problem, const std::vector<Tensor>& inputs,
                std::vector<Guarded>& outputs, Guarded& workspace) {
  std::vector<OnDevice> memory;
  std::vector<const void*> in;
  std::vector<void*> out;
  memory.reserve(inputs.size() + outputs.size() + 1);
  for (size_t i = 0; i < inputs.size(); ++i) {
    memory.emplace_back(inputs[i].data, bytes_of(problem.inputs[i]));
    in.push_back(memory.back().data());
  }
  for (const Guarded& g : outputs) {
    memory.emplace_back(g.bytes.data, g.size + kGuard);
    out.push_back(memory.back().data());
  }
  memory.emplace_back(workspace.bytes.data, workspace.size + kGuard);
  launch.run({in.data(), out.data(), memory.back().data(), nullptr});
  for (size_t o = 0; o < outputs.size(); ++o) memory[inputs.size() + o].read(outputs[o].bytes.data);
  memory.back().read(workspace.bytes.data);
}

// What a kernel's configuration sees of the GPU: the one in hand, else one like an H200.
GpuTraits gpu_traits() {
  if (!cuda_here()) return {90, 132, 60 << 20, 232448};
  const CudaDevice& d = cuda_devices().front();
  return {d.arch, d.multiprocessors, d.l2_bytes, d.shared_bytes};
}

std::shared_ptr<const Kernel> reference_of(const Problem& p, std::string& why) {
  why = "no reference kernel";
  for (const auto& k : kernel_registry().find(p.op, "cpu")) {
    if (k->provider != "reference") continue;
    const Verdict v = k->supports(p);
    why = v.reason;
    if (!v) continue;
    return k;
  }
  return nullptr;
}

}  // namespace

double tolerance(DType dtype, int64_t reduction) {
  if (!is_float(dtype)) return 0;
  const double terms = 16 + 2 * std::sqrt(static_cast<double>(reduction));
  switch (dtype) {
    case DType::f64: return terms * 0x1p-53;
    case DType::f16: return 0x1p-10 + terms * 0x1p-24;
    case DType::bf16: return 0x1p-7 + terms * 0x1p-24;
    default: return terms * 0x1p-24;
  }
}

bool add(const std::string& op, Maker maker) {
  table().emplace_back(op, std::move(maker));
  return true;
}
const std::vector<std::pair<std::string, Maker>>& makers() { return table(); }

double lowest(DType dtype) {
  switch (dtype) {
    case DType::f64: return std::numeric_limits<double>::lowest();
    case DType::f16: return -65504;
    case DType::bf16: return -0x1.fep127;
    default: return std::numeric_limits<float>::lowest();
  }
}

TensorDesc dense(DType dtype, const Dims& sizes) { return TensorDesc::contiguous(dtype, sizes); }
TensorDesc transposed(DType dtype, const Dims& sizes) {
  Dims swapped = sizes;
  const int r = sizes.rank();
  std::swap(swapped[r - 1], swapped[r - 2]);
  Dims strides = contiguous_strides(swapped);
  std::swap(strides[r - 1], strides[r - 2]);
  return {dtype, sizes, strides};
}
TensorDesc padded(DType dtype, const Dims& sizes, int64_t padding) {
  Dims larger = sizes;
  larger[sizes.rank() - 1] += padding;
  return {dtype, sizes, contiguous_strides(larger)};
}
TensorDesc expanded(DType dtype, const Dims& sizes, int dim) {
  Dims one = sizes;
  one[dim] = 1;
  Dims strides = contiguous_strides(one);
  strides[dim] = 0;
  return {dtype, sizes, strides};
}

Case make_case(std::string label, std::string op, std::vector<TensorDesc> inputs, AttrList args, Kwargs kwargs,
               std::vector<TensorDesc> outputs, int64_t reduction) {
  Case c;
  c.label = std::move(label);
  c.problem.op = std::move(op);
  c.problem.inputs = std::move(inputs);
  c.problem.outputs = std::move(outputs);
  c.problem.args = std::move(args);
  c.problem.kwargs = std::move(kwargs);
  c.problem.threads = 2;
  c.reduction = reduction;
  return c;
}

std::vector<Tensor> make_inputs(const Case& c) {
  std::mt19937_64 random(seed_of(c.problem.op + c.label));
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < c.problem.inputs.size(); ++i) {
    const Range range = i < c.ranges.size() ? c.ranges[i] : Range{};
    Tensor t = memory(c.problem.inputs[i]);
    Tensor flat = t;
    flat.desc = dense(t.desc.dtype, {extent(t.desc)});
    const bool real = is_float(t.desc.dtype);
    std::uniform_real_distribution<double> uniform(range.lo, range.hi);
    const int64_t width = t.desc.sizes.rank() ? std::max<int64_t>(1, t.desc.sizes.back()) : 1;
    for (int64_t k = 0; k < flat.desc.numel(); ++k) {
      double v = uniform(random);
      if (t.desc.dtype == DType::boolean) v = v > (range.lo + range.hi) / 2;
      if (!real && t.desc.dtype != DType::boolean) v = std::floor(v + 0.5);
      if (real && range.special && k / width % 8 == 1) {
        const double specials[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 1e-40, v};
        v = specials[random() % 7];
      }
      flat.set(k, v);
    }
    inputs.push_back(t);
  }
  if (c.edit) c.edit(inputs);
  return inputs;
}

std::string run_kernel(const Kernel& kernel, const Problem& problem, const std::vector<Tensor>& inputs,
                       std::vector<Tensor>& outputs) {
  const std::unique_ptr<Launch> launch = kernel.make(problem);
  launch->prepare(Effort::timed);
  std::vector<const void*> in;
  std::vector<void*> out;
  std::vector<Guarded> guarded;
  for (const Tensor& t : inputs) in.push_back(t.data);
  for (const TensorDesc& d : problem.outputs) guarded.emplace_back(extent(d) * static_cast<int64_t>(size_of(d.dtype)));
  for (const Guarded& g : guarded) out.push_back(g.bytes.data);
  Guarded workspace(static_cast<int64_t>(launch->workspace_bytes()));
  if (kernel.device == "cuda")
    run_on_gpu(*launch, problem, inputs, guarded, workspace);
  else
    launch->run({in.data(), out.data(), workspace.bytes.data});
  outputs.clear();
  for (size_t o = 0; o < guarded.size(); ++o) {
    if (!guarded[o].intact()) return cat("wrote behind output ", o);
    outputs.push_back({problem.outputs[o], guarded[o].bytes.data, guarded[o].bytes.owner});
  }
  return workspace.intact() ? "" : "wrote behind its workspace";
}

std::string run_reference(const Problem& problem, const std::vector<Tensor>& inputs, std::vector<Tensor>& outputs) {
  Problem wide = problem;
  std::vector<Tensor> wide_inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    wide_inputs.push_back(inputs[i].to(widened(inputs[i].desc.dtype)));
    wide.inputs[i] = wide_inputs.back().desc;
  }
  for (TensorDesc& d : wide.outputs) d = dense(widened(d.dtype), d.sizes);
  for (Attr& a : wide.args) a = widened(a);
  for (auto& [name, a] : wide.kwargs) a = widened(a);
  std::string why;
  const std::shared_ptr<const Kernel> reference = reference_of(wide, why);
  if (!reference) return cat("the reference refuses ", wide.str(), ": ", why);
  return run_kernel(*reference, wide, wide_inputs, outputs);
}

std::string compare(const Tensor& got, const Tensor& want, double tolerance, double scale) {
  double squares = 0;
  int64_t finite = 0;
  const int64_t n = want.desc.numel();
  for (int64_t i = 0; i < n; ++i) {
    const double w = want.at(i);
    if (!std::isfinite(w)) continue;
    squares += w * w;
    ++finite;
  }
  if (finite) scale += std::sqrt(squares / static_cast<double>(finite));
  int64_t worst = -1;
  double worst_ratio = 1;
  for (int64_t i = 0; i < n; ++i) {
    // The reference's value as the kernel's dtype holds it: what overflows there is infinite in both.
    double w = want.at(i);
    if (std::fabs(w) > 3.5e38 || (got.desc.dtype == DType::f16 && std::fabs(w) > 65520)) {
      if (got.desc.dtype != DType::f64 && is_float(got.desc.dtype)) w = std::copysign(INFINITY, w);
    }
    const double g = got.at(i);
    if (g == w || (std::isnan(g) && std::isnan(w))) continue;
    const double allowed = tolerance * (std::fabs(w) + scale);
    const double ratio = std::isfinite(g) && std::isfinite(w) && allowed > 0 ? std::fabs(g - w) / allowed : INFINITY;
    if (ratio > worst_ratio) {
      worst = i;
      worst_ratio = ratio;
    }
  }
  if (worst < 0) return "";
  return cat("element ", worst, " of ", got.desc, ": got ", got.at(worst), ", want ", want.at(worst), " (", worst_ratio,
             " times the tolerance)");
}

namespace {

// A case with its inputs and what the reference makes of them.
struct Judged {
  const Case* c = nullptr;
  std::vector<Tensor> inputs, want;
  std::string fault;
};

Judged judge(const Case& c) {
  Judged j{&c, make_inputs(c), {}, ""};
  j.fault = run_reference(c.problem, j.inputs, j.want);
  return j;
}

std::string check(const Kernel& kernel, const Judged& j) {
  if (!j.fault.empty()) return j.fault;
  std::vector<Tensor> got;
  Problem problem = j.c->problem;
  if (kernel.device == "cuda") problem.gpu = gpu_traits();
  if (std::string s = run_kernel(kernel, problem, j.inputs, got); !s.empty()) return s;
  for (size_t o = 0; o < got.size(); ++o) {
    const double allowed = tolerance(got[o].desc.dtype, j.c->reduction);
    if (std::string s = compare(got[o], j.want[o], allowed, j.c->scale); !s.empty()) return cat("output ", o, ": ", s);
  }
  return "";
}

}  // namespace

std::string check(const Kernel& kernel, const Case& c) { return check(kernel, judge(c)); }

namespace {

bool judged(const Kernel& k, std::string_view device = "cpu") {
  return k.device == device && k.provider != "reference" && k.provider != "aten";
}

TEST(Conformance, EveryOperatorWithAKernelHasCases) {
  std::set<std::string> with;
  for (const auto& [op, maker] : makers()) with.insert(op);
  for (const auto& k : kernel_registry().all())
    if (judged(*k)) {
      EXPECT_TRUE(with.count(k->op)) << k->op << " (" << k->name << ") has no conformance cases";
    }
}

// KPT_TEST_OPS="kpt.attention,aten.cat": those operators alone, while a kernel is written.
bool asked_for(const std::string& op) {
  const char* const ops = std::getenv("KPT_TEST_OPS");
  return !ops || cat(",", ops, ",").find(cat(",", op, ",")) != std::string::npos;
}

// Every kernel of a device through every case it supports; a kernel that supports none is a fault. The references of
// one operator are computed at the same time, they take longest.
void run_all(const std::string& device) {
  std::map<std::string, int> ran;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    for (const auto& [op, maker] : makers()) {
      const auto kernels = kernel_registry().find(op, device);
      if (kernels.empty() || !asked_for(op)) continue;
      std::vector<Case> cases = maker(dtype);
      std::vector<Judged> judged_cases(cases.size());
      parallel(static_cast<int64_t>(cases.size()), usable_processors(), [&](int64_t i, int) {
        const auto at = static_cast<size_t>(i);
        judged_cases[at] = judge(cases[at]);
      });
      for (const Judged& j : judged_cases) {
        ASSERT_EQ(j.c->problem.op, op) << j.c->label;
        Problem problem = j.c->problem;
        if (device == "cuda") problem.gpu = gpu_traits();
        for (const auto& k : kernels) {
          if (!judged(*k, device) || !k->supports(problem)) continue;
          ++ran[op + " " + k->name];
          EXPECT_EQ(check(*k, j), "") << k->name << ", case " << j.c->label << ": " << problem.str();
        }
      }
    }
  }
  for (const auto& k : kernel_registry().all())
    if (judged(*k, device) && asked_for(k->op)) {
      EXPECT_GT(ran[k->op + " " + k->name], 0) << k->name << " supports no case of " << k->op;
    }
}

TEST(Conformance, EveryKernelAgreesWithTheReference) { run_all("cpu"); }

TEST(Conformance, EveryCudaKernelAgreesWithTheReference) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  run_all("cuda");
}

// Without a GPU: the programs of every case compile for each architecture, none spills or serialises its WGMMA.
TEST(Conformance, EveryCudaProgramCompiles) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  std::map<std::string, CudaCall> programs;
  std::set<std::string> planned;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const auto& [op, maker] : makers())
      for (Case& c : maker(dtype)) {
        c.problem.gpu = gpu_traits();
        for (const auto& k : kernel_registry().find(op, "cuda")) {
          if (!k->work || !k->supports(c.problem)) continue;
          planned.insert(op + " " + k->name);
          for (const CudaCall& call : k->work(c.problem).calls) {
            std::string key = call.program.text;
            for (const std::string& define : call.program.defines) key += "\n-D" + define;
            programs.emplace(std::move(key), call);
          }
        }
      }
  std::vector<const CudaCall*> calls;
  for (const auto& [key, call] : programs) calls.push_back(&call);
  constexpr int kArchs[] = {80, 90, 100};
  std::vector<std::string> faults(calls.size() * 3);
  parallel(static_cast<int64_t>(faults.size()), 2, [&](int64_t task, int) {
    const auto t = static_cast<size_t>(task);
    faults[t] = check_cuda_work({{*calls[t / 3]}, 0, ""}, kArchs[t % 3]);
  });
  for (size_t t = 0; t < faults.size(); ++t) {
    const std::string& text = calls[t / 3]->program.text;  // its generated part, where it has one
    EXPECT_EQ(faults[t], "") << text.substr(std::min(text.size(), text.rfind("inline void element")));
  }
  for (const auto& k : kernel_registry().all())
    if (k->work) {
      EXPECT_TRUE(planned.count(k->op + " " + k->name)) << k->name << " supports no case of " << k->op;
    }
  RecordProperty("programs", static_cast<int>(calls.size()));
}

TEST(Conformance, ComparisonSeesAWrongElementNanAndInfinity) {
  const Tensor want = Tensor::from<double>(DType::f64, {3}, {1, 2, 3});
  const double t = tolerance(DType::f32, 1);
  EXPECT_EQ(compare(Tensor::from<float>(DType::f32, {3}, {1, 2, 3}), want, t, 0), "");
  EXPECT_NE(compare(Tensor::from<float>(DType::f32, {3}, {1, 2.0001f, 3}), want, t, 0), "");
  EXPECT_NE(compare(Tensor::from<float>(DType::f32, {3}, {1, NAN, 3}), want, t, 0), "");
  EXPECT_NE(compare(Tensor::from<float>(DType::f32, {3}, {1, INFINITY, 3}), want, t, 0), "");
  EXPECT_NE(compare(Tensor::from<int64_t>(DType::i64, {3}, {1, 2, 4}), want, 0, 0), "");
}

}  // namespace
}  // namespace kpt::conformance

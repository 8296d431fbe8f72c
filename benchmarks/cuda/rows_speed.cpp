// SPDX-License-Identifier: Apache-2.0
// Times our own kernels that move more than they compute, on rows far larger than the L2 cache:
//
//   kpt_rows_speed [words...]          only cases whose line holds one of the words: "norm", "softmax"
//
// One JSON line a case: microseconds a run, GB/s (each operand once), percent of a copy by the driver measured just
// before and just after, the kernel that the product would choose and its configuration. Runs stand in a CUDA graph one
// behind the other on two sets of memory in turn; the median of 7.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "kpt/backends/backend.h"
#include "kpt/cuda/function.h"
#include "kpt/cuda/graph.h"
#include "kpt/ir/text.h"
#include "kpt/runtime/instance.h"

namespace kpt {
namespace {

struct Case {
  const char* label;
  std::string inputs, node, output;  // as the graph's text has them
};

std::string bf16(const std::string& sizes) { return cat("bf16[", sizes, "]"); }

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](const char* label, const std::vector<std::string>& inputs, const std::string& node,
                       const std::string& output) {
    std::string declared;
    for (size_t i = 0; i < inputs.size(); ++i) declared += cat("input %x", i, " : ", inputs[i], "\n");
    all.push_back({label, declared, node, output});
  };
  for (const auto& [rows, width] : {std::pair{131072, 1024}, {32768, 4096}, {16384, 8192}}) {
    const std::string x = bf16(cat(rows, ", ", width)), w = bf16(cat(width));
    add("layer_norm", {x, w, w}, cat("aten.layer_norm(%x0, %x1, %x2, normalized_shape=[", width, "], eps=1e-05)"), x);
    add("rms_norm", {x, w}, cat("aten.rms_norm(%x0, %x1, normalized_shape=[", width, "], eps=1e-05)"), x);
    add("residual add + layer_norm", {x, x, w, w}, "kpt.add_norm(%x0, %x1, %x2, %x3, kind=\"layer\", eps=1e-05)",
        cat(x, ", ", x));
    add("residual add + rms_norm", {x, x, w}, "kpt.add_norm(%x0, %x1, %x2, none, kind=\"rms\", eps=1e-05)",
        cat(x, ", ", x));
    add("softmax", {x}, "aten._softmax(%x0, dim=-1, half_to_float=false)", x);
    add("log_softmax", {x}, "aten._log_softmax(%x0, dim=-1, half_to_float=false)", x);
    add("generated pointwise: gelu(a) * b", {x, x},
        "kpt.pointwise([%x0, %x1], program=\"v0=gelu_erf(i0);v1=mul(v0,i1);out v1\")", x);
    add("generated rows: x / sum of |x|", {x},
        "kpt.row([%x0], program=\"v0=abs(i0);v1=row_sum(v0);v2=div(i0,v1);out v2\")", x);
    add("silu(gate) * up", {x, x}, "kpt.swiglu(%x0, %x1)", x);
    add("embedding", {bf16(cat("50000, ", width)), cat("i64[", rows, "]")}, "aten.embedding(%x0, %x1)", x);
  }
  add("log_softmax of logits", {bf16("4096, 50257")}, "aten._log_softmax(%x0, dim=-1, half_to_float=false)",
      bf16("4096, 50257"));
  add("log_softmax of logits", {bf16("2048, 128256")}, "aten._log_softmax(%x0, dim=-1, half_to_float=false)",
      bf16("2048, 128256"));
  add("rotary", {bf16("16, 32, 2048, 128"), bf16("1, 1, 2048, 128"), bf16("1, 1, 2048, 128")},
      "kpt.rotary(%x0, %x1, %x2)", bf16("16, 32, 2048, 128"));
  return all;
}

class Memory {
 public:
  // Normal numbers; indices below 50,000.
  Memory(const TensorDesc& desc, CUstream stream) {
    const size_t bytes = desc.bytes();
    cuda_check(cuda().cuMemAlloc(&at_, bytes + 256), "speed");
    static constexpr size_t kBlock = size_t{1} << 20;
    std::vector<char> block(kBlock, 1);
    std::mt19937 engine(1);
    std::normal_distribution<float> normal(0, 1);
    for (size_t i = 0; i < kBlock / size_of(desc.dtype); ++i) {
      const double value = is_float(desc.dtype) ? static_cast<double>(normal(engine)) : engine() % 50000;
      store_from_double(desc.dtype, block.data() + i * size_of(desc.dtype), value);
    }
    for (size_t i = 0; i < bytes; i += kBlock)
      cuda_check(cuda().cuMemcpyHtoDAsync(at_ + i, block.data(), std::min(kBlock, bytes - i), stream), "speed");
    cuda_check(cuda().cuStreamSynchronize(stream), "speed");
  }
  Memory(Memory&& other) noexcept : at_(std::exchange(other.at_, 0)) {}
  ~Memory() {
    if (at_) cuda().cuMemFree(at_);
  }
  void* data() const { return reinterpret_cast<void*>(at_); }

 private:
  CUdeviceptr at_ = 0;
};

class Clock {
 public:
  CUstream stream = nullptr;
  Clock() {
    cuda_check(cuda().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "speed");
    cuda_check(cuda().cuEventCreate(&start_, CU_EVENT_DEFAULT), "speed");
    cuda_check(cuda().cuEventCreate(&stop_, CU_EVENT_DEFAULT), "speed");
  }
  // Microseconds of work(turn), recorded `runs` times.
  double median_us(size_t runs, const std::function<void(size_t, CUstream)>& work) const {
    work(0, stream);
    CudaGraph graph(0, {}, {}, {std::vector<CudaGraphPlace>(runs), work});
    std::vector<double> times;
    for (int i = 0; i < 9; ++i) {
      cuda_check(cuda().cuEventRecord(start_, stream), "speed");
      graph.launch({}, {}, stream);
      cuda_check(cuda().cuEventRecord(stop_, stream), "speed");
      cuda_check(cuda().cuEventSynchronize(stop_), "speed");
      float ms = 0;
      cuda_check(cuda().cuEventElapsedTime(&ms, start_, stop_), "speed");
      if (i >= 2) times.push_back(1e3 * static_cast<double>(ms) / static_cast<double>(runs));
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

 private:
  CUevent start_ = nullptr, stop_ = nullptr;
};

constexpr size_t kRuns = 12;

const char* const kCopy = R"(
struct alignas(16) Word { unsigned w[4]; };
extern "C" __global__ void copy(Word* to, const Word* from) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  to[i] = from[i];
}
)";

// GB/s, read and written, of copies of half a gigabyte: the faster of the driver's and of our kernel of 16 bytes a
// thread. On an H200 the driver's moves 2.77 TB/s, PyTorch's copy_ 4.2.
double copy_speed(const Clock& clock) {
  const TensorDesc half = TensorDesc::contiguous(DType::u8, {int64_t{1} << 29});
  const Memory from(half, clock.stream), to(half, clock.stream);
  const double driver = clock.median_us(kRuns, [&](size_t, CUstream on) {
    cuda_check(cuda().cuMemcpyDtoDAsync(reinterpret_cast<CUdeviceptr>(to.data()),
                                        reinterpret_cast<CUdeviceptr>(from.data()), half.bytes(), on),
               "speed");
  });
  static const CudaFunction& kernel = cuda_function({"rows_speed/copy", kCopy, {}, "copy"}, 0);
  void* a = to.data();
  void* b = from.data();
  void* params[] = {&a, &b};
  const double own = clock.median_us(kRuns, [&](size_t, CUstream on) {
    CudaShape shape;
    shape.grid[0] = static_cast<uint32_t>(half.bytes() / 16 / 256);
    shape.block[0] = 256;
    cuda_launch(kernel, shape, params, on, "speed");
  });
  return 2e-3 * static_cast<double>(half.bytes()) / std::min(driver, own);
}

nlohmann::json time_one(const Case& c, const Clock& clock) {
  const bool two = c.output.find("], ") != std::string::npos;
  const std::string text = cat("kpt.graph 1\n", c.inputs, two ? "%y, %z = " : "%y = ", c.node, " : ", c.output,
                               "\nreturn %y", two ? ", %z" : "", "\n");
  const Plan plan = make_plan(parse(text), *backend_registry().find("cuda"), {});
  const auto instance = make_instance(plan, plan.steps, {}, Effort::timed);
  KPT_CHECK(instance->steps.size() == 1, "speed", "got ", instance->steps.size(), " steps, want one: ", text);
  const BoundStep& step = instance->steps[0];
  const Problem p = make_problem(*step.step->node, step.step->inputs, step.step->outputs, {}, plan.options);
  std::vector<std::vector<Memory>> inputs(2), outputs(2);
  for (size_t set = 0; set < 2; ++set) {
    for (const TensorDesc& d : p.inputs) inputs[set].emplace_back(d, clock.stream);
    for (const TensorDesc& d : p.outputs) outputs[set].emplace_back(d, clock.stream);
  }
  const Memory workspace(TensorDesc::contiguous(DType::u8, {static_cast<int64_t>(step.launch->workspace_bytes()) + 1}),
                         clock.stream);
  const auto work = [&](size_t turn, CUstream on) {
    std::vector<const void*> in;
    std::vector<void*> out;
    for (const Memory& m : inputs[turn % 2]) in.push_back(m.data());
    for (const Memory& m : outputs[turn % 2]) out.push_back(m.data());
    step.launch->run({in.data(), out.data(), workspace.data(), on});
  };
  double bytes = 0;
  for (const TensorDesc& d : p.outputs) bytes += static_cast<double>(d.bytes());
  // A table is read where the indices say: as much as the output.
  for (const TensorDesc& d : p.inputs) bytes += std::min<double>(d.bytes(), p.outputs[0].bytes());
  const double before = copy_speed(clock), us = clock.median_us(kRuns, work), after = copy_speed(clock);
  const double copy = std::max(before, after), speed = bytes / us * 1e-3;
  return {{"case", c.label},
          {"sizes", cat(p.outputs[0].sizes)},
          {"dtype", "bf16"},
          {"us", us},
          {"gbs", speed},
          {"copy_gbs", copy},
          {"percent", 100 * speed / copy},
          {"kernel", cat(step.kernel->provider, "/", step.kernel->name)},
          {"config", step.launch->config()}};
}

int time_all(const std::vector<std::string>& words) {
  if (const Verdict here = cuda_here(); !here) {
    std::fprintf(stderr, "kpt_rows_speed: %s\n", here.reason.c_str());
    return 1;
  }
  const CudaGuard guard(0);
  const Clock clock;
  const CudaDevice& gpu = cuda_devices().front();
  for (const Case& c : cases()) {
    const std::string_view label = c.label;
    if (!words.empty() && std::none_of(words.begin(), words.end(),
                                       [&](const std::string& w) { return label.find(w) != std::string_view::npos; }))
      continue;
    nlohmann::json line;
    try {
      line = time_one(c, clock);
    } catch (const Error& e) {
      if (e.kind() == ErrorKind::fault) throw;
      line = {{"case", c.label}, {"error", e.what()}};
    }
    line["gpu"] = gpu.name;
    line["driver"] = gpu.driver_version;
    line["clock_khz"] = gpu.clock_khz;
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace kpt

int main(int argc, char** argv) {
  try {
    return kpt::time_all({argv + 1, argv + argc});
  } catch (const kpt::Error& e) {
    std::fprintf(stderr, "kpt_rows_speed: %s\n", e.what());
    return 1;
  }
}

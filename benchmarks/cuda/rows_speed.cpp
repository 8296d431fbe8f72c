// SPDX-License-Identifier: Apache-2.0
// Times our own kernels that move more than they compute, on rows far larger than the L2 cache:
//
//   kpt_rows_speed [--commit HASH] [words...]     only cases whose label holds one of the words: "norm", "softmax"
//
// One JSON line a case: microseconds a run, GB/s (each operand once; of a table what is picked), percent of the faster
// of two copies measured just before and just after, the driver's and one by a kernel of ours, the kernel that the
// product would choose and its configuration. HASH stands in each line. Runs stand in a CUDA graph one behind the other
// on two sets of memory in turn; the median of 7.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "benchmarks/cuda/speed.h"
#include "kpt/backends/backend.h"
#include "kpt/cuda/function.h"
#include "kpt/ir/text.h"
#include "kpt/runtime/instance.h"

namespace kpt {
namespace {

using speed::Clock;
using speed::Memory;

constexpr int64_t kTableBytes = int64_t{1} << 30;  // most picks miss the L2 cache, as rows of other operands do

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
    add("embedding", {bf16(cat(kTableBytes / (2 * width), ", ", width)), cat("i64[", rows, "]")},
        "aten.embedding(%x0, %x1)", x);
  }
  add("log_softmax of logits", {bf16("4096, 50257")}, "aten._log_softmax(%x0, dim=-1, half_to_float=false)",
      bf16("4096, 50257"));
  add("log_softmax of logits", {bf16("2048, 128256")}, "aten._log_softmax(%x0, dim=-1, half_to_float=false)",
      bf16("2048, 128256"));
  add("rotary", {bf16("16, 32, 2048, 128"), bf16("1, 1, 2048, 128"), bf16("1, 1, 2048, 128")},
      "kpt.rotary(%x0, %x1, %x2)", bf16("16, 32, 2048, 128"));
  return all;
}

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
    // Integers pick rows of the table before them.
    for (const TensorDesc& d : p.inputs) inputs[set].emplace_back(d, clock.stream, 1.0f, p.inputs[0].sizes[0]);
    for (const TensorDesc& d : p.outputs) outputs[set].emplace_back(d, clock.stream);
  }
  const Memory workspace = speed::workspace(step.launch->workspace_bytes(), clock.stream);
  const auto work = [&](size_t turn, CUstream on) {
    std::vector<const void*> in;
    std::vector<void*> out;
    for (const Memory& m : inputs[turn % 2]) in.push_back(m.data());
    for (const Memory& m : outputs[turn % 2]) out.push_back(m.data());
    step.launch->run({in.data(), out.data(), workspace.data(), on});
  };
  double bytes = 0;
  for (const TensorDesc& d : p.outputs) bytes += static_cast<double>(d.bytes());
  for (const TensorDesc& d : p.inputs)  // of a table as much as the output
    bytes += static_cast<double>(std::min(d.bytes(), p.outputs[0].bytes()));
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

void time_all(const std::string& commit, const std::vector<std::string>& words) {
  const Clock clock;
  const CudaDevice& gpu = cuda_devices().front();
  for (const Case& c : cases()) {
    if (!speed::wanted(c.label, words)) continue;
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
    if (!commit.empty()) line["commit"] = commit;
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace kpt

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  std::string commit;
  if (words.size() >= 2 && words[0] == "--commit") {
    commit = words[1];
    words.erase(words.begin(), words.begin() + 2);
  }
  return kpt::speed::main_of("kpt_rows_speed", [&] { kpt::time_all(commit, words); });
}

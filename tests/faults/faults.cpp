// SPDX-License-Identifier: Apache-2.0
// Faults planted on purpose: a test library, never shipped. `kpt_plant("name")` adds a wrong fusion or kernel in front
// of the right ones, `kpt_unplant` takes it away again. The judge has to find each of them
// (python/tests/test_faults.py).
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>

#include "kpt/fusion/fusion.h"
#include "kpt/kernels/kernel.h"

namespace kpt {
namespace {

constexpr int kFirst = 1000;  // before every real kernel

// The kernel that would have run without the fault.
std::shared_ptr<const Kernel> real_kernel(const Problem& problem) {
  for (auto& k : kernel_registry().find(problem.op, "cpu"))
    if (k->priority < kFirst && k->provider == "kpt" && k->supports(problem).ok) return k;
  return nullptr;
}

using Spoil = std::function<void(const Launch& inner, const Problem& problem, const RunArgs& args)>;

class Spoiled final : public Launch {
 public:
  Spoiled(const Problem& problem, Spoil spoil)
      : problem_(problem), inner_(real_kernel(problem)->make(problem)), spoil_(std::move(spoil)) {}
  size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
  void run(const RunArgs& args) const override { spoil_(*inner_, problem_, args); }
  std::string config() const override { return "planted fault"; }

 private:
  Problem problem_;
  std::unique_ptr<Launch> inner_;
  Spoil spoil_;
};

Kernel spoiled(const std::string& op, const std::string& name, Spoil spoil) {
  Kernel k;
  k.op = op;
  k.provider = "kpt";
  k.device = "cpu";
  k.name = name;
  k.priority = kFirst;
  k.supports = [](const Problem& p) {
    if (!real_kernel(p)) return no("no real kernel to spoil");
    return p.outputs[0].dtype == DType::f32 ? yes() : no("spoils f32 only");
  };
  k.make = [spoil](const Problem& p) -> std::unique_ptr<Launch> { return std::make_unique<Spoiled>(p, spoil); };
  return k;
}

float* first_output(const RunArgs& args) { return static_cast<float*>(args.outputs[0]); }

void odd_sizes(const Launch& inner, const Problem& p, const RunArgs& args) {
  inner.run(args);
  const int64_t rows = p.outputs[0].numel() / (p.outputs[0].sizes.rank() ? p.outputs[0].sizes.back() : 1);
  if (rows % 2 == 1)
    for (int64_t i = 0; i < p.outputs[0].sizes.back(); ++i) first_output(args)[i] *= 1.5f;
}

void slow(const Launch& inner, const Problem&, const RunArgs& args) {
  inner.run(args);
  inner.run(args);
}

// What `spin` adds to each call of the kernel. Set by kpt_set_spin() before planting.
std::atomic<int64_t> spin_ns{0};

void spin(const Launch& inner, const Problem&, const RunArgs& args) {
  inner.run(args);
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(spin_ns.load());
  while (std::chrono::steady_clock::now() < end) {
  }
}

void nan_on_one_input(const Launch& inner, const Problem& p, const RunArgs& args) {
  inner.run(args);
  const auto* x = static_cast<const float*>(args.inputs[0]);
  if (p.inputs[0].is_contiguous())
    for (int64_t i = 0; i < p.inputs[0].numel(); ++i)
      if (std::abs(x[i]) > 1.5f) first_output(args)[0] = std::numeric_limits<float>::quiet_NaN();
}

void throws(const Launch&, const Problem&, const RunArgs&) { throw std::runtime_error("planted: the kernel throws"); }

// How many more calls of `refuses` fail, and how. Set by kpt_set_refusals().
std::atomic<int> refusals{0};
std::atomic<ErrorKind> refusal{ErrorKind::resource};

void refuses(const Launch& inner, const Problem&, const RunArgs& args) {
  if (refusals.fetch_sub(1) > 0) throw_error(refusal.load(), "planted", "refused");
  inner.run(args);
}

void garbage(const Launch&, const Problem& p, const RunArgs& args) {
  std::memset(args.outputs[0], 0x5a, p.outputs[0].bytes());
}

Fusion drop_bias() {
  Fusion f;
  f.name = "drop_bias";
  f.order = -kFirst;
  f.summary = "planted: forgets the bias";
  f.pattern =
      "%h = aten.linear(%x, %w, %b)\n%y = aten.gelu(%h)\n=>\n%y = kpt.linear(%x, %w, none, none, act=\"gelu\")\n"
      "---\n%h = aten.linear(%x, %w, %b)\n%y = aten.relu(%h)\n=>\n%y = kpt.linear(%x, %w, none, none, act=\"relu\")\n";
  f.when = [](const Graph&, Match&) { return yes(); };
  return f;
}

Fusion greedy_pattern() {
  Fusion f;
  f.name = "greedy_pattern";
  f.order = -kFirst;
  f.summary = "planted: takes every gelu for the tanh form";
  f.pattern =
      "%h = aten.linear(%x, %w, %b)\n%y = aten.gelu(%h)\n=>\n%y = kpt.linear(%x, %w, %b, none, act=\"gelu_tanh\")\n";
  f.when = [](const Graph&, Match&) { return yes(); };
  return f;
}

struct Fault {
  std::function<void()> plant, unplant;
};

Fault kernel_fault(const std::string& name, Spoil spoil) {
  Fault f;
  f.plant = [=] {
    for (const char* op : {"aten.linear", "kpt.linear"}) kernel_registry().add(spoiled(op, name, spoil));
  };
  f.unplant = [=] {
    for (const char* op : {"aten.linear", "kpt.linear"}) kernel_registry().remove(op, name);
  };
  return f;
}

Fault fusion_fault(Fusion (*make)()) {
  return {[=] { fusion_registry().add(make()); }, [=] { fusion_registry().remove(make().name); }};
}

const std::map<std::string, Fault>& faults() {
  static const std::map<std::string, Fault> all = {
      {"drop_bias", fusion_fault(drop_bias)},
      {"greedy_pattern", fusion_fault(greedy_pattern)},
      {"odd_sizes", kernel_fault("odd_sizes", odd_sizes)},
      {"slow_kernel", kernel_fault("slow_kernel", slow)},
      {"spin", kernel_fault("spin", spin)},
      {"nan_on_one_input", kernel_fault("nan_on_one_input", nan_on_one_input)},
      {"throwing_kernel", kernel_fault("throwing_kernel", throws)},
      {"refusing_kernel", kernel_fault("refusing_kernel", refuses)},
      {"garbage_kernel", kernel_fault("garbage_kernel", garbage)},
  };
  return all;
}

}  // namespace
}  // namespace kpt

extern "C" __attribute__((visibility("default"))) void kpt_set_spin(int64_t nanoseconds) { kpt::spin_ns = nanoseconds; }
// The next `count` calls of `refusing_kernel` throw an Error of that kind (a number of ErrorKind).
extern "C" __attribute__((visibility("default"))) void kpt_set_refusals(int count, int kind) {
  kpt::refusal = static_cast<kpt::ErrorKind>(kind);
  kpt::refusals = count;
}
// 0: done; 1: unknown name.
extern "C" __attribute__((visibility("default"))) int kpt_plant(const char* name) {
  auto it = kpt::faults().find(name);
  if (it == kpt::faults().end()) return 1;
  it->second.plant();
  return 0;
}
extern "C" __attribute__((visibility("default"))) int kpt_unplant(const char* name) {
  auto it = kpt::faults().find(name);
  if (it == kpt::faults().end()) return 1;
  it->second.unplant();
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// What Python sees: torch.classes.kernel_pytorch.Model and torch.ops.kernel_pytorch.*. Errors of the core become
// RuntimeErrors "KPT:<kind>: <message>", which _native.py turns into the package's own.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <nlohmann/json.hpp>

#include "aten.h"
#include "gpu.h"
#include "guarded.h"
#include "kpt/base/settings.h"
#include "kpt/cuda/driver.h"
#include "kpt/cuda/memory.h"
#include "kpt/hardware/cpu.h"
#include "kpt/ir/text.h"
#include "kpt/validation/validation.h"
#include "kpt/version.h"
#include "log.h"
#include "model.h"
#include "tensors.h"

namespace kpt::bridge {
namespace {

using Json = nlohmann::json;

std::vector<double> distance_op(const at::Tensor& x, const at::Tensor& reference) {
  return guarded([&] {
    const Distance d =
        x.is_cpu() ? distance(borrow(x, "x"), borrow(reference, "reference")) : device_distance(x, reference);
    return std::vector<double>{d.rel_rmse, d.cosine, d.max_abs, static_cast<double>(d.nonfinite),
                               static_cast<double>(d.elements)};
  });
}

std::vector<int64_t> checksum_op(const at::Tensor& x) {
  return guarded([&] {
    const Checksum sum = x.is_cpu() ? checksum(borrow(x.contiguous(), "x"), at::get_num_threads()) : device_checksum(x);
    return std::vector<int64_t>{static_cast<int64_t>(sum.first), static_cast<int64_t>(sum.second)};
  });
}

Distance to_distance(const std::vector<double>& v) {
  KPT_CHECK(v.size() == 5, "bridge.judge", "got ", v.size(), " numbers, want the five of distance()");
  return {v[0], v[1], v[2], static_cast<int64_t>(v[3]), static_cast<int64_t>(v[4])};
}

std::string judge_op(const std::string& level, const std::string& dtype, const std::vector<double>& fresh,
                     const std::vector<double>& original, const std::vector<double>& original_bf16) {
  return guarded([&] {
    static const std::map<std::string, std::string> torch_names = {
        {"float64", "f64"}, {"float32", "f32"}, {"float16", "f16"}, {"bfloat16", "bf16"}, {"int64", "i64"},
        {"int32", "i32"},   {"int16", "i16"},   {"int8", "i8"},     {"uint8", "u8"},      {"bool", "bool"}};
    const auto it = torch_names.find(dtype);
    const auto parsed = parse_dtype(it == torch_names.end() ? dtype : it->second);
    KPT_CHECK(parsed.has_value(), "bridge.judge", "got dtype ", dtype, ", want f32 or float32 and the like");
    const Distance lower = original_bf16.empty() ? Distance{} : to_distance(original_bf16);
    const Judgement j =
        judge(level, *parsed, to_distance(fresh), to_distance(original), original_bf16.empty() ? nullptr : &lower);
    return Json{{"ok", j.ok}, {"bound", j.bound}, {"reason", j.reason}}.dump();
  });
}

std::vector<double> bootstrap_op(const std::vector<double>& log_ratios) {
  return guarded([&] {
    const Interval i = bootstrap(log_ratios);
    return std::vector<double>{i.median, i.low, i.high};
  });
}

std::string verify_op(const std::string& text) {
  return guarded([&] { return verify(parse(text)).reason; });
}

std::string hardware_op() {
  return guarded([] {
    const CpuInfo& c = cpu_info();
    return Json{{"vendor", c.vendor},
                {"model", c.model},
                {"processors", c.processors},
                {"isa", name(cpu_isa())},
                {"avx2", c.avx2},
                {"avx512", c.avx512},
                {"avx512_bf16", c.avx512_bf16},
                {"avx512_vnni", c.avx512_vnni},
                {"amx_bf16", c.amx_bf16},
                {"amx_int8", c.amx_int8},
                {"l1d_bytes", c.l1d_bytes},
                {"l2_bytes", c.l2_bytes},
                {"l3_bytes", c.l3_bytes},
                {"numa_nodes", c.numa_nodes},
                {"memory_bytes", c.memory_bytes}}
        .dump();
  });
}

// {free, total} bytes of a GPU, as the device says: other processes count.
std::vector<int64_t> device_memory_op(int64_t index) {
  return guarded([&] {
    const CudaMemory now = cuda_memory(static_cast<int>(index));
    return std::vector<int64_t>{now.free_bytes, now.total_bytes};
  });
}

// Rows offsets[e - 1] to offsets[e] of x [S, K] times w[e] of w [E, K, N]: [S, N], rows past the last offset zero. For
// the f64 reference: aten._grouped_mm, whose arguments these are, takes no f64 (torch 2.11). Other forms of it than
// this one are refused. The host waits for the offsets.
at::Tensor grouped_mm_op(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& offsets,
                         const std::optional<at::Tensor>& bias, std::optional<at::ScalarType> dtype) {
  TORCH_CHECK(offsets && !bias && dtype.value_or(x.scalar_type()) == x.scalar_type(),
              "[bridge] want products of experts with offsets, without a bias, in the dtype of x");
  TORCH_CHECK(
      x.dim() == 2 && w.dim() == 3 && offsets->dim() == 1 && w.size(0) == offsets->size(0) && w.size(1) == x.size(1),
      "[bridge] got x ", x.sizes(), ", w ", w.sizes(), ", offsets ", offsets->sizes(), ", want [S, K], [E, K, N], [E]");
  at::Tensor out = at::zeros({x.size(0), w.size(2)}, x.options());
  const at::Tensor ends = offsets->to(at::kCPU, at::kLong).contiguous();
  int64_t begin = 0;
  for (int64_t e = 0; e < w.size(0); ++e) {
    const int64_t end = ends.const_data_ptr<int64_t>()[e], rows = end - begin;
    TORCH_CHECK(rows >= 0 && end <= x.size(0), "[bridge] got offset ", end, " after ", begin,
                ", want them in order, at most ", x.size(0));
    at::Tensor part = out.narrow(0, begin, rows);
    if (rows) at::mm_out(part, x.narrow(0, begin, rows), w[e]);
    begin = end;
  }
  return out;
}

using ModelPtr = c10::intrusive_ptr<TorchModel>;

void define_model(torch::Library& library) {
  library.class_<TorchModel>("Model")
      .def(torch::init(
          [](std::string text, std::vector<std::string> fqns, std::vector<at::Tensor> weights, std::string options) {
            return guarded([&] {
              return c10::make_intrusive<TorchModel>(std::move(text), std::move(fqns), std::move(weights),
                                                     std::move(options));
            });
          }))
      .def("run", [](const ModelPtr& m,
                     std::vector<at::Tensor> inputs) { return guarded([&] { return m->run(std::move(inputs)); }); })
      .def("probe",
           [](const ModelPtr& m, std::vector<at::Tensor> inputs, std::vector<std::string> keep) {
             return guarded([&] { return m->probe(std::move(inputs), std::move(keep)); });
           })
      .def("profile", [](const ModelPtr& m, std::vector<at::Tensor> inputs,
                         int64_t rounds) { return guarded([&] { return m->profile(std::move(inputs), rounds); }); })
      .def("set_weight", [](const ModelPtr& m, int64_t index,
                            at::Tensor tensor) { guarded([&] { m->set_weight(index, std::move(tensor)); }); })
      .def("refresh_weights", [](const ModelPtr& m) { guarded([&] { m->refresh_weights(); }); })
      .def("make_ready", [](const ModelPtr& m,
                            std::vector<at::Tensor> inputs) { guarded([&] { m->make_ready(std::move(inputs)); }); })
      .def("call_bytes",
           [](const ModelPtr& m, std::vector<at::Tensor> inputs) {
             return guarded([&] { return m->call_bytes(std::move(inputs)); });
           })
      .def("joined_weights", [](const ModelPtr& m) { return guarded([&] { return m->joined_weights(); }); })
      .def("take_weights", [](const ModelPtr& m) { guarded([&] { m->take_weights(); }); })
      .def("address", [](const ModelPtr& m) { return reinterpret_cast<int64_t>(m.get()); })
      .def("trim", [](const ModelPtr& m) { return guarded([&] { return m->trim(); }); })
      .def("report", [](const ModelPtr& m) { return guarded([&] { return m->model().report(); }); })
      .def("text", [](const ModelPtr& m) { return guarded([&] { return m->model().text(); }); })
      .def("plan_text", [](const ModelPtr& m) { return guarded([&] { return m->model().plan_text(); }); })
      .def("explain",
           [](const ModelPtr& m, std::string value) { return guarded([&] { return m->model().explain(value); }); })
      .def("counters", [](const ModelPtr& m) { return guarded([&] { return Json(m->model().counters()).dump(); }); });
}

struct RegisterAten {
  RegisterAten() {
    kernel_registry().add(aten_kernel("cpu"));
    kernel_registry().add(aten_kernel("cuda"));
    share_allocator();
  }
};
const RegisterAten register_aten;  // at load: every model compiled from here on may fall back to torch

}  // namespace

TORCH_LIBRARY(kernel_pytorch, m) {
  define_model(m);
  m.def("distance(Tensor x, Tensor reference) -> float[]", distance_op);
  m.def("checksum(Tensor x) -> int[]", checksum_op);
  m.def(
      "grouped_mm(Tensor self, Tensor mat2, Tensor? offs=None, Tensor? bias=None, *, ScalarType? out_dtype=None)"
      " -> Tensor",
      grouped_mm_op);
  m.def("judge(str level, str dtype, float[] fresh, float[] original, float[] original_bf16) -> str", judge_op);
  m.def("bootstrap(float[] log_ratios) -> float[]", bootstrap_op);
  m.def("widen(str text) -> str",
        [](const std::string& text) { return guarded([&] { return print(widen_to_f64(parse(text))); }); });
  m.def("canonical(str text) -> str",
        [](const std::string& text) { return guarded([&] { return print(parse(text)); }); });
  m.def("verify(str text) -> str", verify_op);
  m.def("settings() -> str", [] { return guarded([] { return settings_json(); }); });
  m.def("set_setting(str name, str text) -> ()",
        [](const std::string& key, const std::string& text) { guarded([&] { set_setting(key, text); }); });
  m.def("hardware() -> str", hardware_op);
  m.def("gpus() -> str", [] { return guarded([] { return gpus_json(); }); });
  m.def("device_memory(int index) -> int[]", device_memory_op);
  m.def("device_fault() -> str", [] { return cuda_fault(); });
  m.def("trim_idle() -> int", [] { return guarded([] { return trim_idle_models(); }); });
  m.def("keep_log() -> ()", keep_log);
  m.def("take_log() -> str", [] { return guarded(take_log); });
  m.def("version() -> str", [] { return std::string(KPT_VERSION); });
  m.def("built_for() -> str", [] { return std::string(KPT_TORCH_VERSION); });
}

}  // namespace kpt::bridge

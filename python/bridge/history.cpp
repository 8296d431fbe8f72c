// SPDX-License-Identifier: Apache-2.0
// torch.classes.kernel_pytorch.History: room tracking as it speaks JSON (kpt/tracking/history_json.h has the fields).
// Errors become RuntimeErrors "KPT:<kind>: <message>", as everywhere in the bridge.
#include <torch/custom_class.h>
#include <torch/library.h>

#include "guarded.h"
#include "kpt/tracking/history_json.h"

namespace kpt::bridge {
namespace {

struct TorchHistory : torch::CustomClassHolder {
  TorchHistory(const std::string& path, const std::string& mode) : json(path, mode) {}
  HistoryJson json;
};
using HistoryPtr = c10::intrusive_ptr<TorchHistory>;

TORCH_LIBRARY_FRAGMENT(kernel_pytorch, m) {
  m.class_<TorchHistory>("History")
      .def(torch::init([](std::string path, std::string mode) {
        return guarded([&] { return c10::make_intrusive<TorchHistory>(path, mode); });
      }))
      .def("record",
           [](const HistoryPtr& h, std::string json) { return guarded([&] { return h->json.record(json); }); })
      .def("list", [](const HistoryPtr& h, std::string json) { return guarded([&] { return h->json.list(json); }); })
      .def("baseline",
           [](const HistoryPtr& h, std::string json) { return guarded([&] { return h->json.baseline(json); }); })
      .def("compare",
           [](const HistoryPtr& h, std::string json) { return guarded([&] { return h->json.compare(json); }); })
      .def("export_jsonl",
           [](const HistoryPtr& h, std::string json) { return guarded([&] { return h->json.export_jsonl(json); }); })
      .def("import_jsonl",
           [](const HistoryPtr& h, std::string json) { return guarded([&] { return h->json.import_jsonl(json); }); })
      .def("check", [](const HistoryPtr& h) { return guarded([&] { return h->json.check(); }); })
      .def_static("key", [](std::string json) { return guarded([&] { return HistoryJson::key(json); }); })
      .def_static("machine", [] { return guarded([] { return HistoryJson::machine(); }); })
      .def_static("verdict_paired",
                  [](std::string json) { return guarded([&] { return HistoryJson::verdict_paired(json); }); })
      .def_static("verdict_historical",
                  [](std::string json) { return guarded([&] { return HistoryJson::verdict_historical(json); }); })
      .def_static("verdict_exact",
                  [](std::string json) { return guarded([&] { return HistoryJson::verdict_exact(json); }); })
      .def_static("calibrate", [](std::string json) { return guarded([&] { return HistoryJson::calibrate(json); }); })
      .def_static("discoveries",
                  [](std::string json) { return guarded([&] { return HistoryJson::discoveries(json); }); });
}

}  // namespace
}  // namespace kpt::bridge

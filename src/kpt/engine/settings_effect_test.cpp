// SPDX-License-Identifier: Apache-2.0
// Each setting that the engine reads, shown by an outcome that it changes.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "kpt/base/settings.h"
#include "kpt/engine/engine.h"
#include "kpt/hardware/cpu.h"
#include "kpt/ir/text.h"
#include "kpt/kernels/kernel.h"

namespace kpt {
namespace {

class Nothing final : public Launch {
 public:
  void run(const RunArgs&) const override {}
};

// A kernel that is there for one test, and the threads it was last offered.
class Probe {
 public:
  explicit Probe(const char* op, const char* provider) : op_(op) {
    kernel_registry().add({op, provider, "cpu", "settings_probe", 0,
                           [this](const Problem& p) {
                             threads = p.threads;
                             return yes();
                           },
                           [](const Problem&) -> std::unique_ptr<Launch> { return std::make_unique<Nothing>(); }});
  }
  ~Probe() { kernel_registry().remove(op_, "settings_probe"); }
  int threads = 0;

 private:
  const char* op_;
};

class SettingsEffect : public testing::Test {
 protected:
  void TearDown() override { reload_settings(); }
};

std::shared_ptr<Model> compile(const char* text, const CompileOptions& options = {}) {
  return Model::compile(parse(text), make_weights({}), options);
}

const char* const kProbe = "kpt.graph 1\ninput %x : f32[4]\n%y = kpt.settings_probe(%x) : f32[4]\nreturn %y\n";
const char* const kTwice =
    "kpt.graph 1\ninput %x : f32[4]\n%a = aten.exp(%x) : f32[4]\n%b = aten.exp(%x) : f32[4]\n"
    "%y = aten.add.Tensor(%a, %b) : f32[4]\nreturn %y\n";

TEST_F(SettingsEffect, NumThreadsIsWhatKernelsAreOffered) {
  Probe probe("kpt.settings_probe", "kpt");
  compile(kProbe);
  EXPECT_EQ(probe.threads, cpu_info().processors);
  set_setting("num_threads", "7");
  compile(kProbe);
  EXPECT_EQ(probe.threads, 7);
  CompileOptions three;
  three.threads = 3;
  compile(kProbe, three);
  EXPECT_EQ(probe.threads, 3);  // the argument wins over the setting
}

TEST_F(SettingsEffect, AllowFallbackRefusesWhatOnlyPyTorchCanRun) {
  Probe probe("kpt.settings_probe", "aten");
  EXPECT_NE(compile(kProbe), nullptr);
  set_setting("allow_fallback", "0");
  try {
    compile(kProbe);
    FAIL() << "compiled";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("kpt.settings_probe"), std::string::npos) << e.what();
  }
}

TEST_F(SettingsEffect, DisableSwitchesPassesOff) {
  auto count = [](const std::string& text) {
    size_t n = 0;
    for (size_t at = 0; (at = text.find("aten.exp", at)) != std::string::npos; ++at) ++n;
    return n;
  };
  CompileOptions options;
  options.disabled = {"group_pointwise"};  // keeps the nodes by name
  EXPECT_EQ(count(compile(kTwice, options)->text()), 1u);
  set_setting("disable", "cse, dce");
  EXPECT_EQ(count(compile(kTwice, options)->text()), 2u);
}

TEST_F(SettingsEffect, DumpDirGetsTheTextOfEachStageThatChangedIt) {
  namespace fs = std::filesystem;
  std::string folder = (fs::temp_directory_path() / "kpt_dump_XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  set_setting("dump_dir", folder);
  auto model = compile(kTwice);
  std::set<fs::path> files;
  for (auto& entry : fs::directory_iterator(folder)) files.insert(entry.path());
  ASSERT_FALSE(files.empty());
  std::ifstream last(*files.rbegin());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(last), {}), model->text());
  fs::remove_all(folder);
}

}  // namespace
}  // namespace kpt

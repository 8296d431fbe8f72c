// SPDX-License-Identifier: Apache-2.0
#include <iomanip>
#include <iostream>
#include <memory>

#include "kpt/base/settings.h"
#include "kpt/commands/commands.h"

namespace kpt {
namespace {

void print_table() {
  for (const SettingState& state : setting_states()) {
    std::cout << std::left << std::setw(20) << state.info->env << " " << std::setw(14)
              << (state.value.empty() ? "(empty)" : state.value) << " " << std::setw(12) << state.source << " "
              << state.info->doc << "\n";
    if (!state.error.empty()) std::cout << "  error: " << state.error << "\n";
  }
  for (const std::string& name : unknown_settings())
    std::cout << "unknown: " << name << " is set, no setting has this name\n";
}

// A wrong value or an unknown name is a failure: scripts may check their environment with `kpt env`.
void check() {
  for (const SettingState& state : setting_states()) KPT_CHECK(state.error.empty(), "kpt.env", state.error);
  auto unknown = unknown_settings();
  KPT_CHECK(unknown.empty(), "kpt.env", "got ", unknown[0], " in the environment, want a name listed by `kpt env`");
}

}  // namespace

void add_env(CLI::App& app) {
  auto* verb = app.add_subcommand("env", "Settings: value, source and meaning of every KPT_* name");
  auto json = std::make_shared<bool>(false), markdown = std::make_shared<bool>(false);
  auto* flag = verb->add_flag("--json", *json, "Print JSON");
  verb->add_flag("--markdown", *markdown, "Print the page docs/settings.md")->excludes(flag);
  verb->callback([json, markdown] {
    if (*markdown) {
      std::cout << settings_markdown();
      return;
    }
    if (*json) {
      std::cout << settings_json();
    } else {
      print_table();
    }
    check();
  });
}

}  // namespace kpt

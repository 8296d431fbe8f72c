// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>

#include "kpt/base/error.h"
#include "kpt/commands/commands.h"
#include "kpt/version.h"

// Exit status: 0 done; 1 the input is at fault (kpt::Error, message on stderr); 2 the command line is.
int main(int argc, char** argv) {
  CLI::App app("KernelPyTorch: looks at machines, settings and graphs; starts new kernels, passes, fusions, backends.");
  app.set_version_flag("--version", kpt::version());
  app.require_subcommand(1);
  kpt::add_env(app);
  kpt::add_hardware(app);
  kpt::add_graph(app);
  kpt::add_new(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const kpt::Error& e) {
    std::cerr << "kpt: " << e.what() << "\n";
    return 1;
  }
  return 0;
}

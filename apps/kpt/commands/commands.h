// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <CLI/CLI.hpp>

namespace kpt {

// Each adds one verb, which runs while the command line is parsed. Throw kpt::Error.
void add_env(CLI::App& app);       // settings: values, sources, faults; JSON; the docs page
void add_hardware(CLI::App& app);  // what this machine is
void add_graph(CLI::App& app);     // parse, verify, rewrite and print a graph text
void add_new(CLI::App& app);       // a new leaf folder from a template

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
// Any bytes: parse either throws Error{bad_input} or gives a graph that verify can judge and that prints to a fixed
// point.
#include <cstdio>
#include <cstdlib>

#include "kpt/ir/text.h"

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string printed;
  try {
    kpt::Graph graph = kpt::parse(text);
    (void)kpt::verify(graph);
    printed = kpt::print(graph);
    if (kpt::print(graph.clone()) != printed) std::abort();
    kpt::erase_dead(graph);
    graph.drop_unused_weights();
    (void)kpt::print(graph);
  } catch (const kpt::Error& e) {
    if (e.kind() != kpt::ErrorKind::bad_input) std::abort();
    return 0;
  }
  // What we printed must parse: an Error from here ends the run.
  const std::string again = kpt::print(kpt::parse(printed));
  if (again != printed) {
    std::fprintf(stderr, "%s\nbecame\n%s\n", printed.c_str(), again.c_str());
    std::abort();
  }
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "kpt/commands/commands.h"
#include "kpt/fusion/fusion.h"
#include "kpt/ir/text.h"
#include "kpt/passes/pass.h"

namespace kpt {
namespace {

struct Options {
  std::string file;
  bool passes = false, fuse = false, rewrites = false, check = false;
  std::string level = "conservative", device = "cpu";
  std::vector<std::string> disable, skip;
};

std::string read(const std::string& file) {
  if (file == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream in(file, std::ios::binary);
  KPT_CHECK(in, "kpt.graph", "got file \"", file,
            "\", which cannot be read, want a graph text, or - for standard input");
  return {std::istreambuf_iterator<char>(in), {}};
}

void run(const Options& o) {
  Graph graph = parse(read(o.file));
  Verdict good = verify(graph);
  KPT_CHECK(good.ok, "kpt.graph", good.reason);
  PassContext context;
  context.level = o.level;
  context.device = o.device;
  context.disabled = {o.disable.begin(), o.disable.end()};
  context.skip = {o.skip.begin(), o.skip.end()};
  if (o.passes) run_passes(graph, context, pass_registry().ordered());
  if (o.fuse) {
    run_fusions(graph, context, fusion_registry());
    verify_or_throw(graph, "fusion");
  }
  if (o.rewrites) {
    for (const Rewrite& r : context.rewrites)
      std::cerr << (r.applied ? "applied   " : "declined  ") << r.key << "  " << r.what << "  " << r.why << "\n";
  }
  if (!o.check) std::cout << print(graph);
}

}  // namespace

void add_graph(CLI::App& app) {
  auto* verb = app.add_subcommand("graph", "Parse, verify, rewrite and print a graph text");
  auto o = std::make_shared<Options>();
  verb->add_option("file", o->file, "Graph text; - reads standard input")->required();
  verb->add_flag("--passes", o->passes, "Run the passes");
  verb->add_flag("--fuse", o->fuse, "Run the fusions (after the passes)");
  verb->add_flag("--rewrites", o->rewrites, "List what was done and declined, with reasons, on standard error");
  verb->add_flag("--check", o->check, "Print no graph: only parse and verify");
  verb->add_option("--level", o->level, "conservative, balanced or aggressive")
      ->check(CLI::IsMember({"conservative", "balanced", "aggressive"}));
  verb->add_option("--device", o->device, "What the passes write for: cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  verb->add_option("--disable", o->disable, "Passes and fusions to leave out, separated by commas")->delimiter(',');
  verb->add_option("--skip", o->skip, "Keys of rewrites to leave out, separated by commas")->delimiter(',');
  verb->callback([o] { run(*o); });
}

}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
// Runs every patterns/<name>/test.kpt. A file is a list of cases:
//
//   == title                     options behind the title: [device cuda] [skip KEY] [with OTHER_FUSION]
//   <graph>
//   =>                           the graph afterwards, byte for byte, or one of
//   => same                      the text does not match
//   => no: part of the reason    the text matches, and the report says why nothing was done
//
// Each case runs its own fusion alone (and those named by [with ..]), twice: the second run must change nothing.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "kpt/fusion/pattern.h"
#include "kpt/ir/text.h"

namespace kpt {
namespace {

namespace fs = std::filesystem;

struct Case {
  std::string title, before, after, expect;  // expect: "", "same" or "no: ..."
  std::vector<std::string> with;
  PassContext context;
};

void read_options(Case& c, std::string line) {
  for (size_t open; (open = line.find('[')) != std::string::npos;) {
    const size_t close = line.find(']', open);
    std::istringstream words(line.substr(open + 1, close - open - 1));
    std::string key, value;
    words >> key >> value;
    if (key == "device") c.context.device = value;
    if (key == "skip") c.context.skip.insert(value);
    if (key == "with") c.with.push_back(value);
    line = line.substr(close + 1);
  }
}

std::vector<Case> read_cases(const fs::path& path) {
  std::ifstream file(path);
  std::vector<Case> cases;
  bool behind = false;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("== ", 0) == 0) {
      cases.emplace_back();
      cases.back().title = line.substr(3);
      read_options(cases.back(), line);
      behind = false;
    } else if (line.rfind("=>", 0) == 0) {
      behind = true;
      if (line.size() > 3) cases.back().expect = line.substr(3);
    } else if (!cases.empty()) {
      (behind ? cases.back().after : cases.back().before) += line + "\n";
    }
  }
  return cases;
}

fs::path patterns() { return fs::path(KPT_SOURCE_DIR) / "src/kpt/fusion/patterns"; }

void fill(FusionRegistry& registry, const Case& c, const std::string& name) {
  for (Fusion f : fusion_registry().ordered())
    if (f.name == name || std::count(c.with.begin(), c.with.end(), f.name)) registry.add(std::move(f));
}

std::string declined(const PassContext& context) {
  for (const Rewrite& r : context.rewrites)
    if (!r.applied) return r.why;
  return "";
}

void run_case(const Case& c, const std::string& name) {
  SCOPED_TRACE(name + ": " + c.title);
  FusionRegistry registry;
  fill(registry, c, name);
  Graph graph = parse(c.before);
  const Verdict sound = verify(graph);
  ASSERT_TRUE(sound) << sound.reason;
  const std::string before = print(graph);
  PassContext context = c.context;
  run_fusions(graph, context, registry);
  const Verdict after = verify(graph);
  ASSERT_TRUE(after) << after.reason << "\n" << print(graph);

  if (c.expect.empty()) {
    EXPECT_EQ(print(graph), print(parse(c.after)));
    EXPECT_NE(print(graph), before) << "nothing was done: " << declined(context);
  } else {
    EXPECT_EQ(print(graph), before);
    EXPECT_EQ(declined(context).empty(), c.expect == "same") << declined(context);
    if (c.expect != "same") {
      EXPECT_NE(declined(context).find(c.expect.substr(4)), std::string::npos) << declined(context);
    }
  }
  const std::string once = print(graph);
  const size_t rewrites = context.rewrites.size();
  run_fusions(graph, context, registry);
  EXPECT_EQ(print(graph), once);
  EXPECT_EQ(context.rewrites.size(), rewrites) << "the second run reports anew";
}

TEST(Patterns, EveryLeafHasCasesOfEachKind) {
  int leaves = 0;
  for (const auto& entry : fs::directory_iterator(patterns())) {
    const std::string name = entry.path().filename();
    const std::vector<Case> cases = read_cases(entry.path() / "test.kpt");
    int applied = 0, refused = 0;
    for (const Case& c : cases) ++(c.expect.empty() ? applied : refused);
    EXPECT_GE(applied, 1) << name;
    EXPECT_GE(refused, 1) << name;
    ++leaves;
  }
  EXPECT_EQ(static_cast<size_t>(leaves), fusion_registry().ordered().size());
}

TEST(Patterns, EveryCaseOfEveryLeaf) {
  for (const auto& entry : fs::directory_iterator(patterns()))
    for (const Case& c : read_cases(entry.path() / "test.kpt")) run_case(c, entry.path().filename());
}

}  // namespace
}  // namespace kpt

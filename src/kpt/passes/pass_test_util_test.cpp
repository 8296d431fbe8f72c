// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "kpt/ir/text.h"
#include "kpt/passes/pass_test_util.h"

namespace kpt::testing {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, at);)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

bool starts(const std::string& line, std::string_view with) { return line.compare(0, with.size(), with) == 0; }

void read_options(PassCase& c, const std::string& text) {
  for (const std::string& option : split(text, ' ')) {
    const size_t at = option.find('=');
    const std::string name = option.substr(0, at), value = at == std::string::npos ? "" : option.substr(at + 1);
    if (name == "level")
      c.level = value;
    else if (name == "device")
      c.device = value;
    else if (name == "skip")
      c.skip.push_back(value);
    else if (name == "passes")
      c.passes = split(value, ',');
    else
      throw Error(ErrorKind::bad_input, cat("[passes.test] line ", c.line, ": got option ", option));
  }
}

// Outside a case (a graph printed by hand may miss the header).
std::string with_header(const std::string& text) {
  return text.find("kpt.graph") == std::string::npos ? "kpt.graph 1\n" + text : text;
}

void check(const PassCase& c, const std::string& pass) {
  SCOPED_TRACE(cat(pass, "/test.kpt line ", c.line, ": ", c.name));
  Graph graph = parse(with_header(c.before));
  const std::string before = print(graph);
  ASSERT_TRUE(verify(graph)) << verify(graph).reason;
  std::vector<Pass> passes;
  for (const std::string& name : c.passes.empty() ? std::vector<std::string>{pass} : c.passes) {
    ASSERT_NE(pass_registry().find(name), nullptr) << "no pass named " << name;
    passes.push_back(*pass_registry().find(name));
  }
  PassContext context;
  context.level = c.level;
  context.device = c.device;
  context.skip.insert(c.skip.begin(), c.skip.end());
  run_passes(graph, context, passes);
  const std::string got = print(graph);
  EXPECT_EQ(got, c.unchanged ? before : print(parse(with_header(c.after))));

  std::vector<std::string> applied, reasons;
  bool found = c.reason.empty();
  for (const Rewrite& r : context.rewrites) {
    if (r.applied)
      applied.push_back(r.key);
    else if (r.why.find(c.reason) != std::string::npos)
      found = true;
    if (!r.applied) reasons.push_back(r.why);
  }
  EXPECT_TRUE(found) << "want a reason holding \"" << c.reason << "\", got " << ::testing::PrintToString(reasons);
  if (!c.rewrites.empty()) {
    EXPECT_EQ(applied, c.rewrites);
  }
  if (c.unchanged) {
    EXPECT_TRUE(applied.empty()) << ::testing::PrintToString(applied);
  }

  PassContext again = context;
  again.rewrites.clear();
  run_passes(graph, again, passes);
  EXPECT_EQ(print(graph), got) << "the second run changed the graph";
}

}  // namespace

std::vector<PassCase> read_cases(const std::string& path) {
  std::ifstream file(path);
  KPT_CHECK(file.good(), "passes.test", "got no file ", path);
  std::vector<PassCase> cases;
  bool after = false;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (starts(line, "## ")) {
      cases.emplace_back();
      cases.back().name = line.substr(3);
      cases.back().line = number;
      after = false;
    } else if (cases.empty() || line.empty()) {
      continue;  // the head of the file is a comment
    } else if (starts(line, "with: ")) {
      read_options(cases.back(), line.substr(6));
    } else if (starts(line, "rewrite: ")) {
      cases.back().rewrites.push_back(line.substr(9));
    } else if (starts(line, "=> unchanged")) {
      cases.back().unchanged = true;
      if (line.size() > 14) cases.back().reason = line.substr(14);
    } else if (line == "=>") {
      after = true;
    } else {
      (after ? cases.back().after : cases.back().before) += line + "\n";
    }
  }
  return cases;
}

void run_case_file(const std::string& pass) {
  const std::vector<PassCase> cases = read_cases(cat(KPT_SOURCE_DIR, "/src/kpt/passes/", pass, "/test.kpt"));
  ASSERT_FALSE(cases.empty());
  for (const PassCase& c : cases) check(c, pass);
}

}  // namespace kpt::testing

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "kpt/base/error.h"
#include "kpt/commands/commands.h"

namespace kpt {
namespace {

namespace fs = std::filesystem;

struct Kind {
  const char* name;
  const char* folder;  // parent of the new leaf
  const char* room;    // its tests are kpt_<room>_test
};
constexpr Kind kKinds[] = {{"kernel", "src/kpt/kernels", "kernels"},
                           {"pass", "src/kpt/passes", "passes"},
                           {"fusion", "src/kpt/fusion/patterns", "fusion"},
                           {"backend", "src/kpt/backends", "backends"}};

// The source tree: the folder, here or above, that holds the templates.
fs::path source_root() {
  for (fs::path dir = fs::current_path();; dir = dir.parent_path()) {
    if (fs::exists(dir / "tools/templates")) return dir;
    KPT_CHECK(dir != dir.parent_path(), "kpt.new", "got ", fs::current_path(),
              ", want a folder inside the source tree (with tools/templates), try from its root");
  }
}

void check_name(const std::string& name) {
  bool good = !name.empty() && std::islower(static_cast<unsigned char>(name[0])) &&
              std::all_of(name.begin(), name.end(),
                          [](unsigned char c) { return std::islower(c) || std::isdigit(c) || c == '_'; });
  KPT_CHECK(good, "kpt.new", "got name \"", name, "\", want lower case letters, digits and _, try \"my_op\"");
}

std::string camel(const std::string& name) {
  std::string out;
  bool up = true;
  for (char c : name) {
    if (c != '_') out += up ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    up = c == '_';
  }
  return out;
}

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

void write_leaf(const Kind& kind, const std::string& name) {
  check_name(name);
  fs::path root = source_root(), from = root / "tools/templates" / kind.name, to = root / kind.folder / name;
  KPT_CHECK(fs::is_directory(from), "kpt.new", "got no templates in ", from, ", want a complete source tree");
  // A leaf's name is the end of a C++ name (register_<name>) and the key of a registry: one of each over all kinds.
  for (const Kind& k : kKinds)
    KPT_CHECK(!fs::exists(root / k.folder / name), "kpt.new", "got name \"", name, "\", which ", root / k.folder / name,
              " has, want a new one");
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    std::ifstream in(entry.path());
    std::string text{std::istreambuf_iterator<char>(in), {}};
    text = replace_all(replace_all(text, "@name@", name), "@Name@", camel(name));
    // NAME.cpp.in -> <name>.cpp: the ending keeps templates out of every glob.
    std::string file = replace_all(entry.path().filename().stem().string(), "NAME", name);
    std::ofstream out(to / file);
    out << text;
    out.close();
    KPT_CHECK(out, "kpt.new", "got a failed write of ", to / file, ", want room and the right to write");
    std::cout << fs::relative(to / file, root).string() << "\n";
  }
  std::cout << "next: cmake --build build --target kpt_" << kind.room << "_test && ctest --test-dir build -R '^"
            << kind.room << "$' --output-on-failure\n";
}

}  // namespace

void add_new(CLI::App& app) {
  auto* verb = app.add_subcommand("new", "Write a new leaf folder that builds and passes its test");
  verb->require_subcommand(1);
  for (const Kind& kind : kKinds) {
    auto* sub = verb->add_subcommand(kind.name, cat("A new folder in ", kind.folder));
    auto name = std::make_shared<std::string>();
    sub->add_option("name", *name, "lower_case_name: the folder, the registry key and the tests' name")->required();
    sub->callback([&kind, name] { write_leaf(kind, *name); });
  }
}

}  // namespace kpt

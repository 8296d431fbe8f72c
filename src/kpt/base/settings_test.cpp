// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/settings.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

namespace kpt {
namespace {

// Sets a variable for one test, reads the settings anew, and puts all back.
class Env {
 public:
  Env(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before, had_ = true;
    setenv(name, value, 1);
    reload_settings();
  }
  ~Env() {
    if (had_) {
      setenv(name_, before_.c_str(), 1);
    } else {
      unsetenv(name_);
    }
    reload_settings();
  }

 private:
  const char* name_;
  std::string before_;
  bool had_ = false;
};

std::string message_of(auto f) {
  try {
    f();
  } catch (const Error& e) {
    return cat(name(e.kind()), ": ", e.what());
  }
  return "no error";
}

TEST(Settings, TableIsSmallAndItsNamesMatchTheirVariables) {
  EXPECT_LE(settings().size(), kMaxSettings);
  std::set<std::string_view> seen;
  for (const SettingInfo& info : settings()) {
    EXPECT_TRUE(seen.insert(info.name).second) << info.name << " stands twice";
    std::string env = "KPT_";
    for (char c : info.name) env += static_cast<char>(std::toupper(c));
    EXPECT_EQ(info.env, env);
    EXPECT_FALSE(info.doc.empty());
  }
}

TEST(Settings, DefaultsAreValid) {
  for (const SettingState& state : setting_states()) EXPECT_EQ(state.error, "") << state.info->name;
}

TEST(Settings, EnvironmentWinsOverTheDefaultAndTheProgramOverBoth) {
  Env env("KPT_NUM_THREADS", "7");
  EXPECT_EQ(setting_int("num_threads"), 7);
  set_setting("num_threads", "3");
  EXPECT_EQ(setting_int("num_threads"), 3);
  EXPECT_EQ(setting_states()[0].source, "program");
  reload_settings();
  EXPECT_EQ(setting_int("num_threads"), 7);
  EXPECT_EQ(setting_states()[0].source, "environment");
}

TEST(Settings, EmptyVariableCountsAsUnset) {
  Env env("KPT_NUM_THREADS", "");
  EXPECT_EQ(setting_int("num_threads"), 0);
}

TEST(Settings, BooleansTakeTheUsualWords) {
  for (const char* word : {"0", "false", "off", "no"}) {
    Env env("KPT_ALLOW_FALLBACK", word);
    EXPECT_FALSE(setting_bool("allow_fallback")) << word;
  }
  for (const char* word : {"1", "true", "on", "yes"}) {
    Env env("KPT_ALLOW_FALLBACK", word);
    EXPECT_TRUE(setting_bool("allow_fallback")) << word;
    for (const SettingState& state : setting_states()) {
      if (state.info->name == "allow_fallback") {
        EXPECT_EQ(state.value, "1") << word;
      }
    }
  }
}

TEST(Settings, ListIsSplitAtCommasAndTrimmed) {
  Env env("KPT_DISABLE", " cse, merge_linears ,,dce");
  EXPECT_EQ(setting_list("disable"), (std::vector<std::string>{"cse", "merge_linears", "dce"}));
}

TEST(Settings, WrongValuesNameTheVariableAndWhatIsAllowed) {
  {
    Env env("KPT_NUM_THREADS", "many");
    EXPECT_EQ(message_of([] { setting_int("num_threads"); }),
              "bad_input: [base.settings] got KPT_NUM_THREADS=\"many\", want an integer from 0 to 1024, try "
              "KPT_NUM_THREADS=0");
  }
  {
    Env env("KPT_NUM_THREADS", "1025");
    EXPECT_NE(message_of([] { setting_int("num_threads"); }).find("want an integer from 0 to 1024"), std::string::npos);
  }
  {
    Env env("KPT_NUM_THREADS", "2x");
    EXPECT_NE(message_of([] { setting_int("num_threads"); }).find("\"2x\""), std::string::npos);
  }
  {
    Env env("KPT_LOG", "loud");
    EXPECT_EQ(message_of([] { setting_choice("log"); }),
              "bad_input: [base.settings] got KPT_LOG=\"loud\", want one of error warn info debug, try KPT_LOG=warn");
    EXPECT_NE(message_of([] { set_setting("allow_fallback", "maybe"); }).find("got KPT_ALLOW_FALLBACK=\"maybe\""),
              std::string::npos);
  }
}

TEST(Settings, OneBadVariableDoesNotSpoilTheOthers) {
  Env env("KPT_LOG", "loud");
  EXPECT_EQ(setting_int("num_threads"), 0);
}

TEST(Settings, NamesAndTypesOutsideTheTableAreOurBug) {
  EXPECT_EQ(message_of([] { setting_int("num_thread"); }).substr(0, 9), "internal:");
  EXPECT_EQ(message_of([] { setting_bool("num_threads"); }).substr(0, 9), "internal:");
}

TEST(Settings, UnknownNamesInTheEnvironmentAreListed) {
  Env env("KPT_NUM_THREDS", "4");
  EXPECT_EQ(unknown_settings(), std::vector<std::string>{"KPT_NUM_THREDS"});
}

TEST(Settings, JsonHoldsEveryRowWithItsValue) {
  Env env("KPT_LEVEL", "aggressive");
  auto json = nlohmann::json::parse(settings_json());
  ASSERT_EQ(json["settings"].size(), settings().size());
  for (auto& row : json["settings"]) {
    if (row["name"] != "level") continue;
    EXPECT_EQ(row["value"], "aggressive");
    EXPECT_EQ(row["source"], "environment");
    EXPECT_EQ(row["choices"], (std::vector<std::string>{"conservative", "balanced", "aggressive"}));
  }
}

TEST(Settings, DocsPageIsTheGeneratedOne) {
  std::ifstream file(KPT_SOURCE_DIR "/docs/settings.md");
  std::string page((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(page, settings_markdown()) << "run: kpt env --markdown > docs/settings.md";
}

TEST(Settings, ReadsAndWritesFromManyThreadsAreSafe) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 500; ++i) {
        if (t == 0) set_setting("disable", i % 2 ? "cse" : "a_much_longer_name_that_does_not_fit_inline,dce");
        EXPECT_LE(setting_list("disable").size(), 2u);
        EXPECT_EQ(setting_int("num_threads"), 0);
      }
    });
  }
  for (auto& t : threads) t.join();
  reload_settings();
}

}  // namespace
}  // namespace kpt

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/base/error.h"

namespace kpt {

// The one table of settings (settings.cpp). It generates docs/settings.md, `kpt env` and the Python config; no other
// file reads the environment. At most kMaxSettings names.
constexpr size_t kMaxSettings = 20;

enum class SettingType : uint8_t { integer, boolean, text, choice };
KPT_API std::string_view name(SettingType type);

struct SettingInfo {
  std::string_view name;  // "num_threads"
  std::string_view env;   // "KPT_NUM_THREADS"
  SettingType type;
  std::string_view otherwise;  // the default, as text
  int64_t lo, hi;              // integers: allowed range, both ends included
  std::string_view choices;    // choice: the words, separated by blanks
  std::string_view doc;        // one line
};
KPT_API std::span<const SettingInfo> settings();

// Typed reads. The environment is read at the first call, later changes of it are not seen (reload_settings).
// Throw Error{bad_input} naming the variable where its value is wrong, and Error{internal} for a name or type that is
// not in the table. Thread-safe; integers, booleans and choices take no lock.
KPT_API int64_t setting_int(std::string_view name);
KPT_API bool setting_bool(std::string_view name);
KPT_API std::string setting_text(std::string_view name);
KPT_API std::string_view setting_choice(std::string_view name);  // a word of the table: static storage
KPT_API std::vector<std::string> setting_list(
    std::string_view name);  // a text split at commas, blanks cut, empties dropped

// Sets a value for this process; it wins over the environment. Checked like an environment value.
KPT_API void set_setting(std::string_view name, std::string_view text);
// Forgets values set by the program and reads the environment again.
KPT_API void reload_settings();

// One row of `kpt env`. `source`: "default", "environment" or "program". `error` is empty where the value is good.
struct SettingState {
  const SettingInfo* info;
  std::string value;
  std::string source;
  std::string error;
};
KPT_API std::vector<SettingState> setting_states();

// KPT_* names in the environment that the table does not know, sorted: most often a misspelt name.
KPT_API std::vector<std::string> unknown_settings();

KPT_API std::string settings_markdown();  // docs/settings.md, whole
KPT_API std::string
settings_json();  // {"settings": [{name, env, type, default, range|choices, doc, value, source}], "unknown": [..]}

}  // namespace kpt

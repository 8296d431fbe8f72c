// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/settings.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <shared_mutex>

namespace kpt {
namespace {

using enum SettingType;

constexpr auto kTable = std::to_array<SettingInfo>({
    {"num_threads", "KPT_NUM_THREADS", integer, "0", 0, 1024, "",
     "Threads one call may use; 0 takes every processor this process may run on."},
    {"cpu_isa", "KPT_CPU_ISA", choice, "auto", 0, 0, "auto generic avx2 avx512 avx512bf16",
     "Best CPU instruction set to use; auto takes the best this machine has."},
    {"spin_us", "KPT_SPIN_US", integer, "50", 0, 1000000, "",
     "Microseconds a pool thread waits busily for the next task before it sleeps."},
    {"level", "KPT_LEVEL", choice, "balanced", 0, 0, "conservative balanced aggressive",
     "Optimisation level where the call names none."},
    {"allow_fallback", "KPT_ALLOW_FALLBACK", boolean, "1", 0, 1, "",
     "Let PyTorch run operators that have no kernel here; 0 refuses such models, naming the operators."},
    {"disable", "KPT_DISABLE", text, "", 0, 0, "", "Passes and fusions to switch off, by name, separated by commas."},
    {"dump_dir", "KPT_DUMP_DIR", text, "", 0, 0, "",
     "Folder that gets the graph's text after every pass that changed it; empty writes nothing."},
    {"cuda_path", "KPT_CUDA_PATH", text, "", 0, 0, "",
     "Folders with NVIDIA's libraries (NVRTC, cuBLASLt, cuDNN), separated by commas; searched before the loader's "
     "path."},
    {"cache_dir", "KPT_CACHE_DIR", text, "", 0, 0, "",
     "Folder for what is kept between processes: compiled CUDA kernels, timed choices, captured graphs; empty takes "
     "$XDG_CACHE_HOME or ~/.cache, then kernel_pytorch."},
    {"keep_captures", "KPT_KEEP_CAPTURES", boolean, "1", 0, 1, "",
     "Keep captured graphs between processes, so that a known model is not traced again; 0 traces it each time."},
    {"sync", "KPT_SYNC", boolean, "0", 0, 1, "",
     "Wait for the GPU after every step and record nothing, so that a fault names the step it happened in; slow."},
    {"log", "KPT_LOG", choice, "warn", 0, 0, "error warn info debug", "Least important level of log line to print."},
});
static_assert(kTable.size() <= kMaxSettings);

// The number behind a value: the integer itself, 0 or 1, or the index of the chosen word. Texts have none.
struct Slot {
  std::atomic<int64_t> number{0};
  std::atomic<bool> bad{false};
  std::string text;
  std::string source;
  std::string error;
};

struct Store {
  std::array<Slot, kTable.size()> slots;
  mutable std::shared_mutex mutex;  // guards the strings of the slots
  Store() { load(); }
  void load();
};

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    size_t end = std::min(text.find(at), text.size());
    std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

struct Parsed {
  int64_t number = 0;
  std::string error;  // empty: good
};

Parsed parse_integer(const SettingInfo& info, std::string_view text) {
  Parsed p;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), p.number);
  if (code != std::errc() || end != text.data() + text.size() || p.number < info.lo || p.number > info.hi) {
    p.error = cat("got ", info.env, "=\"", text, "\", want an integer from ", info.lo, " to ", info.hi, ", try ",
                  info.env, "=", info.otherwise);
  }
  return p;
}

Parsed parse_value(const SettingInfo& info, std::string_view text) {
  if (info.type == SettingType::integer) return parse_integer(info, text);
  if (info.type == SettingType::text) return {};
  constexpr auto kWords = std::to_array<std::pair<std::string_view, int64_t>>(
      {{"1", 1}, {"0", 0}, {"true", 1}, {"false", 0}, {"on", 1}, {"off", 0}, {"yes", 1}, {"no", 0}});
  if (info.type == SettingType::boolean) {
    for (auto& [word, value] : kWords)
      if (word == text) return {value, ""};
    return {0, cat("got ", info.env, "=\"", text, "\", want 1 or 0, try ", info.env, "=", info.otherwise)};
  }
  auto words = split(info.choices, ' ');
  auto found = std::find(words.begin(), words.end(), text);
  if (found != words.end()) return {found - words.begin(), ""};
  return {
      0, cat("got ", info.env, "=\"", text, "\", want one of ", info.choices, ", try ", info.env, "=", info.otherwise)};
}

void store(Slot& slot, const SettingInfo& info, std::string_view text, std::string_view source) {
  Parsed p = parse_value(info, text);
  slot.number.store(p.number, std::memory_order_relaxed);
  slot.text =
      info.type == boolean && p.error.empty() ? (p.number ? "1" : "0") : text;  // one spelling for readers of the JSON
  slot.source = source;
  slot.error = p.error;
  slot.bad.store(!p.error.empty(), std::memory_order_release);
}

void Store::load() {
  std::unique_lock lock(mutex);
  for (size_t i = 0; i < kTable.size(); ++i) {
    const char* value = std::getenv(kTable[i].env.data());
    // An empty variable counts as unset, as for most tools: `KPT_LOG= kpt env` is the way to switch one off.
    bool set = value && *value;
    store(slots[i], kTable[i], set ? std::string_view(value) : kTable[i].otherwise, set ? "environment" : "default");
  }
}

Store& the_store() {
  static Store store;
  return store;
}

size_t index_of(std::string_view name) {
  for (size_t i = 0; i < kTable.size(); ++i)
    if (kTable[i].name == name) return i;
  throw_error(ErrorKind::internal, "base.settings",
              cat("got setting \"", name, "\", want a name of the table in settings.cpp, try `kpt env`"));
}

Slot& slot_of(std::string_view name, SettingType type) {
  size_t i = index_of(name);
  KPT_ASSERT(kTable[i].type == type, "base.settings", name, " is of type ", kpt::name(kTable[i].type), ", read as ",
             kpt::name(type));
  Store& store = the_store();
  Slot& slot = store.slots[i];
  if (slot.bad.load(std::memory_order_acquire)) {
    std::shared_lock lock(store.mutex);
    throw_error(ErrorKind::bad_input, "base.settings", slot.error);
  }
  return slot;
}

}  // namespace

std::string_view name(SettingType type) {
  switch (type) {
    case integer: return "integer";
    case boolean: return "boolean";
    case text: return "text";
    case choice: return "choice";
  }
  return "unknown";
}

std::span<const SettingInfo> settings() { return kTable; }

int64_t setting_int(std::string_view name) { return slot_of(name, integer).number.load(std::memory_order_relaxed); }

bool setting_bool(std::string_view name) { return slot_of(name, boolean).number.load(std::memory_order_relaxed) != 0; }

std::string setting_text(std::string_view name) {
  Slot& slot = slot_of(name, text);
  std::shared_lock lock(the_store().mutex);
  return slot.text;
}

std::string_view setting_choice(std::string_view name) {
  int64_t i = slot_of(name, choice).number.load(std::memory_order_relaxed);
  return split(kTable[index_of(name)].choices, ' ')[static_cast<size_t>(i)];
}

std::vector<std::string> setting_list(std::string_view name) {
  std::string all = setting_text(name);
  auto parts = split(all, ',');
  return {parts.begin(), parts.end()};
}

void set_setting(std::string_view name, std::string_view value) {
  size_t i = index_of(name);
  Parsed p = parse_value(kTable[i], value);
  if (!p.error.empty()) throw_error(ErrorKind::bad_input, "base.settings", p.error);
  Store& all = the_store();
  std::unique_lock lock(all.mutex);
  store(all.slots[i], kTable[i], value, "program");
}

void reload_settings() { the_store().load(); }

std::vector<SettingState> setting_states() {
  Store& all = the_store();
  std::shared_lock lock(all.mutex);
  std::vector<SettingState> states;
  for (size_t i = 0; i < kTable.size(); ++i)
    states.push_back({&kTable[i], all.slots[i].text, all.slots[i].source, all.slots[i].error});
  return states;
}

std::vector<std::string> unknown_settings() {
  std::vector<std::string> unknown;
  for (char** entry = environ; entry && *entry; ++entry) {
    std::string_view text = *entry;
    std::string_view env = text.substr(0, text.find('='));
    if (!env.starts_with("KPT_")) continue;
    if (std::none_of(kTable.begin(), kTable.end(), [&](auto& info) { return info.env == env; }))
      unknown.emplace_back(env);
  }
  std::sort(unknown.begin(), unknown.end());
  return unknown;
}

namespace {

std::string allowed(const SettingInfo& info) {
  if (info.type == integer) return cat(info.lo, " to ", info.hi);
  if (info.type == boolean) return "0, 1";
  if (info.type == text) return "any text";
  std::string words;
  for (auto word : split(info.choices, ' ')) words += cat(words.empty() ? "" : ", ", word);
  return words;
}

}  // namespace

std::string settings_markdown() {
  std::string page =
      "# Settings\n\nGenerated from the table in `src/kpt/base/settings.cpp` by `kpt env --markdown`; do not edit.\n\n"
      "Every setting is an environment variable, read once, at first use. `kpt env` shows the values in force, where\n"
      "each comes from, and `KPT_` names that nobody knows. A wrong value is an error that names the variable.\n\n"
      "| variable | type | default | allowed | meaning |\n|---|---|---|---|---|\n";
  for (const SettingInfo& info : kTable) {
    page += cat("| `", info.env, "` | ", name(info.type), " | ", info.otherwise.empty() ? "empty" : info.otherwise,
                " | ", allowed(info), " | ", info.doc, " |\n");
  }
  return page;
}

std::string settings_json() {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const SettingState& state : setting_states()) {
    const SettingInfo& info = *state.info;
    nlohmann::ordered_json row = {{"name", info.name},         {"env", info.env},     {"type", name(info.type)},
                                  {"default", info.otherwise}, {"doc", info.doc},     {"value", state.value},
                                  {"source", state.source},    {"error", state.error}};
    if (info.type == integer) row["range"] = {info.lo, info.hi};
    if (info.type == choice) row["choices"] = split(info.choices, ' ');
    rows.push_back(row);
  }
  return nlohmann::ordered_json{{"settings", rows}, {"unknown", unknown_settings()}}.dump(2) + "\n";
}

}  // namespace kpt

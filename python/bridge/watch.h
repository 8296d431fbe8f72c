// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

// For PyDict_AddWatcher (Python 3.12 and later): counts the changes of all watched dictionaries. Python calls it with
// its lock held, before the change; it touches no Python object, so that it may run while the interpreter ends.
extern "C" __attribute__((visibility("default"))) uint64_t kpt_dict_changes;
extern "C" __attribute__((visibility("default"))) int kpt_dict_changed(int event, void* dict, void* key, void* value);

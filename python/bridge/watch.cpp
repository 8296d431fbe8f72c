// SPDX-License-Identifier: Apache-2.0
#include "watch.h"

uint64_t kpt_dict_changes = 0;

int kpt_dict_changed(int, void*, void*, void*) {
  __atomic_fetch_add(&kpt_dict_changes, 1, __ATOMIC_RELEASE);
  return 0;
}

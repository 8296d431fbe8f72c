// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/tracking/record.h"
#include "kpt/tracking/sqlite.h"

namespace kpt {

// One record as the tables of every version hold it: all but `content`. Error{internal} where there is none of that id.
Record read_record(sqlite::Database& database, int64_t id, bool with_samples = true);

}  // namespace kpt

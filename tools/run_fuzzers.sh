#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/run_fuzzers.sh BUILD SECONDS: runs each fuzz target from its seeds; new inputs go to BUILD/corpus, never into the repository.
set -euo pipefail
build=$1 seconds=$2
count=0
while read -r target seeds; do
  corpus=$build/corpus/$target
  mkdir -p "$corpus"
  echo "fuzz: $target for $seconds s"
  # 2 GiB and 10 s a case: the parser promises to bound both.
  "$build/bin/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$build/corpus/$target-" "$corpus" $([[ -d $seeds ]] && echo "$seeds") 2>&1 | tail -n 12
  count=$((count + 1))
done <"$build/fuzzers.txt"
((count)) || { echo "fuzz: got no target, want at least one *_fuzz.cpp" >&2; exit 1; }
echo "fuzz: $count targets, no crash"

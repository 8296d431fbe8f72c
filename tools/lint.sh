#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/lint.sh BUILD JOBS [BASE]: layout and naming. With BASE only files that differ from that commit; else all.
set -euo pipefail
build=$1 jobs=$2 base=${3:-}
changed() { if [[ -n $base ]]; then git diff --name-only --diff-filter=d "$base" -- "$@"; else git ls-files -- "$@"; fi; }

mapfile -t cpp < <(changed '*.cpp' '*.h')
mapfile -t sources < <(changed 'src/*.cpp' 'apps/*.cpp')
# clang-tidy needs the flags of the build: a source that no target compiles there (other options) is left out.
mapfile -t known < <(.venv/bin/python -c 'import json, sys; print("\n".join(sorted({row["file"] for row in json.load(open(sys.argv[1]))})))' "$build/compile_commands.json")
tidy=()
for source in "${sources[@]}"; do
  for file in "${known[@]}"; do [[ $file == "$PWD/$source" ]] && tidy+=("$source"); done
done

failed=0
((${#cpp[@]} == 0)) || .venv/bin/clang-format --dry-run -Werror "${cpp[@]}" || failed=1
.venv/bin/ruff check -q python tools benchmarks || failed=1
.venv/bin/ruff format -q --check python tools benchmarks || failed=1
((${#tidy[@]} == 0)) || printf '%s\n' "${tidy[@]}" | xargs -P "$jobs" -n 1 clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-unknown-pragmas 2>/dev/null || failed=1
((failed)) && { echo "lint: faults above (make format lays files out)" >&2; exit 1; }
echo "lint: ${#cpp[@]} C++ files laid out well, ${#tidy[@]} checked for names, Python clean"

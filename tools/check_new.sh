#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/check_new.sh: the promise "one thing is one folder", proved whole. In a copy of the tree it writes one leaf of each
# kind with `kpt new`, builds everything, runs all C++ tests and the layer check, and asserts that only new folders appeared.
set -euo pipefail
cd "$(dirname "$0")/.."
kpt=$PWD/${BUILD:-build}/bin/kpt
# Headers that came with Python packages: the copy has no environment of its own.
mapfile -t headers < <(sed -n 's/^\(KPT_CU[A-Z_]*INCLUDE\):PATH=/-D\1=/p' "${BUILD:-build}/CMakeCache.txt")
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z | tar --null -T - -c | tar -x -C "$copy"
cd "$copy"
git init -q && git add -A && git -c user.name=check -c user.email=check@localhost commit -qm "before"
for kind in kernel pass fusion backend; do "$kpt" new "$kind" "demo_$kind"; done
cmake -S . -B build -G Ninja "${headers[@]}" >/dev/null
cmake --build build
ctest --test-dir build --output-on-failure
for room in kernels:DemoKernel passes:DemoPass fusion:Patterns backends:DemoBackendBackend; do
  "build/src/kpt/${room%%:*}/kpt_${room%%:*}_test" --gtest_filter="${room#*:}.*" | grep -q '\[  PASSED  \] [1-9]' ||
    { echo "check_new: the tests of ${room#*:} did not run" >&2; exit 1; }
done
python3 tools/check_layers.py
changed=$(git status --short | grep -v '^?? src/kpt/.*/demo_[a-z]*/$' || true)
[[ -z $changed ]] || { echo "check_new: got changes besides the new folders: $changed" >&2; exit 1; }
echo "check_new: four new leaf folders build and pass, nothing else changed"

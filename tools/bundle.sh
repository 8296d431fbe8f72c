#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/bundle.sh BUILD PYTHON: dist/kernel_pytorch-VERSION/ with lib/, bin/kpt and python/kernel_pytorch, and proof that it
# is small, runs on glibc 2.36 (Debian 12) and works from another place.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 python=$2
limit_mb=60
version=$("$build/bin/kpt" --version)
out=dist/kernel_pytorch-$version
fail() { echo "bundle: $*" >&2; exit 1; }

rm -rf "$out"
cmake --install "$build" --component kpt --strip --prefix "$out" >/dev/null
mkdir -p "$out/python"
git ls-files python/kernel_pytorch | while read -r file; do install -D -m 644 "$file" "$out/$file"; done
cp LICENSE README.md "$out"
# libkpt.so needs SQLite, which a machine without Python may lack (public domain, 1.5 MB).
cp -L "$(ldd "$out/lib/libkpt.so" | awk '/libsqlite3/ {print $3}')" "$out/lib/"

# Each program names at most these symbol versions, or the loader of an older system refuses it.
newest() { objdump -T "$2" | grep -o "$1_[0-9.]*" | sort -Vu | tail -n 1; }
at_most() { [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | tail -n 1) == "$2" ]]; }
for file in "$out"/lib/*.so "$out/bin/kpt"; do
  glibc=$(newest GLIBC "$file") cxx=$(newest GLIBCXX "$file")
  at_most "$glibc" GLIBC_2.36 || fail "$file: got $glibc, want at most GLIBC_2.36, try building on Debian 12"
  at_most "$cxx" GLIBCXX_3.4.30 || fail "$file: got $cxx, want at most GLIBCXX_3.4.30 (GCC 12), try building on Debian 12"
  path=$(objdump -p "$file" | sed -n 's/ *R\(UN\)\?PATH *//p')
  [[ -z $path || $path == '$ORIGIN'* ]] || fail "$file: got run path $path, want one that starts at \$ORIGIN"
done
size=$(du -sm "$out" | cut -f1)
((size <= limit_mb)) || fail "got $size MB, want at most $limit_mb"

# From another place, with nothing of the source tree on any path.
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
cp -r "$out" "$elsewhere/moved"
moved=$elsewhere/moved
used=$(LD_DEBUG=files "$moved/bin/kpt" --version 2>&1 >/dev/null | grep -o 'calling init: .*libkpt.so' | head -n 1 || true)
[[ $used == *"$moved/"* ]] || fail "got $used, want libkpt.so of the moved folder"
"$moved/bin/kpt" hardware >/dev/null
interpreter=$(realpath -s "$python")
(cd "$elsewhere" && "$interpreter" -P - "$moved" <<'PY')
import sys
sys.path.insert(0, sys.argv[1] + "/python")
import kernel_pytorch
import torch

assert kernel_pytorch.__file__.startswith(sys.argv[1]), kernel_pytorch.__file__
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
x = torch.randn(3, 8)
fast = kernel_pytorch.auto_optimize(model, x, optimization_level="conservative")
torch.testing.assert_close(fast(x), model(x))
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "libkpt" in line}
assert mapped and all(path.startswith(sys.argv[1]) for path in mapped), mapped
PY
echo "bundle: $out, $size MB, runs from another place"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/wheel.sh PYTHON: a wheel in dist/, and proof that it holds the libraries and works from another place. Built
# without isolation, for libkpt_torch.so fits the torch that PYTHON has.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "$1")
fail() { echo "wheel: $*" >&2; exit 1; }

rm -f dist/*.whl
"$python" -m pip wheel -q . --no-deps --no-build-isolation --wheel-dir dist
wheels=(dist/*.whl)
[[ ${#wheels[@]} == 1 && ${wheels[0]} == *-py3-none-linux_x86_64.whl ]] || fail "got ${wheels[*]}, want one for any Python 3"

elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
"$python" -m zipfile -e "${wheels[0]}" "$elsewhere/site"
for file in lib/libkpt.so lib/libkpt_torch.so lib/kpt_torch.json __init__.py; do
  [[ -f $elsewhere/site/kernel_pytorch/$file ]] || fail "got no kernel_pytorch/$file in ${wheels[0]}"
done
(cd "$elsewhere" && "$python" -P - "$elsewhere/site" <<'PY')
import sys
sys.path.insert(0, sys.argv[1])
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
echo "wheel: ${wheels[0]}, $(du -m "${wheels[0]}" | cut -f1) MB, runs from another place"

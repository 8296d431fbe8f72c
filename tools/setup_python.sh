#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/setup_python.sh REQUIREMENTS...: makes .venv and installs the pinned packages. Does nothing where the stamp says
# that the same files were installed before. An existing .venv is kept and brought to the pins.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-$(tools/find_python.sh)}
stamp=.venv/.requirements-$(echo "$*" | tr -c 'a-z\n' '_')
wanted=$(cat requirements.lock "$@" tools/setup_python.sh | sha256sum | cut -d' ' -f1)
[[ -f $stamp && $(cat "$stamp") == "$wanted" ]] && exit 0

[[ -x .venv/bin/python ]] || "$python" -m venv .venv
[[ -x .venv/bin/uv ]] || .venv/bin/python -m pip install -q uv==0.13.8
# Two runs of `uv` so that a slow download shows which file it belongs to.
for file in "$@"; do .venv/bin/uv pip install --python .venv/bin/python -c requirements.lock -r "$file"; done

# Headers alone are wanted of this one; what it depends on is half a gigabyte of other tools.
.venv/bin/uv pip install --python .venv/bin/python --no-deps nvidia-cudnn-frontend==1.32.0

# The package is used from the source tree, so an edit is seen without installing again.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$PWD/python" >"$site/kernel_pytorch_source.pth"
script() { printf '#!/bin/sh\nexec "%s" -m %s "$@"\n' "$PWD/.venv/bin/python" "$2" >".venv/bin/$1" && chmod +x ".venv/bin/$1"; }
script kernelpytorch kernel_pytorch
script kpt-benchmark kernel_pytorch.benchmark
echo "$wanted" >"$stamp"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the first Python of version 3.11 or 3.12 on the path: the versions that the pinned torch is tested with here.
set -euo pipefail
for name in python3.12 python3.11 python3; do
  if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
    command -v "$name"
    exit 0
  fi
done
echo "got no Python 3.11 or 3.12 on the path (python3 is $(python3 --version 2>/dev/null || echo absent)), want one of them, try: sudo apt-get install python3 python3-venv, or make PYTHON=/path/to/python3.12" >&2
exit 1

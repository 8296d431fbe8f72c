# SPDX-License-Identifier: Apache-2.0
"""Keeps files small: warns above 400 lines, fails above 800, prints the ten largest.

python tools/check_size.py [--root FOLDER]

Looks at the files that git tracks or would track; generated pages and recorded results do not count.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

WARN, FAIL = 400, 800
ENDINGS = {".h", ".cpp", ".cuh", ".cu", ".py", ".cmake", ".sh", ".md", ".kpt", ".txt", ""}
GENERATED = ("LICENSE", "requirements.lock", "docs/settings.md", "benchmarks/results/", "tests/fuzz/")


def tracked(root: Path) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return sorted(set(listing.splitlines()))


def sizes(root: Path) -> list[tuple[int, str]]:
    """(lines, file), largest first."""
    rows = []
    for name in tracked(root):
        path = root / name
        if path.suffix not in ENDINGS or name.startswith(GENERATED) or not path.is_file():
            continue
        rows.append((len(path.read_bytes().splitlines()), name))
    return sorted(rows, key=lambda row: (-row[0], row[1]))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Keep files small.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    rows = sizes(parser.parse_args(argv).root)
    print("check_size: the ten largest of", len(rows), "files")
    for lines, name in rows[:10]:
        print(f"  {lines:5} {name}")
    for lines, name in rows:
        if lines > FAIL:
            print(f"check_size: {name}: got {lines} lines, want at most {FAIL}, try a split by job", file=sys.stderr)
        elif lines > WARN:
            print(f"check_size: warning: {name} has {lines} lines, aim below {WARN}")
    return 1 if any(lines > FAIL for lines, _ in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture(scope="session")
def build() -> Path:
    """The build folder under test; `make BUILD=other test` passes another."""
    return ROOT / os.environ.get("BUILD", "build")


@pytest.fixture
def kpt(build):
    """Runs the C++ command; env names given as keywords."""
    program = build / "bin/kpt"
    assert program.exists(), f"got no {program}, want the built command, try make build"

    def run(*args: str, stdin: str = "", cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("KPT_")}
        return subprocess.run(
            [program, *args], input=stdin, capture_output=True, text=True, cwd=cwd, env={**clean, **env}
        )

    return run


@pytest.fixture
def tree(tmp_path):
    """A small source tree under git; write("path", text) adds a file."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    class Tree:
        root = tmp_path

        def write(self, name: str, text: str) -> None:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return Tree()

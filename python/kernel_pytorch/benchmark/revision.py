# SPDX-License-Identifier: Apache-2.0
"""A revision as a tree that can be measured: a worktree of its own, built in its own folder, kept for the next time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .. import machine
from ..errors import OptimizationError, input_error
from .facts import ROOT
from .pairs import Tree

# Behind the last step of a build: a folder without it was left half done and is made again.
_DONE = ".kpt-built"


def folder_of_revisions() -> Path:
    base = machine.cache_folder()
    if base is None:
        raise OptimizationError("[benchmark] got no home, want a folder for trees, try the setting cache_dir")
    return base / "revisions"


def git(*arguments: str, root: Path | None = None) -> str:
    """Output of git in the source tree; OptimizationError with git's own words where it fails."""
    done = subprocess.run(["git", *arguments], cwd=root or ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OptimizationError(f"[benchmark] git {arguments[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def resolve(revision: str, root: Path | None = None) -> str:
    """The full commit of a name."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", root=root)
    except OptimizationError:
        raise input_error(
            "benchmark",
            f"--baseline {revision!r}",
            "a git revision, a folder of a built tree or a .jsonl file",
            "HEAD~1",
        ) from None


def here() -> Tree:
    """The tree that this package belongs to, as it was built last."""
    return Tree(ROOT, "this tree")


def tree_of(revision: str, root: Path | None = None, say: Callable[[str], None] = print) -> Tree:
    """The revision, built. A folder is taken as a tree that is built already."""
    if Path(revision).is_dir():
        return Tree(Path(revision).resolve(), revision)
    commit = resolve(revision, root)
    folder = folder_of_revisions() / commit
    if not (folder / _DONE).exists():
        if folder.exists():
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        git("worktree", "prune", root=root)
        git("worktree", "add", "--detach", str(folder), commit, root=root)
        say(f"building {revision} ({commit[:10]}) in {folder}")
        build(folder)
        (folder / _DONE).write_text(f"{commit}\n")
    return Tree(folder, f"{revision} ({commit[:10]})" if revision != commit else commit[:10])


def build(folder: Path) -> None:
    """The library and the torch bridge, as `make build` has them, without tests. Raises OptimizationError with the last
    lines of the build."""
    configure = ["cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DKPT_TORCH=ON"]
    configure += ["-DKPT_TESTS=OFF", f"-DKPT_PYTHON={sys.executable}"]
    for command in (configure, ["cmake", "--build", "build", "--target", "kpt", "kpt_torch"]):
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise OptimizationError(
                f"[benchmark] got no {error.filename}, want it installed, try make setup"
            ) from error
        if done.returncode:
            tail = " / ".join((done.stdout + done.stderr).strip().splitlines()[-5:])
            raise OptimizationError(
                f"[benchmark] {' '.join(command[:3])} in {folder} ended with {done.returncode}: {tail}"
            )


def commits_between(good: str, bad: str, root: Path | None = None) -> list[str]:
    """Commits after `good` up to and with `bad`, oldest first, along the ways that lead from one to the other."""
    first, last = resolve(good, root), resolve(bad, root)
    found = git("rev-list", "--reverse", "--topo-order", "--ancestry-path", f"{first}..{last}", root=root).split()
    if not found:
        raise input_error("benchmark", f"--good {good} --bad {bad}", "bad after good", "exchanging the two")
    return found

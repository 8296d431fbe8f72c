# SPDX-License-Identifier: Apache-2.0
"""Proves that what the documentation names exists, and runs the snippets marked for it.

    python tools/check_docs.py [--root FOLDER] [--build FOLDER] [--no-run]

Looked at, in every Markdown file that git knows or would know:
  `make x`                      x is a target of the Makefile
  `a/b.cpp`, `b.cpp`, [t](a/b)  the path exists: from a folder of the page, src/, src/kpt/ or python/; * is a glob
  `KPT_X`                       a setting, a CMake option or a macro of the source
  `kpt verb --flag`             the verb's --help lists the flag; likewise kernelpytorch, tools/x.py
  `name()`, `a_name`, `AName`   the word occurs in the source (for a.b and a::b each part)
  ```python run, ```bash run    the block runs in a folder of links to the tree and ends with 0; the Python blocks of a
                                page are one program. Python and shell blocks run or say why not: ```bash norun: slow
A span with <angle brackets>, NAME or an ellipsis is a placeholder and is not looked at.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from functools import cache, cached_property
from pathlib import Path

FENCE = re.compile(r"^(```+)([^\n`]*)\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
ENV = re.compile(r"\bKPT_[A-Z][A-Z0-9_]*\b")
PATH = re.compile(r"^[\w.*@+-]*(/[\w.*@+-]+)*/?$")
SUFFIX = re.compile(r"\.(h|cpp|cu|cuh|py|md|sh|kpt|toml|cmake|txt|yml|lock|json|so)$")
SYMBOL = re.compile(r"^[A-Za-z_]\w*((\.|::)[A-Za-z_]\w*)*(\(.*\))?$")
MADE = re.compile(r"^(build[\w-]*|dist|\.venv)(/|$)")  # folders that the build makes
SHELL = {"bash", "sh"}
OURS = re.compile(r"(make|kpt|kernelpytorch|python (-m|tools/|benchmarks/)) ?")  # commands in a block of no language
SOURCE = {".h", ".cpp", ".py", ".cmake", ".toml", ".sh", ".kpt", ".in", ""}


class Tree:
    """What exists: files, words, make targets, names in capitals."""

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def files(self) -> list[str]:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout
        return sorted(name for name in set(listing.splitlines()) if (self.root / name).is_file())

    @cached_property
    def pages(self) -> list[str]:
        return [name for name in self.files if name.endswith(".md")]

    @cached_property
    def text(self) -> str:
        keep = [n for n in self.files if Path(n).suffix in SOURCE or Path(n).name == "CMakeLists.txt"]
        return "\n".join((self.root / name).read_text(errors="replace") for name in keep)

    @cached_property
    def words(self) -> set[str]:
        tests = {f"kpt_{name}_{kind}" for name in self.folders for kind in ("test", "bench")}  # cmake/room.cmake
        return set(re.findall(r"[A-Za-z_]\w*", self.text)) | tests

    @cached_property
    def folders(self) -> set[str]:
        return {part for name in self.files for part in Path(name).parts[:-1]}

    @cached_property
    def stems(self) -> set[str]:
        return {part for name in self.files for part in (Path(name).name, Path(name).stem)}

    @cached_property
    def targets(self) -> set[str]:
        return set(re.findall(r"^([a-z][\w-]*):", (self.root / "Makefile").read_text(), re.MULTILINE))

    @cached_property
    def capitals(self) -> set[str]:
        return set(ENV.findall(self.text))

    def has_path(self, text: str, page: Path) -> bool:
        text = text.rstrip("/")
        above = [folder for folder in page.parents if self.root in (folder, *folder.parents)]
        for base in (*above, *(self.root / name for name in ("src", "src/kpt", "python"))):
            if "*" in text and any(base.glob(text)):
                return True
            if (base / text).exists():
                return True
        if "/" in text:
            return False
        # A bare name: a file anywhere, or a name rule or built library that the source speaks of.
        return text in self.stems or (text.startswith(("*", "lib")) and text in self.text)


class Commands:
    """Flags of our own programs, read from their --help."""

    def __init__(self, root: Path, build: Path):
        self.root, self.build = root, build

    def argv(self, words: list[str]) -> list[str] | None:
        """The start of the real command line (program and verbs), or None for a program that is not ours."""
        if words[0].startswith(".venv/bin/"):
            words = [words[0].removeprefix(".venv/bin/"), *words[1:]]
        if words[:3] == ["python", "-m", "kernel_pytorch"]:
            start, rest = [sys.executable, "-m", "kernel_pytorch"], words[3:]
        elif words[0] == "kernelpytorch":
            start, rest = [sys.executable, "-m", "kernel_pytorch"], words[1:]
        elif words[0] in ("kpt", "build/bin/kpt"):
            start, rest = [str(self.build / "bin/kpt")], words[1:]
        elif words[0] == "python" and len(words) > 1 and words[1].startswith(("tools/", "benchmarks/")):
            return [sys.executable, words[1]]
        else:
            return None
        verbs = 2 if rest[:1] in (["new"], ["history"]) else 1
        return start + [w for w in rest[:verbs] if re.fullmatch(r"[a-z][a-z-]+", w)]

    @cache  # noqa: B019 (one object for the whole run)
    def help(self, argv: tuple[str, ...]) -> str:
        env = {**os.environ, "PYTHONPATH": str(self.root / "python")}
        if argv[0] == str(self.build / "bin/kpt") and not Path(argv[0]).exists():
            return f"[check_docs] got no {argv[0]}, want the built command, try make build"
        done = subprocess.run([*argv, "--help"], cwd=self.root, env=env, capture_output=True, text=True, timeout=120)
        return done.stdout if done.returncode == 0 else f"[check_docs] {shlex.join(argv)} --help failed: {done.stderr}"

    def faults(self, line: str) -> list[str]:
        try:
            words = [w for w in shlex.split(line, comments=True)]
        except ValueError:
            return []
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        argv = self.argv(words) if words else None
        if argv is None or len(words) == 1:
            return []
        text = self.help(tuple(argv))
        if text.startswith("[check_docs]"):
            return [text]
        flags = [w.split("=")[0] for w in words if re.match(r"--?[a-z]", w)]
        return [
            f"got flag {flag}, want one that `{shlex.join(argv[-2:])} --help` lists"
            for flag in flags
            if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text)
        ]


def check_span(tree: Tree, commands: Commands, page: Path, span: str) -> list[str]:
    span = span.strip()
    if "..." in span or "…" in span or re.search(r"<[^>]+>|NAME|^\.[a-z]+$", span):
        return []
    if span.startswith("make "):
        targets = [w for w in span.split()[1:] if "=" not in w]
        return [f"got `make {t}`, want a target of the Makefile" for t in targets if t not in tree.targets]
    if " " in span and "(" not in span.split()[0]:
        return commands.faults(span)
    if span.startswith(("~", "/", "-", "http", "aten.")) or MADE.match(span):
        return []
    if PATH.match(span) and ("/" in span or SUFFIX.search(span)):
        return [] if tree.has_path(span, page) else [f"got path `{span}`, which does not exist"]
    return check_symbol(tree, span)


def check_symbol(tree: Tree, span: str) -> list[str]:
    """Only spans that look like code are names: a call, an underscore, CamelCase or a dotted name."""
    if not SYMBOL.match(span):
        return []
    name = span.split("(")[0]
    parts = re.split(r"\.|::", name)
    codelike = len(parts) > 1 or "(" in span or "_" in name or re.search(r"[a-z][A-Z]", name)
    known = tree.words | tree.folders | tree.stems
    return [f"got name `{span}`, want one of the source" for part in parts if codelike and part not in known]


class Runner:
    """Runs snippets in a folder of links to the tree: what a reader sees is there, what they write is gone after."""

    def __init__(self, tree: Tree, build: Path):
        self.tree, self.build, self.count = tree, build, 0

    def run(self, argv: list[str], text: str) -> subprocess.CompletedProcess:
        path = os.pathsep.join([str(self.tree.root / ".venv/bin"), str(self.build / "bin"), os.environ["PATH"]])
        env = {**os.environ, "PATH": path, "PYTHONPATH": str(self.tree.root / "python")}
        with tempfile.TemporaryDirectory() as folder:
            for name in {Path(name).parts[0] for name in self.tree.files} | {"build"}:
                target = self.build if name == "build" else self.tree.root / name
                (Path(folder) / name).symlink_to(target)
            return subprocess.run(argv, cwd=folder, env=env, input=text, timeout=600, capture_output=True, text=True)

    def bash(self, code: str) -> str | None:
        self.count += 1
        done = self.run(["bash", "-euo", "pipefail"], code)
        return (
            None if done.returncode == 0 else f"the snippet ended with {done.returncode}: {done.stderr.strip()[-800:]}"
        )

    def python(self, name: str, blocks: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """Blocks with the line of their first statement: one program, whose line numbers are those of the page."""
        self.count += len(blocks)
        source = ""
        for start, code in blocks:
            source += "\n" * (start - 1 - source.count("\n")) + code
        program = f"exec(compile({source!r}, {name!r}, 'exec'))"
        done = self.run([sys.executable, "-"], program)
        if done.returncode == 0:
            return []
        lines = [int(n) for n in re.findall(rf'File "{re.escape(name)}", line (\d+)', done.stderr)] or [blocks[0][0]]
        return [(lines[-1], f"the snippet ended with {done.returncode}: {done.stderr.strip()[-800:]}")]


def check_block(tree: Tree, commands: Commands, page: Path, language: str, code: str) -> list[tuple[int, str]]:
    """Faults of the commands in a fenced block, with their line in it."""
    faults = []
    for i, command in enumerate(code.splitlines()):
        command = command.split(" #")[0].strip()
        if " " in command and (language in SHELL or (not language and OURS.match(command))):
            command = re.split(r"  +", command)[0]  # a block of no language has its remarks behind spaces
            faults += [(i, fault) for fault in check_span(tree, commands, page, command)]
    return faults


def check_page(tree: Tree, commands: Commands, name: str, runner: Runner | None) -> list[str]:
    page = tree.root / name
    text = page.read_text()
    faults: list[tuple[int, str]] = []
    program: list[tuple[int, str]] = []

    def line(offset: int) -> int:
        return text.count("\n", 0, offset) + 1

    for match in FENCE.finditer(text):
        language, _, mark = match.group(2).strip().partition(" ")
        start, code = line(match.start(3)), match.group(3)
        faults += [(start + i, fault) for i, fault in check_block(tree, commands, page, language, code)]
        if language in SHELL | {"python"} and mark != "run" and not re.fullmatch(r"norun: \w.*", mark):
            faults.append((start - 1, f"got a {language} block marked {mark!r}, want `run` or `norun: why`"))
        elif mark == "run" and language == "python":
            program.append((start, code))
        elif mark == "run" and runner:
            fault = runner.bash(code)
            faults += [(start - 1, fault)] if fault else []
    if program and runner:
        faults += runner.python(name, program)
    prose = FENCE.sub(lambda m: "\n" * m.group(0).count("\n"), text)
    for match in SPAN.finditer(prose):
        start = prose.count("\n", 0, match.start()) + 1
        faults += [(start, fault) for fault in check_span(tree, commands, page, match.group(1))]
    for match in LINK.finditer(prose):
        target = match.group(1)
        if not target.startswith(("http:", "https:", "mailto:")) and not tree.has_path(target, page):
            faults.append((prose.count("\n", 0, match.start()) + 1, f"got link to {target}, which does not exist"))
    for match in ENV.finditer(text):
        if match.group(0) not in tree.capitals and not match.group(0).endswith("_NAME"):
            faults.append((line(match.start()), f"got {match.group(0)}, want a setting, CMake option or macro"))
    return [f"{name}:{number}: {fault}" for number, fault in faults]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Prove that what the documentation names exists.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--build", type=Path, default=Path("build"), help="build folder with bin/kpt")
    parser.add_argument("--no-run", action="store_true", help="do not run snippets")
    options = parser.parse_args(argv)
    root = options.root.resolve()
    tree, commands = Tree(root), Commands(root, (root / options.build).resolve())
    runner = None if options.no_run else Runner(tree, commands.build)
    faults = [fault for name in tree.pages for fault in check_page(tree, commands, name, runner)]
    for fault in faults:
        print(f"check_docs: {fault}", file=sys.stderr)
    if not faults:
        ran = f"{runner.count} snippets ran" if runner else "no snippet was run"
        print(f"check_docs: {len(tree.pages)} pages, all names exist, {ran}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

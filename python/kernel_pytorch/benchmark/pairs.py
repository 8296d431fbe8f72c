# SPDX-License-Identifier: Apache-2.0
"""Two builds in one paired run: each side in a worker process of its own tree, the sides alternating in rounds A B B A.

Two processes of the same build differ, by where their memory happens to lie. So a comparison has several workers a
side, and rounds go from pair to pair in turn: what a single process is lucky with does not become a verdict.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import OptimizationError
from ..tracking.measure import log_ratio

_WORKER = Path(__file__).with_name("worker.py")
# As clock.SLOT_MS: then the clock and the pipe are below 1 %.
_SLOT_MS = 5.0
# Pairs of processes in a comparison. What they are worth: benchmarks/results, file paired_runs.
PAIRS = 2


@dataclass(frozen=True)
class Tree:
    """A source tree with its build: what one side runs. `prelude`: a Python file that its workers run first."""

    root: Path
    name: str
    prelude: Path | None = None


@dataclass(frozen=True)
class Job:
    """What both sides do."""

    suite: str
    row: str
    system: str
    threads: int
    device: str = "cpu"


class MissingError(Exception):
    """A side cannot run the job on this machine, or does not have its row; the text says why."""


class Worker:
    """A process that holds one side. Ends with close()."""

    def __init__(self, tree: Tree):
        self.tree = tree
        env = os.environ | {"PYTHONPATH": f"{tree.root / 'python'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        command = [sys.executable, "-P", str(_WORKER), *([str(tree.prelude)] if tree.prelude else [])]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        self._process = subprocess.Popen(
            command,
            cwd=tree.root,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.facts: dict[str, Any] = {}
        self.repeats = 1

    def send(self, **command: Any) -> None:
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._died()

    def answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._died()
        found = json.loads(line)
        if "error" in found:
            raise OptimizationError(f"[benchmark] {self.tree.name}: {found['error']}")
        if "missing" in found:
            raise MissingError(f"{self.tree.name}: {found['missing']}")
        return found

    def _died(self) -> None:
        self._process.wait()
        self._errors.seek(0)
        tail = self._errors.read().decode(errors="replace").strip().splitlines()[-3:]
        raise OptimizationError(
            f"[benchmark] the worker of {self.tree.name} ended with {self._process.returncode}: {' / '.join(tail)}"
        )

    def start(self, job: Job) -> None:
        self.send(build=job.__dict__)

    def started(self) -> None:
        self.facts = self.answer()["facts"]

    def warm(self) -> None:
        self.send(warm=True)
        self.facts |= self.answer()
        self.repeats = max(1, math.ceil(_SLOT_MS / max(self.facts["ms"], 1e-4)))

    def ms(self) -> float:
        self.send(time=self.repeats)
        return self.answer()["ms"]

    def memory_mb(self) -> float | None:
        self.send(memory=True)
        return self.answer()["mb"]

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


@dataclass
class Paired:
    """Workers of both sides at one job. Use as a context; `before` and `after` fill with milliseconds."""

    baseline: Tree
    fresh: Tree
    job: Job
    pairs: int = PAIRS
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    def __enter__(self) -> Paired:
        with ExitStack() as stack:
            self._pairs = [
                (self._worker(stack, self.baseline), self._worker(stack, self.fresh)) for _ in range(self.pairs)
            ]
            for worker in self.workers():
                worker.start(self.job)
            for worker in self.workers():
                worker.started()
            for worker in self.workers():  # one after the other: they must not disturb each other
                worker.warm()
            kinds = {w.facts["work"] for w in self.workers()}
            if len(kinds) > 1:
                raise MissingError(f"the model or the inputs of {self.job.row!r} differ between the two revisions")
            repeats = max(w.repeats for w in self.workers())
            for worker in self.workers():
                worker.repeats = repeats
            self._stack = stack.pop_all()
        self._round = 0
        return self

    @staticmethod
    def _worker(stack: ExitStack, tree: Tree) -> Worker:
        worker = Worker(tree)
        stack.callback(worker.close)
        return worker

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def workers(self) -> Iterable[Worker]:
        return [w for pair in self._pairs for w in pair]

    def round(self) -> float:
        """One round of the next pair: its log ratio."""
        a, b = self._pairs[self._round % self.pairs]
        self._round += 1
        a1, b1, b2, a2 = a.ms(), b.ms(), b.ms(), a.ms()
        self.before += (a1, a2)
        self.after += (b1, b2)
        return log_ratio(a1, b1, b2, a2)

    def equal_rounds(self, count: int) -> list[list[float]]:
        """`count` rounds between two processes of the baseline, and as many between two of the new build: what equal
        builds differ by here and now. Needs two pairs."""
        sides = [[a for a, _ in self._pairs], [b for _, b in self._pairs]]
        found: list[list[float]] = [[], []]
        for _ in range(count):
            for rounds, (a, b, *_) in zip(found, sides, strict=True):
                a1, b1, b2, a2 = a.ms(), b.ms(), b.ms(), a.ms()
                rounds.append(log_ratio(a1, b1, b2, a2))
        return found

    def facts(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What the workers of each side said of their builds."""
        return [a.facts for a, _ in self._pairs], [b.facts for _, b in self._pairs]

    def memory_mb(self) -> tuple[list[float | None], list[float | None]]:
        return [a.memory_mb() for a, _ in self._pairs], [b.memory_mb() for _, b in self._pairs]


def median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]

# SPDX-License-Identifier: Apache-2.0
"""One side of a paired run, in a process of its own. Run as a file, with the package of the side's own revision on
PYTHONPATH, so that two revisions with two libraries can alternate. So it leans on little of that package: the suites'
rows, the folder benchmarks/, make_work() and the clock.

Reads commands as JSON lines from stdin, answers each with one line:
  {"build": {suite, row, system, threads, device}}  ->  {"facts": {...}}   or {"missing": reason}
  {"warm": true}                                    ->  {"ms": ..., "steady": ...}
  {"time": repeats}                                 ->  {"ms": ...}        mean of `repeats` calls, after a rest
  {"memory": true}                                  ->  {"mb": ...}        peak of a call, null where it cannot be known
Any failure is {"error": text}; the end of stdin ends the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# As clock.py: thread pools of the other side stop spinning; then shorter calls run once untimed.
_REST_S, _PRIME_MS = 0.005, 100.0
_WARM_UP_S, _WARM_UP_CALLS = 1.5, 400


class Side:
    """A built system and its clock."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._work: Any = None
        self._built: Any = None
        self._clock: Any = None
        self._ms = 0.0

    def build(self, suite: str, row: str, system: str, threads: int, device: str) -> dict[str, Any]:
        import torch

        from kernel_pytorch.benchmark import clock, runner, suites, systems

        torch.set_num_threads(threads)
        rows = {r.name: r for r in suites.on_device(suites.suite(suite), device).rows}
        if row not in rows:
            return {"missing": f"no row {row!r} in {suite}"}
        settings = runner.Settings(device, threads)
        self._work = work = runner.make_work(rows[row], settings, self._folder)
        chosen = systems.select([system])[0]
        if chosen.ours and work.kind == "model":
            work.kind = "kernel"  # the plan itself: whether auto_optimize would take it hangs on a stopwatch of its own
        why = chosen.missing(work)
        if why is not None:
            return {"missing": why}
        start = time.perf_counter()
        self._built = chosen.build(work)
        with work.mode():
            self._built.call()
        seconds = time.perf_counter() - start
        self._clock = clock.make_clock(device)
        return {
            "facts": {
                "compile_s": seconds,
                "launches": self._built.launches,
                "notes": list(self._built.notes),
                "work": _fingerprint(work),
            }
        }

    def warm(self, _: bool) -> dict[str, Any]:
        from kernel_pytorch.benchmark import clock

        with self._work.mode():
            found = clock.warm_up(self._clock, self._built.call, _WARM_UP_S, _WARM_UP_CALLS)
        self._ms = found.ms
        return {"ms": found.ms, "steady": found.steady}

    def time(self, repeats: int) -> dict[str, Any]:
        time.sleep(_REST_S)
        with self._work.mode():
            if self._ms < _PRIME_MS:
                self._built.call()
            return {"ms": self._clock.measure(self._built.call, repeats)}

    def memory(self, _: bool) -> dict[str, Any]:
        from kernel_pytorch.benchmark.meters import PeakMemory

        with PeakMemory(self._work.device) as peak, self._work.mode():
            self._built.call()
            self._clock.synchronise()
        return {"mb": peak.mb}


def _fingerprint(work: Any) -> str:
    """Of weights and inputs: two revisions are compared on the same work only."""
    import torch

    digest = hashlib.sha256()
    tensors = [*work.model.state_dict().values(), *work.sample.tensors()]
    for t in tensors:
        digest.update(f"{t.dtype} {list(t.shape)}".encode())
        digest.update(t.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b"")
    return digest.hexdigest()


def main() -> None:
    # What libraries print goes to stderr: it must not tear the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if len(sys.argv) > 1:
        runpy.run_path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="kpt-worker-") as folder:
        side = Side(Path(folder))
        for line in sys.stdin:
            ((name, value),) = json.loads(line).items()
            try:
                answer = side.build(**value) if name == "build" else getattr(side, name)(value)
            except Exception as error:  # noqa: BLE001  whatever a revision raises is its answer
                answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()

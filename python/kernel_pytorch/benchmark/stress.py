# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch benchmark --type stress`: many callers at once, for a while. Every result is compared, byte by byte,
with what one caller gets alone; memory and latency are watched from the first tenth to the last."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..tracking import verdict
from ..tracking.verdict import Finding
from .meters import resident_mb
from .systems import tensors_of

# Memory may still grow while pools fill; what counts is from the second tenth of the time on.
_SETTLED = 0.2
# Growth that no pool explains: a leak of a kilobyte a call is 10 MB in ten thousand calls.
LEAK_MB = 32.0


@dataclass
class Stress:
    """What came of it. Times in milliseconds."""

    callers: int
    calls: int = 0
    seconds: float = 0.0
    wrong: int = 0
    errors: list[str] = field(default_factory=list)
    samples: list[tuple[float, float]] = field(default_factory=list)  # (seconds since start, ms)
    memory_mb: list[tuple[float, float]] = field(default_factory=list)

    def growth_mb(self) -> float:
        """Resident memory at the end above that of the settled start; medians of a tenth of the readings each."""
        settled = [mb for at, mb in self.memory_mb if at >= _SETTLED * self.seconds]
        if len(settled) < 2:
            return 0.0
        part = max(1, len(settled) // 10)
        return statistics.median(settled[-part:]) - statistics.median(settled[:part])

    def drift(self) -> Finding:
        """The last fifth of the calls against the second one."""
        ordered = [ms for _, ms in sorted(self.samples)]
        part = len(ordered) // 5
        if part < 3:
            return Finding(verdict.NO_VERDICT, reason="too few calls")
        return verdict.historical(ordered[part : 2 * part], ordered[-part:], tolerance=verdict.HISTORICAL_TOLERANCE)

    @property
    def ok(self) -> bool:
        return self.calls > 0 and not self.wrong and not self.errors and self.growth_mb() < LEAK_MB

    def lines(self, name: str) -> list[str]:
        times = sorted(ms for _, ms in self.samples)
        points = ", ".join(f"p{p} {times[min(len(times) - 1, len(times) * p // 100)]:.3f}" for p in (50, 95, 99))
        text = [
            f"{name}: {self.calls} calls by {self.callers} callers in {self.seconds:.1f} s, "
            f"{self.calls / self.seconds:.1f} calls/s" + (f"; ms {points}" if times else ""),
            f"  wrong results {self.wrong}, errors {len(self.errors)}, memory {self.growth_mb():+.1f} MB, "
            f"latency over time {self.drift()}",
        ]
        return [*text, *(f"  {error}" for error in self.errors[:3])]


def stress(call: Callable[[], Any], mode: Callable[[], Any], callers: int, seconds: float) -> Stress:
    """Calls from `callers` threads for a time; stops early at the first error."""
    with mode():
        wanted = [t.clone() for t in tensors_of(call())]
    found = Stress(callers)
    lock, stop = threading.Lock(), threading.Event()
    start = time.perf_counter()

    def caller() -> None:
        while not stop.is_set():
            try:
                begin = time.perf_counter()
                with mode():
                    result = tensors_of(call())
                end = time.perf_counter()
            except Exception as error:  # noqa: BLE001  whatever a caller gets is the finding
                with lock:
                    found.errors.append(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
                stop.set()
                return
            same = len(result) == len(wanted) and all(torch.equal(a, b) for a, b in zip(result, wanted, strict=True))
            with lock:
                found.calls += 1
                found.wrong += not same
                found.samples.append((begin - start, (end - begin) * 1e3))

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    while not stop.wait(max(0.01, seconds / 200)):
        found.memory_mb.append((time.perf_counter() - start, resident_mb()))
        if time.perf_counter() - start >= seconds:
            stop.set()
    for thread in threads:
        thread.join()
    found.seconds = time.perf_counter() - start
    return found


def run_rows(rows: list[Any], systems: list[Any], settings: Any, callers: int, seconds: float) -> int:
    """Each row and system; prints; 0 where all are right, else 1."""
    import tempfile
    from pathlib import Path

    from .runner import make_work

    good = True
    for row in rows:
        if settings.device not in row.devices:
            continue
        with tempfile.TemporaryDirectory(prefix="kpt-stress-") as folder:
            work = make_work(row, settings, Path(folder))
            for system in systems:
                why = system.missing(work)
                if why is not None:
                    print(f"{row.name}, {system.name}: not here: {why}")
                    continue
                found = stress(system.build(work).call, work.mode, callers, seconds)
                good &= found.ok
                print("\n".join(found.lines(f"{row.name}, {system.name}")), flush=True)
    return 0 if good else 1

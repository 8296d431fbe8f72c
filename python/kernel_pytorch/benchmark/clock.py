# SPDX-License-Identifier: Apache-2.0
"""Clocks: the monotonic one on the CPU, events on the GPU. And the warm-up that waits until times no longer drift."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..timing import measure

# A slot is at least this long: the clock, and waking a thread pool that slept while the others ran, are then below 1 %.
SLOT_MS = 5.0
# A pause before each slot, in which the thread pools of the system before stop spinning for more work; then shorter
# calls than this run once untimed, so that caches and threads are theirs again.
REST_S, PRIME_MS = 0.005, 100.0
# Warm-up: windows of three measurements; steady where the medians of two windows in a row differ by less than this.
DRIFT, WINDOW = 0.03, 3
# Written before each timed call of a kernel on the GPU, so that it finds a cold L2 (50 MB on the largest part known).
_FLUSH_BYTES = 256 << 20

Call = Callable[[], Any]


class CpuClock:
    """time.perf_counter_ns around the calls."""

    name = "monotonic"

    def measure(self, call: Call, repeats: int) -> float:
        """Milliseconds of one call."""
        return measure(call, repeats)

    def synchronise(self) -> None:
        """Nothing runs on after a call has returned."""


class CudaClock:
    """CUDA events around the calls; with `cold` each call by itself, behind a write that empties the L2 cache."""

    name = "cuda events"

    def __init__(self, cold: bool = False):
        self._flush = torch.empty(_FLUSH_BYTES, dtype=torch.uint8, device="cuda") if cold else None

    def measure(self, call: Call, repeats: int) -> float:
        """Milliseconds of one call, on the GPU's own clock."""
        if self._flush is None:
            return self._between(call, repeats) / repeats
        spans = []
        for _ in range(repeats):
            self._flush.zero_()
            spans.append(self._between(call, 1))
        return statistics.fmean(spans)

    def _between(self, call: Call, repeats: int) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    def synchronise(self) -> None:
        torch.cuda.synchronize()


Clock = CpuClock | CudaClock


def make_clock(device: str, cold: bool = False) -> Clock:
    return CudaClock(cold) if device == "cuda" else CpuClock()


def graphed(call: Call) -> Call:
    """The call as a replay of a CUDA graph: what is left once the CPU's launches are out of the way. Its result is
    always the same memory. Raises RuntimeError where the call cannot be captured."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


@dataclass(frozen=True)
class WarmUp:
    """How a system was brought to a steady state."""

    ms: float  # of one call, in the last window
    calls: int
    steady: bool


def warm_up(clock: Clock, call: Call, budget_s: float, most_calls: int) -> WarmUp:
    """Calls until the medians of two windows in a row agree, or the time or the number of calls is spent."""
    deadline = time.perf_counter() + budget_s
    repeats = max(1, math.ceil(1.0 / max(clock.measure(call, 1), 1e-4)))
    calls, before = 1, None
    while True:
        now = statistics.median(clock.measure(call, repeats) for _ in range(WINDOW))
        calls += WINDOW * repeats
        steady = before is not None and abs(now - before) <= DRIFT * now
        if steady or calls >= most_calls or time.perf_counter() > deadline:
            return WarmUp(now, calls, steady)
        before = now


def slot(clock: Clock, call: Call, ms: float) -> Callable[[], float]:
    """A measurement of one system within a round; `ms` is what one call takes."""
    repeats = max(1, math.ceil(SLOT_MS / max(ms, 1e-4)))
    prime = ms < PRIME_MS

    def run() -> float:
        time.sleep(REST_S)
        if prime:
            call()
        return clock.measure(call, repeats)

    return run

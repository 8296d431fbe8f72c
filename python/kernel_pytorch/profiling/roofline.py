# SPDX-License-Identifier: Apache-2.0
"""The roof, measured on this machine when it is asked for: no table of parts, no constants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch

from ..benchmark.clock import CpuClock
from ..benchmark.reference import ceiling

# Bytes that a copy moves (read and written together), from what a core's own cache holds to what none holds.
_COPY_BYTES = tuple(1 << n for n in range(18, 29, 2))
# A measurement is at least this long, and the best of several counts.
_SLOT_MS, _TRIES = 2.0, 5
# Nearer to a roof than this, the roof is what bounds a node; below it, neither is.
NEAR = 0.25


@dataclass(frozen=True)
class Roof:
    """`gbs`: (bytes moved, GB/s) of copies, by size: data that stays in a cache moves faster."""

    gflops: float
    gbs: tuple[tuple[int, float], ...]

    def bandwidth(self, size: int) -> float:
        """GB/s for a node that moves so many bytes; between two sizes on a line over their logarithms."""
        points = self.gbs
        if size <= points[0][0]:
            return points[0][1]
        for (low, slow), (high, fast) in zip(points, points[1:], strict=False):
            if size <= high:
                share = (math.log(size) - math.log(low)) / (math.log(high) - math.log(low))
                return slow + share * (fast - slow)
        return points[-1][1]

    def least_ms(self, flops: int, moved: int) -> tuple[str, float]:
        """What would bound this work at best, and the milliseconds that it takes at that roof."""
        compute = flops / self.gflops / 1e6
        memory = moved / self.bandwidth(moved) / 1e6 if moved else 0.0
        return ("compute", compute) if compute > memory else ("memory", memory)


@cache
def measure(threads: int) -> Roof:
    """Once a process for each count of threads. Takes about two seconds on two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        top = ceiling("cpu", "fp32", threads)
        return Roof(top.tflops * 1e3, tuple((size, _copy(size)) for size in _COPY_BYTES))
    finally:
        torch.set_num_threads(before)


def _copy(size: int) -> float:
    """GB/s of a copy that reads and writes `size` bytes together."""
    clock = CpuClock()
    source = torch.randn(size // 8, generator=torch.Generator().manual_seed(0))
    target = torch.empty_like(source)

    def call() -> None:
        target.copy_(source)

    ms = clock.measure(call, 1)
    repeats = max(1, math.ceil(_SLOT_MS / max(ms, 1e-4)))
    return size / min(clock.measure(call, repeats) for _ in range(_TRIES)) / 1e6

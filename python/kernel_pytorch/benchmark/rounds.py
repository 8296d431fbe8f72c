# SPDX-License-Identifier: Apache-2.0
"""Rounds A B C .. C B A over any number of systems; the one place where benchmarks read a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from ..timing import MAX_ROUNDS, MIN_ROUNDS, palindrome
from .clock import Call, Clock, CpuClock, WarmUp, slot, warm_up

WARM_UP_S, WARM_UP_CALLS = 1.5, 400


class CallFailedError(Exception):
    """A system that had worked at first raised in the rounds; `__cause__` is its error."""

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


def _named(name: str, run: Callable[[], float]) -> Callable[[], float]:
    def guarded() -> float:
        try:
            return run()
        except Exception as error:  # a system may fail in any way; who it was must not get lost
            raise CallFailedError(name) from error

    return guarded


def rounds(
    calls: Mapping[str, Call],
    clock: Clock,
    warm: Mapping[str, WarmUp],
    count: int = 0,
    budget_s: float = 10.0,
    progress: Callable[[dict[str, list[float]]], None] | None = None,
) -> dict[str, list[float]]:
    """Milliseconds of a call by system, one sample a round: the mean of the way there and the way back. `count` rounds,
    or with 0 as many as the budget allows, from MIN_ROUNDS to MAX_ROUNDS. CallFailedError where a system fails."""
    slots = [_named(name, slot(clock, call, warm[name].ms)) for name, call in calls.items()]
    samples: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    for done in range(1, (count or MAX_ROUNDS) + 1):
        for name, (there, back) in zip(calls, palindrome(slots), strict=True):
            samples[name].append((there + back) / 2)
        if progress:
            progress(samples)
        if not count and done >= MIN_ROUNDS and time.perf_counter() - start > budget_s:
            break
    return samples


def time_all(calls: Mapping[str, Call], count: int = 0, budget_s: float = 10.0) -> dict[str, list[float]]:
    """Warm-up and rounds on the CPU, for scripts with systems of their own."""
    clock = CpuClock()
    warm = {name: warm_up(clock, call, WARM_UP_S, WARM_UP_CALLS) for name, call in calls.items()}
    return rounds(calls, clock, warm, count, budget_s)

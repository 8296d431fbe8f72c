# SPDX-License-Identifier: Apache-2.0
"""Measures one model by the clock of the benchmark runner, and two models in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..benchmark.clock import WarmUp, make_clock, slot, warm_up
from ..benchmark.meters import PeakMemory
from ..module import OptimizedModule
from ..samples import Sample
from ..timing import palindrome
from .verdict import Finding, until_decided

_WARM_UP_S, _WARM_UP_CALLS = 1.5, 400


@dataclass(frozen=True)
class Measured:
    """What one model took on one sample."""

    samples_ms: list[float]
    memory_mb: float | None  # peak of a call above what was held before; None where the kernel hides it
    compile_s: float | None
    kernel_count: int | None
    steady: bool


def device_of(sample: Sample) -> str:
    return "cuda" if any(t.is_cuda for t in sample.tensors()) else "cpu"


def one(model: torch.nn.Module, sample: Sample, rounds: int, budget_s: float) -> Measured:
    """`rounds` samples, or as many as fit the budget, at least 5."""
    clock = make_clock(device_of(sample))

    def call() -> object:
        return sample.call(model)

    with torch.inference_mode():
        warm = warm_up(clock, call, _WARM_UP_S, _WARM_UP_CALLS)
        take = slot(clock, call, warm.ms)
        end, samples = time.perf_counter() + budget_s, []
        while len(samples) < rounds and (len(samples) < 5 or time.perf_counter() < end):
            samples.append(take())
        with PeakMemory(device_of(sample)) as peak:
            call()
            clock.synchronise()
    compile_s = kernels = None
    if isinstance(model, OptimizedModule):
        compile_s = model.report.compile_seconds.get("total")
        kernels = sum(model.report.kernels.values()) if model.report.kept else None
    return Measured(samples, peak.mb, compile_s, kernels, warm.steady)


def in_turns(
    baseline: torch.nn.Module, fresh: torch.nn.Module, sample: Sample
) -> Callable[[], tuple[float, float, float, float]]:
    """Warms both up; each call of the result is a round A B B A of milliseconds: baseline, new, new, baseline."""
    clock = make_clock(device_of(sample))

    def caller(model: torch.nn.Module) -> Callable[[], object]:
        return lambda: sample.call(model)

    with torch.inference_mode():
        calls = [caller(baseline), caller(fresh)]
        warm: list[WarmUp] = [warm_up(clock, c, _WARM_UP_S, _WARM_UP_CALLS) for c in calls]
    slots = [slot(clock, c, w.ms) for c, w in zip(calls, warm, strict=True)]

    def take() -> tuple[float, float, float, float]:
        with torch.inference_mode():
            (a1, a2), (b1, b2) = palindrome(slots)
        return a1, b1, b2, a2

    return take


def compare(
    baseline: torch.nn.Module, fresh: torch.nn.Module, sample: Sample, **options: object
) -> tuple[Finding, list[float]]:
    """Rounds in turns until decided."""
    take = in_turns(baseline, fresh, sample)
    return until_decided(lambda: log_ratio(*take()), **options)


def log_ratio(baseline1: float, fresh1: float, fresh2: float, baseline2: float) -> float:
    """log(new / baseline) of one round, as round_log_ratio() of the core: drift that is even over the round cancels."""
    return math.log((fresh1 + fresh2) / (baseline1 + baseline2))

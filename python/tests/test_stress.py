# SPDX-License-Identifier: Apache-2.0
"""`benchmark --type stress`: what it finds of callers that get wrong results, errors, or ever more memory."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
import torch

from kernel_pytorch import cli
from kernel_pytorch.benchmark.stress import LEAK_MB, Stress, stress

X = torch.arange(8.0)


def test_right_results_of_many_callers() -> None:
    found = stress(lambda: X * 2, nullcontext, callers=4, seconds=0.3)
    assert found.ok
    assert found.calls == len(found.samples) > 4
    assert (found.wrong, found.errors) == (0, [])
    assert "4 callers" in found.lines("row")[0]


def test_a_result_that_depends_on_who_else_calls_is_found() -> None:
    count = iter(range(10**9))
    lock = threading.Lock()

    def shared() -> torch.Tensor:
        with lock:
            return X + (1e-6 if next(count) == 5 else 0.0)

    found = stress(shared, nullcontext, callers=2, seconds=0.3)
    assert (found.wrong, found.ok) == (1, False)


def test_an_error_ends_it_and_is_named() -> None:
    count = iter(range(10**9))

    def fails() -> torch.Tensor:
        if next(count) > 3:
            raise RuntimeError("out of frames")
        return X

    found = stress(fails, nullcontext, callers=2, seconds=30.0)
    assert found.errors[0] == "RuntimeError: out of frames"
    assert not found.ok
    assert found.seconds < 10


def test_memory_that_grows_after_settling_is_a_leak() -> None:
    leak = Stress(1, 100, 100.0, memory_mb=[(float(t), 500.0 + t) for t in range(100)])
    assert leak.growth_mb() == pytest.approx(72, abs=2)
    assert leak.growth_mb() > LEAK_MB
    assert not leak.ok
    pools = Stress(1, 100, 100.0, memory_mb=[(float(t), 500.0 if t < 15 else 700.0) for t in range(100)])
    assert (pools.growth_mb(), pools.ok) == (0.0, True)


def test_latency_that_rises_over_time_shows() -> None:
    rising = Stress(1, 500, 10.0, samples=[(i / 50, 1.0 + i / 500) for i in range(500)])
    assert rising.drift().outcome == "regression"
    level = Stress(1, 500, 10.0, samples=[(i / 50, 1.0 + (i % 7) / 100) for i in range(500)])
    assert level.drift().outcome == "none"


def test_the_command_runs_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--only", "MLP 32x256", "--systems", "eager", "--callers", "2", "--seconds", "0.3", "--device", "cpu"]
    assert cli.main(["benchmark", "--type", "stress", *words]) == 0
    out = capsys.readouterr().out
    assert "MLP 32x256, eager: " in out
    assert "wrong results 0, errors 0" in out

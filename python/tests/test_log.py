# SPDX-License-Identifier: Apache-2.0
"""What happens is told under the logger `kernel_pytorch`, one event a line, fields as key=value."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

import kernel_pytorch as kpt
from kernel_pytorch import _log, _native

Plant = Callable[[str], None]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """The lines so far, everything from info on; the core's level is put back."""
    with caplog.at_level(logging.INFO, logger="kernel_pytorch"):
        yield lambda: [r.getMessage() for r in caplog.records if r.name == "kernel_pytorch"]
    _native.follow_logger()


def _fields(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)).eval()


def test_an_optimisation_tells_capture_plan_and_verdict(lines: Callable[[], list[str]], any_speed: None) -> None:
    kpt.auto_optimize(_model(), torch.randn(6, 32))
    told = {_fields(line)["event"]: _fields(line) for line in lines()}
    assert told["capture"]["model"] == "Sequential"
    assert told["capture"]["symbols"] == "b"
    assert int(told["plan"]["steps"]) > 0
    assert told["plan"]["where"] == "engine"  # written by the core
    assert float(told["kept"]["speedup"]) > 0
    assert int(told["kept"]["bytes"]) > 0


def test_a_model_that_is_not_kept_says_why(lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel_pytorch.timing.Timing.verdict", lambda self: (False, 'no "gain" at all'))
    kpt.auto_optimize(_model(), torch.randn(6, 32))
    (line,) = [line for line in lines() if line.startswith("event=not_kept")]
    assert line == 'event=not_kept model=Sequential reason="no \\"gain\\" at all"'


def test_a_rewrite_put_back_and_a_fallback_are_told(
    lines: Callable[[], list[str]], plant: Plant, any_speed: None
) -> None:
    class Distances(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.logcumsumexp(self.linear(x).relu(), 1)

    plant("garbage_kernel")
    kpt.auto_optimize(Distances().eval(), torch.randn(6, 8))
    told = lines()
    assert any(line.startswith("event=rewrite_put_back") and "garbage_kernel" in line for line in told)
    assert any(line.startswith("event=fallback op=aten.logcumsumexp") for line in told), told


def test_a_shortage_is_told_by_the_call_that_had_it(
    lines: Callable[[], list[str]], plant: Plant, any_speed: None
) -> None:
    plant("refusing_kernel")
    refuse = ctypes.CDLL(str(_native.find_library().parent / "libkpt_faults.so")).kpt_set_refusals
    refuse(0, 2)
    fast = kpt.auto_optimize(_model(), torch.randn(6, 32))
    before = len(lines())
    refuse(1, 2)
    fast(torch.randn(6, 32))
    (line,) = lines()[before:]
    assert line.startswith("event=oom_retry ")
    assert line.endswith(" where=runtime.memory")


def test_the_core_is_silent_where_the_logger_is(caplog: pytest.LogCaptureFixture, any_speed: None) -> None:
    with caplog.at_level(logging.ERROR, logger="kernel_pytorch"):
        kpt.auto_optimize(_model(), torch.randn(6, 32))
        assert _log.core_level() == "error"
    assert [r for r in caplog.records if r.name == "kernel_pytorch"] == []
    _native.follow_logger()


def test_a_level_that_the_user_set_stays(any_speed: None, lines: Callable[[], list[str]]) -> None:
    _native.set_setting("log", "warn")
    kpt.auto_optimize(_model(), torch.randn(6, 32))
    events = {_fields(line)["event"] for line in lines()}
    assert "capture" in events
    assert "plan" not in events
    _native._users_level.clear()


def test_the_environment_prints_without_any_setup() -> None:
    program = "import torch, kernel_pytorch as kpt; kpt.auto_optimize(torch.nn.Linear(8, 8).eval(), torch.randn(4, 8))"
    child = [sys.executable, "-c", program]
    told = subprocess.run(child, env={**os.environ, "KPT_LOG": "info"}, capture_output=True, text=True, check=True)
    lines = [line for line in told.stderr.splitlines() if line.startswith("kpt INFO event=")]
    assert any("event=plan " in line for line in lines), told.stderr
    silent = subprocess.run(child, env={**os.environ, "KPT_LOG": ""}, capture_output=True, text=True, check=True)
    assert "event=" not in silent.stderr


def test_a_record_has_its_fields_for_other_handlers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kernel_pytorch"):
        _log.event(logging.INFO, "kept", model="A b", ms=1.25, node=None)
    (record,) = caplog.records
    assert record.getMessage() == 'event=kept model="A b" ms=1.25'
    assert record.event == "kept"
    assert record.fields == {"model": "A b", "ms": 1.25}

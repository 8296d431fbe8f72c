# SPDX-License-Identifier: Apache-2.0
"""PerformanceTracker: what is stored, what counts as worse. Times are made up; where models are measured, only what a
measurement says is looked at, never how fast it was."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import kernel_pytorch as kpt
from kernel_pytorch import InputError
from kernel_pytorch.tracking import (
    MetricType,
    PerformanceMetrics,
    PerformanceTracker,
    RegressionResult,
    RegressionSeverity,
    identity,
    measure,
    track_performance,
    verdict,
)

X = torch.randn(4, 16)
NOISE = [1.0, 1.01, 0.99, 1.005, 0.995, 1.002, 0.998, 1.001, 0.999, 1.003, 0.997, 1.004]


@pytest.fixture
def tracker(tmp_path: Path) -> PerformanceTracker:
    return PerformanceTracker(tmp_path / "history.sqlite")


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 16), nn.GELU()).eval()


def made_up(factor: float = 1.0, **more: object) -> PerformanceMetrics:
    samples = [10.0 * n * factor for n in NOISE]
    return PerformanceMetrics(10.0 * factor, 400.0 / factor, batch_size=4, samples_ms=samples, **more)


def found(tracker: PerformanceTracker, model: nn.Module, now: PerformanceMetrics, **options: object) -> dict:
    now = tracker.record_performance(model, X, "toy", metrics=now)
    return {r.metric_type: r for r in tracker.detect_regression(now, **options)}


# ---- storing -------------------------------------------------------------------------------------------------------


def test_a_model_is_measured_and_kept(tracker: PerformanceTracker, model: nn.Module) -> None:
    now = tracker.record_performance(model, X, "toy", rounds=5, budget_s=0.1, accuracy=0.9, commit="abc")
    assert (now.record_id, now.system, now.device, now.batch_size) == (1, "eager", "cpu", 4)
    assert len(now.samples_ms) == 5
    assert now.throughput == pytest.approx(4e3 / now.latency_ms)
    (entry,) = tracker.get_performance_history("toy")
    assert {m.name for m in entry.metrics} >= {"latency", "throughput", "accuracy"}
    assert list(entry.metric("latency").samples) == now.samples_ms
    assert entry.device["threads"] == torch.get_num_threads()
    assert entry.versions["torch"] == torch.__version__


def test_an_optimised_model_brings_kernels_and_compile_time(
    tracker: PerformanceTracker, mlp: tuple[nn.Module, kpt.OptimizedModule]
) -> None:
    original, fast = mlp
    x = torch.randn(6, 32)
    now = tracker.record_performance(fast, x, "mlp", rounds=5, budget_s=0.1)
    assert now.kernel_count == sum(fast.report.kernels.values()) > 0
    assert now.compile_time_s == fast.report.compile_seconds["total"]
    assert now.system.startswith("kernel_pytorch ")
    plain = tracker.record_performance(original, x, "mlp", rounds=5, budget_s=0.1)
    assert plain.key != now.key  # another system is another benchmark
    sample = measure.Sample((x,))
    assert identity.graph_text(fast, sample) == identity.graph_text(original, sample)


def test_the_key_does_not_hold_lines_of_code(model: nn.Module) -> None:
    text = identity.graph_text(model, measure.Sample((X,)))
    assert "aten.gelu" in text
    assert ".py" not in text
    assert "@" not in text


def test_a_model_that_cannot_be_captured_has_a_key_too() -> None:
    class Branch(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.linear = nn.Linear(width, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) if x.sum().item() > 0 else x

    text = identity.graph_text(Branch(16).eval(), measure.Sample((X,)))
    assert text.startswith("not captured\n")
    assert text != identity.graph_text(Branch(8).eval(), measure.Sample((torch.randn(4, 8),)))


def test_a_decorated_maker_records_what_it_makes(tracker: PerformanceTracker) -> None:
    @track_performance("made", tracker, sample_inputs=X, rounds=5, budget_s=0.05)
    def make() -> nn.Module:
        return nn.Linear(16, 4).eval()

    assert isinstance(make(), nn.Linear)
    assert [e.name for e in tracker.get_performance_history()] == ["made"]


# ---- against the history -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "severity"),
    [
        (1.0, RegressionSeverity.NONE),
        (1.03, RegressionSeverity.NONE),  # within what runs of one build differ by
        (1.08, RegressionSeverity.MINOR),
        (1.2, RegressionSeverity.MODERATE),
        (1.4, RegressionSeverity.SEVERE),
        (0.6, RegressionSeverity.NONE),  # a gain is never a regression
    ],
)
def test_severity_follows_the_signed_change(
    tracker: PerformanceTracker, model: nn.Module, factor: float, severity: RegressionSeverity
) -> None:
    tracker.record_performance(model, X, "toy", metrics=made_up(), baseline=True)
    results = found(tracker, model, made_up(factor))
    latency, throughput = results[MetricType.LATENCY], results[MetricType.THROUGHPUT]
    assert latency.severity is severity, latency.message
    assert latency.has_regression is (severity is not RegressionSeverity.NONE)
    assert latency.change_percent == pytest.approx(100 * (factor - 1), abs=0.5)
    assert throughput.change_percent == pytest.approx(100 * (1 / factor - 1), abs=0.5)
    assert throughput.has_regression is latency.has_regression
    assert latency.unexplained_gain is (factor == 0.6)


def test_a_gain_that_was_expected_is_not_flagged(tracker: PerformanceTracker, model: nn.Module) -> None:
    tracker.record_performance(model, X, "toy", metrics=made_up(), baseline=True)
    result = found(tracker, model, made_up(0.6), gain_expected=True)[MetricType.LATENCY]
    assert (result.outcome, result.unexplained_gain) == ("gain", False)


def test_memory_accuracy_compile_time_and_kernels_are_judged(tracker: PerformanceTracker, model: nn.Module) -> None:
    before = made_up(memory_mb=100.0, accuracy=0.9, compile_time_s=2.0, kernel_count=12)
    tracker.record_performance(model, X, "toy", metrics=before, baseline=True)
    now = made_up(memory_mb=115.0, accuracy=0.75, compile_time_s=2.02, kernel_count=13)
    results = found(tracker, model, now)
    severities = {kind.value: r.severity.value for kind, r in results.items()}
    assert severities == {
        "latency": "none",
        "throughput": "none",
        "memory": "moderate",
        "accuracy": "moderate",
        "compile_time": "none",
        "kernel_count": "minor",  # one launch more is real, however small
    }
    assert results[MetricType.ACCURACY].change_percent == pytest.approx(-16.7, abs=0.1)
    assert results[MetricType.MEMORY].baseline_value == 100 * 2**20


def test_a_regression_is_confirmed_by_the_run_before(tracker: PerformanceTracker, model: nn.Module) -> None:
    tracker.record_performance(model, X, "toy", metrics=made_up(), baseline=True)
    assert not found(tracker, model, made_up(1.2))[MetricType.LATENCY].confirmed
    assert found(tracker, model, made_up(1.2))[MetricType.LATENCY].confirmed


def test_without_a_set_baseline_the_oldest_counts_so_drift_adds_up(
    tracker: PerformanceTracker, model: nn.Module
) -> None:
    for factor in (1.0, 1.04, 1.08, 1.12):
        now = tracker.record_performance(model, X, "toy", metrics=made_up(factor))
    assert tracker.get_baseline(now).id == 1
    latency = next(r for r in tracker.detect_regression(now) if r.metric_type is MetricType.LATENCY)
    assert latency.severity is RegressionSeverity.MODERATE
    tracker.set_baseline(tracker.record_performance(model, X, "toy", metrics=made_up(1.12)))
    assert tracker.get_baseline(now).id == 5


def test_tolerance_widens_to_what_runs_of_one_commit_differed_by(tracker: PerformanceTracker, model: nn.Module) -> None:
    for factor in (1.0, 1.1, 1.05):
        tracker.record_performance(model, X, "toy", metrics=made_up(factor), commit="abc")
    assert not found(tracker, model, made_up(1.08))[MetricType.LATENCY].has_regression
    assert found(tracker, model, made_up(1.08), tolerance=0.05)[MetricType.LATENCY].has_regression


def test_warnings_are_for_regressions_only(tracker: PerformanceTracker, model: nn.Module) -> None:
    tracker.record_performance(model, X, "toy", metrics=made_up(), baseline=True)
    slow = tracker.record_performance(model, X, "toy", metrics=made_up(1.3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert {r.metric_type for r in tracker.warn_if_regression(slow)} == {MetricType.LATENCY, MetricType.THROUGHPUT}
    assert str(caught[0].message).startswith("toy: latency 10 -> 13 ms: regression (severe), +30")
    assert str(caught[1].message).startswith("toy: throughput 400 -> 307.692 /s: regression (severe), -23")
    fast = tracker.record_performance(model, X, "toy", metrics=made_up(0.7))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tracker.warn_if_regression(fast) == []


def test_nothing_to_compare_with_is_said(tracker: PerformanceTracker, model: nn.Module) -> None:
    with pytest.raises(InputError, match="not stored"):
        tracker.detect_regression(made_up())
    first = tracker.record_performance(model, X, "toy", metrics=made_up())
    with pytest.raises(InputError, match="the first record of 'toy'"):
        tracker.detect_regression(first)
    assert tracker.get_baseline(first) is None


# ---- in turns ------------------------------------------------------------------------------------------------------


def rounds_of(monkeypatch: pytest.MonkeyPatch, factor: float) -> list[int]:
    """Stands for the clock: rounds of a new model that takes `factor` times as long; how many were taken."""
    taken = []

    def in_turns(baseline: nn.Module, fresh: nn.Module, sample: object) -> object:
        f = 1.0 if fresh is baseline else factor

        def take() -> tuple[float, float, float, float]:
            n = NOISE[len(taken) % len(NOISE)]
            taken.append(f)
            return 10.0, 10.0 * f * n, 10.0 * f, 10.0 * n

        return take

    monkeypatch.setattr(measure, "in_turns", in_turns)
    return taken


def test_models_in_turns_stop_when_decided(
    tracker: PerformanceTracker, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = nn.Sequential(nn.Linear(16, 16), nn.GELU()).eval()
    taken = rounds_of(monkeypatch, 1.2)
    result = tracker.compare_models(model, other, X)
    assert isinstance(result, RegressionResult)
    assert result.severity is RegressionSeverity.MODERATE
    assert result.change_percent == pytest.approx(20, abs=1)
    assert taken.count(1.2) == verdict.MIN_ROUNDS
    assert taken.count(1.0) == verdict.CALIBRATION_ROUNDS
    taken.clear()
    tracker.compare_models(model, other, X)  # the tolerance was kept
    assert taken.count(1.0) == 0
    assert tracker.get_performance_history() == []  # and is no measurement


def test_no_verdict_asks_for_rounds_up_to_the_cap() -> None:
    noisy = iter([0.2, -0.2] * 200)
    found, rounds = verdict.until_decided(lambda: next(noisy), 80, tolerance=0.01)
    assert (found.outcome, len(rounds)) == ("no_verdict", 80)


def test_false_discoveries_are_taken_back() -> None:
    one = verdict.Finding("regression", "minor", p=0.04, reason="slower")
    rest = [verdict.Finding("none", p=0.9)] * 19
    first, *others = verdict.control([one, *rest])
    assert first.outcome == "no_verdict"
    assert "does not stand among 20 benchmarks" in first.reason
    assert others == rest
    assert verdict.control([one])[0].outcome == "regression"


def test_a_real_slowdown_is_found_by_the_clock(tracker: PerformanceTracker) -> None:
    """No speed is asserted but that twice the layers take longer."""
    short = nn.Sequential(*[nn.Linear(256, 256) for _ in range(4)]).eval()
    long = nn.Sequential(*short, *short).eval()
    result = tracker.compare_models(short, long, torch.randn(64, 256), tolerance=0.05, max_rounds=40)
    assert result.severity is RegressionSeverity.SEVERE

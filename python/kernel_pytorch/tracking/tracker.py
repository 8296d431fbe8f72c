# SPDX-License-Identifier: Apache-2.0
"""PerformanceTracker: measure a model, keep the measurement, and say whether it got worse, at known error rates.

>>> tracker = PerformanceTracker()
>>> tracker.record_performance(model, inputs, "encoder", baseline=True)
>>> now = tracker.record_performance(model, inputs, "encoder")
>>> for result in tracker.detect_regression(now):
...     print(result.message)

Two modes. Historical, detect_regression(): against stored samples of the same device and versions. Runs differ
by more than rounds do, so it warns, and a warning counts as confirmed once the run before says the same. Paired,
compare_models(): both models alternate in one run. That is the gate.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, input_error
from ..module import OptimizedModule
from ..samples import Sample, normalise
from . import identity, measure, verdict
from .store import Entry, History, Metric
from .verdict import CALIBRATION_ROUNDS, HISTORICAL_TOLERANCE, MAX_ROUNDS, Finding

_SUITE = "tracker"
_MB = 2**20
# Name of the metric that holds A/A rounds; they are logarithms of ratios, of no use to other comparisons.
_EQUAL = "equal_log_ratio"


class RegressionSeverity(StrEnum):
    """Within the tolerance, below 10 %, below 25 %, above."""

    NONE = "none"
    MINOR = "minor"
    MODERATE = "moderate"
    SEVERE = "severe"


class MetricType(StrEnum):
    """What can get worse, by the names of the history."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    MEMORY = "memory"
    ACCURACY = "accuracy"
    COMPILE_TIME = "compile_time"
    KERNEL_COUNT = "kernel_count"


@dataclass
class PerformanceMetrics:
    """One measurement. None: not measured. `samples_ms` are what latency and throughput are judged by."""

    latency_ms: float
    throughput: float | None = None  # items a second
    memory_mb: float | None = None  # peak of a call
    accuracy: float | None = None  # a share: the caller's own evaluation
    compile_time_s: float | None = None
    kernel_count: int | None = None
    backend: str = "eager"
    optimization_level: str = ""
    device: str = "cpu"
    batch_size: int = 1
    samples_ms: list[float] = field(default_factory=list)
    name: str = ""
    key: str = ""  # of the history
    record_id: int = 0  # 0: not stored

    @property
    def system(self) -> str:
        return f"{self.backend} {self.optimization_level}".strip()

    def metrics(self) -> list[Metric]:
        """As they are stored."""
        found = [Metric("latency", self.samples_ms or [self.latency_ms], self.latency_ms)]
        if self.throughput is not None:
            samples = [1e3 * self.batch_size / ms for ms in self.samples_ms]
            found.append(Metric("throughput", samples or [self.throughput], self.throughput))
        if self.memory_mb is not None:
            found.append(Metric("memory", value=self.memory_mb * _MB))
        for name, value in (
            ("accuracy", self.accuracy),
            ("compile_time", self.compile_time_s),
            ("kernel_count", self.kernel_count),
        ):
            if value is not None:
                found.append(Metric(name, value=float(value)))
        return found


@dataclass(frozen=True)
class RegressionResult:
    """What was found of one metric. `change_percent` is signed and relative to the baseline in the metric's own sense:
    +3 of a latency is 3 % slower, of a throughput 3 % more. A gain is never a regression."""

    has_regression: bool
    severity: RegressionSeverity
    metric_type: MetricType
    baseline_value: float
    current_value: float
    change_percent: float
    message: str
    outcome: str  # none, regression, gain, no_verdict
    confirmed: bool = False  # historical: the run before says the same
    unexplained_gain: bool = False  # nobody said that it should become better: it may compute less than it should
    p: float = 1.0


class PerformanceTracker:
    """Measurements in a history file (default: the user's own). Thread-safe where models are; measuring at the same
    time in two threads measures neither."""

    def __init__(self, database: Path | str | None = None, suite: str = _SUITE):
        self.history = History(database)
        self._suite = suite

    # ---- measuring ------------------------------------------------------------------------------------------------

    def benchmark_model(
        self,
        model: torch.nn.Module,
        sample_inputs: Any = None,
        *,
        rounds: int = 30,
        budget_s: float = 10.0,
        accuracy: float | None = None,
    ) -> PerformanceMetrics:
        """Warms the model up until its times are steady, takes samples (at least 5), measures the memory of a call.
        Stores nothing."""
        if rounds < 5:
            raise input_error("tracking", f"{rounds} rounds", "at least 5: an interval needs them", "rounds=30")
        sample = normalise(model, sample_inputs)[0]
        taken = measure.one(model, sample, rounds, budget_s)
        latency = sorted(taken.samples_ms)[len(taken.samples_ms) // 2]
        batch = next((t.shape[0] for t in sample.tensors() if t.dim()), 1)
        ours = isinstance(model, OptimizedModule)
        return PerformanceMetrics(
            latency,
            1e3 * batch / latency,
            taken.memory_mb,
            accuracy,
            taken.compile_s,
            taken.kernel_count,
            "kernel_pytorch" if ours else "eager",
            model.report.level if ours else "",
            measure.device_of(sample),
            batch,
            taken.samples_ms,
        )

    def record_performance(
        self,
        model: torch.nn.Module,
        sample_inputs: Any = None,
        name: str = "",
        *,
        metrics: PerformanceMetrics | None = None,
        baseline: bool = False,
        commit: str = "",
        **measuring: Any,
    ) -> PerformanceMetrics:
        """Stores `metrics`, or what benchmark_model() measures now. With `baseline` others are held against it from
        now on."""
        sample = normalise(model, sample_inputs)[0]
        if metrics is None:
            metrics = self.benchmark_model(model, sample_inputs, **measuring)
        metrics.name = name or metrics.name or type(model).__name__
        device, versions = identity.device_facts(sample)
        graph = identity.graph_text(model, sample)
        metrics.key = identity.key(metrics.system, graph, sample, device, versions)
        metrics.record_id = self.history.record(
            metrics.key,
            self._suite,
            metrics.name,
            metrics.system,
            metrics.metrics(),
            commit=commit,
            device=device,
            versions=versions,
        )
        if baseline:
            self.history.set_baseline(metrics.record_id)
        return metrics

    # ---- looking back ---------------------------------------------------------------------------------------------

    def get_performance_history(self, name: str = "", limit: int = 0) -> list[Entry]:
        """Records of this tracker's suite, newest first."""
        found = self.history.list(suite=self._suite, name=name, limit=limit)
        return [e for e in found if e.metric(_EQUAL) is None]

    def get_baseline(self, metrics: PerformanceMetrics, metric: str = "") -> Entry | None:
        """The record that was set as baseline for this key; without one the oldest of the key, so that a slow drift
        adds up instead of hiding from run to run. None where there is no other record."""
        return self.history.baseline(metrics.key, metric) or next(
            (e for e in reversed(self._of_key(metrics.key)) if e.id != metrics.record_id), None
        )

    def set_baseline(self, metrics: PerformanceMetrics) -> None:
        if not metrics.record_id:
            raise input_error("tracking", "metrics that are not stored", "a record", "record_performance() first")
        self.history.set_baseline(metrics.record_id)

    def _of_key(self, key: str) -> list[Entry]:
        return [e for e in self.history.list(key=key) if e.metric(_EQUAL) is None]

    # ---- verdicts -------------------------------------------------------------------------------------------------

    def detect_regression(
        self,
        metrics: PerformanceMetrics,
        *,
        tolerance: float | None = None,
        false_alarms: float = 0.01,
        gain_expected: bool = False,
    ) -> list[RegressionResult]:
        """Each metric against its baseline in the history. `tolerance` as a share; None: what runs of one commit
        differed by so far, at least 5 %. InputError where nothing is there to compare with."""
        if not metrics.key:
            raise input_error("tracking", "metrics that are not stored", "a record", "record_performance() first")
        before = [e for e in self._of_key(metrics.key) if e.id != metrics.record_id]
        if not before:
            raise input_error(
                "tracking", f"the first record of {metrics.name!r}", "one to compare with", "recording it again"
            )
        results = []
        for now in metrics.metrics():
            kind = MetricType(now.name)
            base = self.history.baseline(metrics.key, now.name) or before[-1]
            old = base.metric(now.name)
            if old is None or base.id == metrics.record_id:
                continue
            previous = next((e.metric(now.name) for e in before if e.id != base.id), None)
            own = tolerance if tolerance is not None else self._tolerance(before, now.name)
            results.append(_result(kind, old, now, previous, own, false_alarms, gain_expected))
        return results

    def warn_if_regression(self, metrics: PerformanceMetrics, **options: Any) -> list[RegressionResult]:
        """The regressions of detect_regression(), each also as a RuntimeWarning."""
        found = [r for r in self.detect_regression(metrics, **options) if r.has_regression]
        for result in found:
            warnings.warn(f"{metrics.name}: {result.message}", RuntimeWarning, stacklevel=2)
        return found

    def compare_models(
        self,
        baseline: torch.nn.Module,
        model: torch.nn.Module,
        sample_inputs: Any = None,
        *,
        tolerance: float | None = None,
        max_rounds: int = MAX_ROUNDS,
        gain_expected: bool = False,
    ) -> RegressionResult:
        """The gate: both alternate in rounds A B B A until there is a verdict or `max_rounds` are spent. `tolerance`
        None: from rounds of the baseline against itself, taken once for each model and device and kept."""
        sample = normalise(baseline, sample_inputs)[0]
        if tolerance is None:
            tolerance = self.calibrate(baseline, sample, max_rounds)
        take = measure.in_turns(baseline, model, sample)
        before, after = [], []

        def next_round() -> float:
            a1, b1, b2, a2 = take()
            before.extend((a1, a2))
            after.extend((b1, b2))
            return measure.log_ratio(a1, b1, b2, a2)

        found, _ = verdict.until_decided(next_round, max_rounds, tolerance=tolerance, gain_expected=gain_expected)
        middle = [sorted(side)[len(side) // 2] for side in (before, after)]
        return _from_finding(MetricType.LATENCY, middle[0], middle[1], found)

    def calibrate(self, model: torch.nn.Module, sample_inputs: Any = None, max_rounds: int = MAX_ROUNDS) -> float:
        """The tolerance of the paired mode for this model on this device."""
        sample = sample_inputs if isinstance(sample_inputs, Sample) else normalise(model, sample_inputs)[0]
        device, versions = identity.device_facts(sample)
        key = identity.key("equal pairs", identity.graph_text(model, sample), sample, device, versions)
        stored = self.history.list(key=key, limit=1)
        if stored:
            rounds = list(stored[0].metric(_EQUAL).samples)
        else:
            take = measure.in_turns(model, model, sample)
            rounds = [measure.log_ratio(*take()) for _ in range(CALIBRATION_ROUNDS)]
            metric = Metric(_EQUAL, rounds, unit="log", direction="lower")
            name = type(model).__name__
            self.history.record(key, self._suite, name, "equal pairs", [metric], device=device, versions=versions)
        return verdict.calibrate(rounds, max_rounds=max_rounds)

    def _tolerance(self, before: list[Entry], metric: str) -> float:
        """How far runs of one build were apart so far, where at least three of them are known; never below 5 %."""
        runs: dict[str, list[float]] = {}
        for entry in before:
            found = entry.metric(metric)
            if found is not None and found.value and found.value > 0:
                runs.setdefault(entry.commit, []).append(math.log(found.value))
        spread = [max(logs) - min(logs) for logs in runs.values() if len(logs) >= 3]
        return (
            min(0.99, max(HISTORICAL_TOLERANCE, *(math.expm1(s) for s in spread))) if spread else HISTORICAL_TOLERANCE
        )


def _result(
    kind: MetricType,
    old: Metric,
    now: Metric,
    previous: Metric | None,
    tolerance: float,
    false_alarms: float,
    gain_expected: bool,
) -> RegressionResult:
    before, after = float(old.value), float(now.value if now.value is not None else 0.0)
    if kind is MetricType.KERNEL_COUNT:
        found = verdict.exact(before, after, gain_expected=gain_expected)
    elif before <= 0 or after <= 0:
        same = before == after
        found = Finding("none" if same else "no_verdict", reason=f"{before:g} -> {after:g}: no ratio of such values")
    else:
        options = {"direction": old.direction, "tolerance": tolerance, "false_alarms": false_alarms}
        last = _samples(previous) if previous is not None and previous.value and previous.value > 0 else []
        found = verdict.historical(_samples(old), _samples(now), last, gain_expected=gain_expected, **options)
    return _from_finding(kind, before, after, found)


def _samples(metric: Metric) -> list[float]:
    return list(metric.samples) or [float(metric.value)]


_UNITS = {
    "latency": "ms",
    "throughput": "/s",
    "memory": "bytes",
    "accuracy": "",
    "compile_time": "s",
    "kernel_count": "",
}


def _from_finding(kind: MetricType, before: float, after: float, found: Finding) -> RegressionResult:
    unit = _UNITS[kind.value]
    text = f"{kind.value} {before:.6g} -> {after:.6g} {unit}".rstrip() + f": {found.outcome.replace('_', ' ')}"
    if found.severity != "none":
        text += f" ({found.severity})"
    return RegressionResult(
        found.outcome == verdict.REGRESSION,
        RegressionSeverity(found.severity),
        kind,
        before,
        after,
        100 * found.change,
        f"{text}, {found.reason}",
        found.outcome,
        found.confirmed,
        found.unexplained_gain,
        found.p,
    )


@functools.cache
def get_performance_tracker() -> PerformanceTracker:
    """The tracker of the user's own history."""
    return PerformanceTracker()


def detect_regression(metrics: PerformanceMetrics, **options: Any) -> list[RegressionResult]:
    """As PerformanceTracker.detect_regression on the user's own history."""
    return get_performance_tracker().detect_regression(metrics, **options)


def track_performance(
    name: str = "", tracker: PerformanceTracker | None = None, **measuring: Any
) -> Callable[[Callable[..., torch.nn.Module]], Callable[..., torch.nn.Module]]:
    """Decorator of a function that makes a model: each model it makes is measured and recorded. The model's inputs are
    derived, or given as `sample_inputs`."""
    sample_inputs = measuring.pop("sample_inputs", None)

    def wrap(make: Callable[..., torch.nn.Module]) -> Callable[..., torch.nn.Module]:
        @functools.wraps(make)
        def made(*args: Any, **kwargs: Any) -> torch.nn.Module:
            model = make(*args, **kwargs)
            if not isinstance(model, torch.nn.Module):
                raise InputError(f"[tracking] got {type(model).__name__} of {make.__name__}, want a torch.nn.Module")
            keeper = tracker or get_performance_tracker()
            keeper.record_performance(model, sample_inputs, name or make.__name__, **measuring)
            return model

        return made

    return wrap

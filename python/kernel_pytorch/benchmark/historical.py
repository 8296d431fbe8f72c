# SPDX-License-Identifier: Apache-2.0
"""A run against recorded ones: a file of the runner's records, or the history. And a run into the history."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import input_error
from ..tracking import verdict
from ..tracking.store import History, Metric
from ..tracking.verdict import NO_VERDICT, REGRESSION, Finding
from .records import OK, Record, latest, read
from .regression import RowVerdict

_MB = 2**20
# Facts of a machine that may differ between two runs on it.
_LOOSE = ("memory_gb",)


@dataclass(frozen=True)
class Stored:
    """What a row was once."""

    samples_ms: list[float]
    launches: int | None
    machine: dict[str, object]
    median_ms: float


Baseline = dict[tuple[str, str, str], Stored]  # (row, dtype, system)


def from_file(path: Path) -> Baseline:
    """Records of the runner (results/<device>/<suite>.jsonl); of each row and system the last one."""
    try:
        records = latest(read(path))
    except (OSError, ValueError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise input_error(
            "benchmark",
            f"--baseline {path}: {error}",
            "JSON lines that `kernelpytorch benchmark` wrote",
            "its --output",
        ) from error
    found = {
        (r.row, r.dtype, r.system): Stored(r.samples_ms, r.launches, r.machine, r.median_ms) for r in records if r.timed
    }
    if not found:
        raise input_error("benchmark", f"--baseline {path} without a timed record", "one at least", "measuring again")
    return found


def from_history(history: History, records: Sequence[Record]) -> Baseline:
    """For each record the one that was set as baseline of its key, else the oldest of the key."""
    found = {}
    for r in records:
        if not (r.timed and r.key):
            continue
        entry = history.baseline(r.key) or next(reversed(history.list(key=r.key)), None)
        latency = entry.metric("latency") if entry else None
        if latency is not None:
            kernels = entry.metric("kernel_count")
            launches = int(kernels.value) if kernels else None
            found[r.row, r.dtype, r.system] = Stored(list(latency.samples), launches, r.machine, latency.value)
    return found


def record(history: History, records: Iterable[Record]) -> int:
    """Stores what was measured and is right; how many."""
    count = 0
    for r in records:
        if r.status != OK or not r.timed or not r.key:
            continue
        metrics = [Metric("latency", r.samples_ms, r.median_ms)]
        values = {"compile_time": r.cold_s, "kernel_count": r.launches}
        values |= {"memory": r.build_mb * _MB if r.build_mb is not None else None, "error": r.error}
        metrics += [Metric(name, value=float(v)) for name, v in values.items() if v is not None]
        history.record(
            r.key,
            r.suite,
            f"{r.row} {r.dtype}",
            r.system,
            metrics,
            commit=r.commit,
            device=r.machine,
            versions=r.versions,
        )
        count += 1
    return count


def compare(
    records: Sequence[Record],
    baseline: Baseline,
    threshold: float,
    again: Callable[[set[str]], list[Record]],
    gain_expected: bool = False,
) -> list[RowVerdict]:
    """`again` measures rows by name once more: those that warn."""
    first = {(r.row, r.dtype, r.system): _judge(r, baseline, threshold, [], gain_expected) for r in records}
    warned = {key for key, row in first.items() if row.finding.outcome == REGRESSION}
    if warned:
        runs = {(r.row, r.dtype, r.system): r for r in records}
        for r in again({row for row, _, _ in warned}):
            key = (r.row, r.dtype, r.system)
            if key in warned:
                first[key] = _second(_judge(r, baseline, threshold, runs[key].samples_ms, gain_expected))
    return list(first.values())


def _judge(r: Record, baseline: Baseline, threshold: float, previous: list[float], gain_expected: bool) -> RowVerdict:
    stored = baseline.get((r.row, r.dtype, r.system))
    row = RowVerdict(r.row, r.system, Finding(NO_VERDICT), fresh_launches=r.launches, mode="historical")
    if not r.timed or r.status != OK:
        row.finding = Finding(NO_VERDICT, reason=f"now {r.status}: {r.reason}")
    elif stored is None:
        row.finding = Finding(NO_VERDICT, reason="not in the baseline")
    elif _machine(stored.machine) != _machine(r.machine):
        row.finding = Finding(NO_VERDICT, reason="the baseline was measured on another machine")
    else:
        row.baseline_ms, row.fresh_ms, row.tolerance = stored.median_ms, r.median_ms, threshold
        row.baseline_launches = stored.launches
        row.finding = verdict.historical(
            stored.samples_ms or [stored.median_ms],
            r.samples_ms,
            previous,
            tolerance=threshold,
            gain_expected=gain_expected,
        )
    return row


def _machine(facts: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in facts.items() if k not in _LOOSE}


def _second(row: RowVerdict) -> RowVerdict:
    """What is left of a warning after the second run."""
    found = row.finding
    if found.outcome == REGRESSION and found.confirmed:
        return row
    reason = f"one run of two is slower than the baseline; the second: {found.reason}"
    row.finding = replace(found, outcome=NO_VERDICT, severity="none", reason=reason)
    return row

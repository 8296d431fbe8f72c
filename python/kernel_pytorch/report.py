# SPDX-License-Identifier: Apache-2.0
"""What was done, where, why, and what it is worth: typed records, printable and as JSON. Each number was measured."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from .timing import Interval, Timing


@dataclass
class OutputError:
    """One output of one sample against the f64 reference: e = RMSE(x, ref) / RMS(ref)."""

    output: str
    shape: str  # the sample it was judged on
    value: float
    original: float
    bound: float
    cosine: float
    ok: bool
    reason: str


@dataclass
class StepRecord:
    """A change of the graph, or one that was declined or put back."""

    step: str
    where: str
    count: int
    applied: bool
    why: str


@dataclass
class Fallback:
    """A node that PyTorch runs because no kernel here takes it."""

    op: str
    value: str
    reason: str
    where: str


@dataclass
class Report:
    """Made by auto_optimize, kept by the module. `notes` grows when a call had to go to the original."""

    model: str
    level: str
    rule: str = ""
    kept: bool = False
    reason: str = ""
    dtype: str = ""
    threads: int = 0
    speedup: Interval | None = None
    latency_ms: dict[str, float] | None = None
    error: list[OutputError] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)
    kernels: dict[str, int] = field(default_factory=dict)
    fallbacks: list[Fallback] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    compile_seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    evaluation: dict[str, float] | None = None
    notes: list[str] = field(default_factory=list)
    calls_to_original: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        """JSON; a number that is not finite becomes a text, for JSON has none."""
        return json.dumps(_finite(self.to_dict()), indent=2)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def take_timing(self, timing: Timing) -> None:
        self.speedup = timing.interval()
        before, after = timing.latency_ms()
        self.latency_ms = {"before": before, "after": after}
        self.samples = [
            {"shape": s.shape, "before_ms": s.before_ms, "after_ms": s.after_ms, "speedup": asdict(s.interval())}
            for s in timing.shapes
        ]

    def take_plan(self, native: dict[str, Any]) -> None:
        """Steps, kernels, fallbacks and memory out of the native report."""
        self.steps = _group_rewrites(native["rewrites"]) + [
            s for s in self.steps if s.step.startswith(("bisect", "leave one out"))
        ]
        self.kernels = {}
        for step in native["steps"]:
            key = f"{step['provider']}.{step['kernel']}"
            self.kernels[key] = self.kernels.get(key, 0) + 1
        self.fallbacks = [Fallback(f["op"], f["value"], f["reason"], f["where"]) for f in native["fallbacks"]]
        self.memory = native["memory"]

    def __str__(self) -> str:
        return "\n".join([*_head(self), *_step_lines(self), *_tail(self)])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("Report(...)" if cycle else str(self))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def place(where: str) -> str:
    """The class of `path:Class`; else the path without the numbers of repeated layers, encoder.layer.*.output."""
    owner = where.partition(":")[2]
    if owner:
        return owner
    return re.sub(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.|$)", "*", where) or "whole graph"


def _group_rewrites(rewrites: list[dict[str, Any]]) -> list[StepRecord]:
    groups: dict[tuple, StepRecord] = {}
    for r in rewrites:
        key = (_unnumbered(r["what"] or r["pass"]), place(r["where"]), r["applied"], _unnumbered(r["why"]))
        if key in groups:
            groups[key].count += 1
        else:
            groups[key] = StepRecord(key[0], key[1], 1, r["applied"], r["why"])
    # What was done first, then what was not; otherwise in the order in which the passes ran.
    return sorted(groups.values(), key=lambda s: not s.applied)


def _unnumbered(text: str) -> str:
    """Names of values without the number of their layer: linear_7 -> linear."""
    return re.sub(r"\b([A-Za-z]\w*?)_\d+\b", r"\1", text)


def _head(report: Report) -> list[str]:
    machine = report.hardware.get("name") or report.hardware.get("model") or "this machine"
    left = f"{report.model} on {machine}, {report.threads} threads, {report.dtype}, level {report.level}"
    verdict = f"kept: {report.speedup}" if report.kept and report.speedup else ("kept" if report.kept else "not kept")
    return [f"{left}    {verdict}", f"  {report.reason}"]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _step_lines(report: Report) -> list[str]:
    if not report.steps:
        return []
    rows = [("step", "where", "why")]
    for step in report.steps:
        name = step.step + (f"  x{step.count}" if step.count > 1 else "")
        rows.append((name, step.where, step.why if step.applied else _declined(step.why)))
    widths = [min(46, max(len(row[column]) for row in rows)) for column in range(2)]
    return [
        f"  {_cut(step, widths[0]):<{widths[0]}}  {_cut(where, widths[1]):<{widths[1]}}  {why}".rstrip()
        for step, where, why in rows
    ]


def _declined(why: str) -> str:
    return why if why.startswith("declined") else f"declined: {why}"


def _tail(report: Report) -> list[str]:
    lines = []
    if report.kernels:
        counted = sorted(report.kernels.items(), key=lambda item: -item[1])
        lines.append("  kernels: " + ", ".join(f"{name} x{count}" for name, count in counted))
    if report.latency_ms:
        lines.append(f"  time: {report.latency_ms['before']:.3f} ms -> {report.latency_ms['after']:.3f} ms")
        if len(report.samples) > 1:
            for s in report.samples:
                ratio = s["speedup"]
                lines.append(f"    {s['shape']}: {ratio['median']:.2f}x [{ratio['low']:.2f}, {ratio['high']:.2f}]")
    if report.error:
        worst = max(report.error, key=lambda e: (not e.ok, e.value / e.bound if e.bound else 0.0))
        lines.append(
            f"  error vs fp64: {worst.value:.1e} (original {worst.original:.1e}, bound {worst.bound:.1e})"
            f" over {len(report.error)} outputs, {report.rule}"
        )
    lines.append(f"  fallbacks: {_fallbacks(report)}    not checked: {', '.join(report.unchecked) or 'nothing'}")
    if report.compile_seconds:
        lines.append("  seconds: " + ", ".join(f"{name} {spent:.2f}" for name, spent in report.compile_seconds.items()))
    lines += [f"  note: {note}" for note in report.notes]
    return lines


def _fallbacks(report: Report) -> str:
    if not report.fallbacks:
        return "none"
    ops: dict[str, int] = {}
    for f in report.fallbacks:
        ops[f.op] = ops.get(f.op, 0) + 1
    return ", ".join(f"{op} x{count}" for op, count in ops.items())

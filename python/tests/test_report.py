# SPDX-License-Identifier: Apache-2.0
"""Reports as text and JSON."""

from __future__ import annotations

import json

from kernel_pytorch.report import Fallback, OutputError, Report, StepRecord, place
from kernel_pytorch.timing import Interval

_NATIVE = {
    "rewrites": [
        {"key": f"linear_act@g{i}", "pass": "linear_act", "what": "linear_act", "where": f"layer.{i}.mid:Intermediate",
         "why": "epilogue", "applied": True, "values": [f"g{i}"]}
        for i in range(3)
    ]
    + [{"key": "unpad@x", "pass": "unpad", "what": "unpad", "where": "",
        "why": "no padding", "applied": False, "values": []}],
    "steps": [
        {"value": "a", "op": "kpt.linear", "provider": "kpt", "kernel": "gemm", "config": "", "where": "", "stack": ""},
        {"value": "b", "op": "aten.erfinv", "provider": "aten", "kernel": "aten", "config": "", "where": "",
         "stack": ""},
    ],
    "fallbacks": [{"op": "aten.erfinv", "value": "b", "reason": "no kernel", "where": "head:Head", "stack": ""}],
    "memory": {"peak_bytes": 10, "no_reuse_bytes": 20},
}  # fmt: skip


def _report() -> Report:
    report = Report("Model", "conservative", "conservative rule", True, "faster", "float32", 2)
    report.hardware = {"model": "Test CPU"}
    report.speedup = Interval(1.31, 1.28, 1.34)
    report.latency_ms = {"before": 2.0, "after": 1.5}
    report.error = [OutputError("y", "8x16", 3.1e-7, 3.0e-7, 7.0e-7, 1.0, True, "ok")]
    report.take_plan(_NATIVE)
    report.unchecked = ["GPU (no driver found)"]
    return report


def test_equal_steps_of_repeated_layers_are_one_line() -> None:
    report = _report()
    assert report.steps[0] == StepRecord("linear_act", "Intermediate", 3, True, "epilogue")
    assert report.steps[1] == StepRecord("unpad", "whole graph", 1, False, "no padding")
    assert report.kernels == {"kpt.gemm": 1, "aten.aten": 1}
    assert report.fallbacks == [Fallback("aten.erfinv", "b", "no kernel", "head:Head")]


def test_text() -> None:
    assert str(_report()).splitlines() == [
        "Model on Test CPU, 2 threads, float32, level conservative    kept: 1.31x [1.28, 1.34]",
        "  faster",
        "  step            where         why",
        "  linear_act  x3  Intermediate  epilogue",
        "  unpad           whole graph   declined: no padding",
        "  kernels: kpt.gemm x1, aten.aten x1",
        "  time: 2.000 ms -> 1.500 ms",
        "  error vs fp64: 3.1e-07 (original 3.0e-07, bound 7.0e-07) over 1 outputs, conservative rule",
        "  fallbacks: aten.erfinv x1    not checked: GPU (no driver found)",
    ]


def test_json_has_no_bare_infinity() -> None:
    report = _report()
    report.error[0].value = float("inf")
    report.error[0].cosine = float("nan")
    read = json.loads(report.to_json(), parse_constant=lambda word: 1 / 0)
    assert read["error"][0]["value"] == "inf"
    assert read["error"][0]["cosine"] == "nan"
    assert read["speedup"] == {"median": 1.31, "low": 1.28, "high": 1.34}


def test_a_fallback_to_the_worst_output_is_shown() -> None:
    report = _report()
    report.error.append(OutputError("z", "8x16", 5e-2, 3.0e-7, 7.0e-7, 0.9, False, "too far"))
    assert "error vs fp64: 5.0e-02 (original" in str(report)


def test_notes_are_not_repeated() -> None:
    report = _report()
    report.note("a")
    report.note("a")
    assert report.notes == ["a"]


def test_places() -> None:
    assert place("encoder.layer.3.attention:Attention") == "Attention"
    assert place(":Model") == "Model"
    assert place("encoder.layer.3.output") == "encoder.layer.*.output"
    assert place("0") == "*"
    assert place("") == "whole graph"

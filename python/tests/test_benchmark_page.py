# SPDX-License-Identifier: Apache-2.0
"""What is made of records: ratios, the last line, the HTML page, the pages of docs/results. All numbers made up."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kernel_pytorch.benchmark import summary
from kernel_pytorch.benchmark.page import page
from kernel_pytorch.benchmark.plots import Bar, bars
from kernel_pytorch.benchmark.records import FAILED, MISSING, OK, WRONG, Record, append

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import make_results

_LAST_LINE = re.compile(
    r"^geomean vs best rival: \d+\.\d\d \[\d+\.\d\d, \d+\.\d\d\] over \d+ rows; worst row: .+ \d+\.\d\d$"
)


def record(row: str, system: str, ms: float, error: float = 1e-7, status: str = OK, reason: str = "") -> Record:
    made = Record("encoders", row, system, "minilm", "1x16", "fp32", "cpu", status=status, reason=reason, error=error)
    if status in (OK, WRONG):
        made.median_ms, made.low_ms, made.high_ms = ms, ms * 0.9, ms * 1.1
        made.samples_ms, made.rounds = [ms * 0.9, ms, ms, ms, ms * 1.1], 5
        made.cold_s, made.build_mb, made.flops, made.bytes = 1.5, 20.0, 10**9, 10**7
        made.tflops, made.gbs, made.percent_of_ceiling, made.bound = 1 / ms, 10 / ms, 40.0, "compute"
        made.ceiling_tflops, made.ceiling_gbs, made.ceiling_ms, made.energy_mj = 2.0, 30.0, 0.5, "not here: no RAPL"
    made.command = f"kernelpytorch benchmark --suite encoders --only '{row}' --systems eager {system}"
    made.machine, made.versions, made.date, made.commit = {"cpu": "X"}, {"torch": "2"}, "2026-01-01T00:00:00Z", "abc"
    return made


def some() -> list[Record]:
    return [
        record("won", "eager", 4.0),
        record("won", "fast", 2.0),
        record("won", "sloppy", 0.1, error=1e-2),
        record("won", "wrong", 0.1, error=0.3, status=WRONG, reason="error 3.0e-01"),
        record("won", "absent", 0.0, status=MISSING, reason="absent is not installed"),
        record("won", "ours:conservative", 1.0),
        record("lost", "eager", 1.0),
        record("lost", "broken", 0.0, status=FAILED, reason="RuntimeError: <no> such | op"),
        record("lost", "ours:conservative", 2.0),
        record("lost", "ours:balanced", 0.5, error=1e-3),
    ]


def test_the_best_rival_is_the_fastest_that_is_as_exact() -> None:
    won, lost = summary.ratios(some())
    assert (won.row, won.rival, won.median) == ("won", "fast", pytest.approx(2.0))
    assert (lost.rival, lost.median) == ("eager", pytest.approx(0.5))


def test_reduced_precision_of_ours_meets_rivals_of_reduced_precision() -> None:
    sloppy = [*some(), record("won", "ours:aggressive", 1.0, error=1e-2)]
    (ratio,) = summary.ratios(sloppy, "ours:aggressive")
    assert (ratio.rival, ratio.median) == ("sloppy", pytest.approx(0.1))


def test_systems_of_the_same_dtype_count_however_exact_ours_is() -> None:
    compiled = [*some(), record("won", "compile:reduce-overhead", 0.5, error=1e-2)]
    won = next(r for r in summary.ratios(compiled) if r.row == "won")
    assert (won.rival, won.median) == ("compile:reduce-overhead", pytest.approx(0.5))


def test_rivals_of_another_run_do_not_count() -> None:
    before = record("won", "compile:max-autotune", 0.5)
    before.date = "2025-12-31T00:00:00Z"
    won = next(r for r in summary.ratios([before, *some()]) if r.row == "won")
    assert (won.rival, won.median) == ("fast", pytest.approx(2.0))


def test_the_last_line() -> None:
    lines = summary.lines(some())
    assert _LAST_LINE.match(lines[-1])
    assert lines[-1].startswith("geomean vs best rival: 1.00 [")
    assert lines[-1].endswith("over 2 rows; worst row: lost 0.50")
    assert lines[0].startswith("ours:balanced: geomean vs best rival: 2.00")


def test_rows_are_paired_round_by_round() -> None:
    drifting = record("r", "eager", 1.0)
    drifting.samples_ms = [1.0, 2.0, 4.0]
    ours = record("r", "ours:conservative", 1.0)
    ours.samples_ms = [0.5, 1.0, 2.0]
    (ratio,) = summary.ratios([drifting, ours])
    assert (ratio.median, ratio.low, ratio.high) == (pytest.approx(2.0),) * 3


def test_rows_where_ours_failed_are_named() -> None:
    broken = [record("r", "eager", 1.0), record("r", "ours:conservative", 0.0, status=FAILED, reason="KeyError: x")]
    assert summary.lines(broken) == [
        "without ours: r: failed: KeyError: x",
        "geomean vs best rival: no row has both a right result of ours and a rival",
    ]


def test_the_page_is_self_contained_and_complete() -> None:
    text = page(some())
    assert not re.search(r"https?:|//[a-z]|src=|@import|url\(|<link|<script", text)
    for r in some():
        assert r.system in text
    assert "absent is not installed" in text
    assert "RuntimeError: &lt;no&gt; such | op" in text
    assert text.count("<svg") == 2 + 2 * 3  # ratios and roofline; time, memory, compile time of each row
    assert 'class="roof"' in text
    assert "--only &#x27;lost&#x27;" in text
    assert "over 2 rows; worst row: lost 0.50" in text


def test_a_page_where_nothing_is_here() -> None:
    text = page([record("r", name, 0.0, status=MISSING, reason="no GPU") for name in ("eager", "ours:conservative")])
    assert "All systems: not here: no GPU" in text
    assert "<svg" not in text


def test_docs_pages_show_losses_first(tmp_path: Path) -> None:
    append(tmp_path / "results" / "cpu-x" / "encoders.jsonl", some())
    arguments = ["--results", str(tmp_path / "results"), "--docs", str(tmp_path / "docs")]
    assert make_results.main([*arguments, "--check"]) == 1
    assert make_results.main(arguments) == 0
    assert make_results.main([*arguments, "--check"]) == 0
    text = (tmp_path / "docs" / "cpu-x.md").read_text()
    assert text.index("Lost:\n\n- lost: 0.50") < text.index("Won:\n\n- won: 2.00")
    assert "| lost | broken | | | | | | | | | | failed: RuntimeError: &lt;no> such \\| op |" in text
    assert "absent is not installed" in text


def test_the_latest_record_counts(tmp_path: Path) -> None:
    file = tmp_path / "results" / "cpu-x" / "encoders.jsonl"
    append(file, some())
    append(file, [record("lost", "ours:conservative", 0.5)])
    (text,) = make_results.pages(tmp_path / "results").values()
    assert "Lost:" not in text
    assert "- lost: 2.00" in text


def test_plots_stay_inside_their_frames() -> None:
    for svg in re.findall(r"<svg.*?</svg>", page(some())):
        root = ElementTree.fromstring(svg)
        width, height = map(float, root.get("viewBox").split()[2:])
        for shape in root:
            x, y = float(shape.get("x", shape.get("cx", 0))), float(shape.get("y", shape.get("cy", 0)))
            assert 0 <= x + float(shape.get("width", 0)) <= width
            assert 0 <= y + float(shape.get("height", 0)) <= height
            numbers = [float(n) for n in re.findall(r"[MLH]([\d.-]+)", shape.get("d", ""))]
            assert all(0 <= n <= width for n in numbers)


def test_bars_are_as_long_as_their_values() -> None:
    root = ElementTree.fromstring(bars("t", "ms", [Bar("a", 1.0), Bar("b", 4.0, 3.0, 5.0, ours=True)]))
    widths = [float(r.get("width")) for r in root.findall("rect")]
    assert widths[1] / widths[0] == pytest.approx(4.0, rel=1e-3)
    assert [r.get("class") for r in root.findall("rect")] == ["rival", "ours"]

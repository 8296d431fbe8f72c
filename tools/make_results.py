# SPDX-License-Identifier: Apache-2.0
"""Writes docs/results/<device>.md from benchmarks/results/<device>/*.jsonl. Rows that we lose stand first.

    python tools/make_results.py [--results FOLDER] [--docs FOLDER] [--check]

Of each row and system the latest record counts. --check writes nothing and fails where a page is not what it would be.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))

from kernel_pytorch.benchmark.records import OK, Record, by_row, latest, read  # noqa: E402
from kernel_pytorch.benchmark.suites import ALIASES, SUITES  # noqa: E402
from kernel_pytorch.benchmark.summary import last_line, ratios  # noqa: E402

HEAD = (
    "| row | system | ms [95 %] | cold s | warm s | peak MB | call MB | launches | MB moved | error | % of ceiling "
    "| remark |"
)
RULE = "|" + "---|" * HEAD.count(" |")
_NO_NUMBERS = "| " * (HEAD.count(" |") - 2)


def page(device: str, records: list[Record]) -> str:
    """The Markdown of one device."""
    first = records[0]
    machine = ", ".join(f"{k} {v}" for k, v in first.machine.items())
    suites: dict[str, list[Record]] = {}
    for record in records:
        suites.setdefault(record.suite, []).append(record)
    lines = [
        f"# Results: {device}",
        "",
        f"Made by `tools/make_results.py` from `benchmarks/results/{device}/*.jsonl`; do not edit. {machine}.",
        "",
        "Medians over rounds in which every system runs forwards and backwards in turn, 95 % intervals by bootstrap",
        "over rounds. Error: relative RMSE against the model in f64. A ratio above 1: ours is faster than the",
        "best rival whose result is about as exact, or that runs in the row's own dtype (eager, torch.compile).",
        "Peak MB: above what was held before, while it was built and first called; call MB: of a later call, above",
        "what lies there between calls; MB moved: what has to be, weights, inputs and outputs once.",
        "Each number again:",
        "`kernelpytorch benchmark --suite NAME --only ROW`.",
    ]
    for name, of_suite in suites.items():
        lines += ["", f"## {name}", "", *_versions(of_suite), "", *_verdict(of_suite), "", *_table(of_suite)]
    return "\n".join(lines) + "\n"


def _versions(records: list[Record]) -> list[str]:
    commits = sorted({r.commit for r in records if r.commit})
    dates = sorted(r.date[:10] for r in records)
    versions = ", ".join(f"{k} {v}" for k, v in records[-1].versions.items())
    return [f"Commit {', '.join(commits) or 'unknown'}, {dates[0]} to {dates[-1]}; {versions}."]


def _verdict(records: list[Record]) -> list[str]:
    found = sorted(ratios(records), key=lambda r: r.median)
    lines = [f"**{last_line(found)}**"]
    for title, part in (
        ("Lost", [r for r in found if r.high < 1.0]),
        ("No difference shown", [r for r in found if r.low <= 1.0 <= r.high]),
        ("Won", [r for r in found if r.low > 1.0]),
    ):
        if part:
            lines += ["", f"{title}:", "", *(f"- {r.row}: {r} against {r.rival}" for r in part)]
    return lines


def _table(records: list[Record]) -> list[str]:
    lines = [HEAD, RULE]
    for row, of_row in by_row(records).items():
        absent = {(r.status, r.reason) for r in of_row}
        if len(absent) == 1 and of_row[0].status != OK:
            lines.append(f"| {row} | all {_NO_NUMBERS}{of_row[0].status}: {_cell(of_row[0].reason)} |")
            continue
        lines += [_line(r) for r in of_row]
    return lines


def _line(r: Record) -> str:
    told = "; ".join(note for note in r.notes if note.startswith(("busy machine", "original returned")))
    remark = _cell(told) if r.status == OK else f"{r.status}: {_cell(r.reason)}"
    if not r.timed:
        return f"| {r.row} | {r.system} {_NO_NUMBERS}{remark} |"
    time = f"{r.median_ms:.3f} [{r.low_ms:.3f}, {r.high_ms:.3f}]"
    numbers = (_number(r.cold_s, ".2f"), _number(r.warm_s, ".2f"), _number(r.build_mb, ".0f"), _number(r.run_mb, ".0f"))
    least = None if r.bytes is None else r.bytes / 1e6
    rest = (_number(r.launches, "d"), _number(least, ".3g"), _number(r.error, ".1e"))
    rest = (*rest, _number(r.percent_of_ceiling, ".0f"))
    return f"| {r.row} | {r.system} | {time} | {' | '.join((*numbers, *rest))} | {remark} |"


def _number(value: float | int | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _cell(text: str) -> str:
    """Error messages hold what Markdown would read as structure."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


# ---- benchmarks/test_gpu.py ------------------------------------------------------------------------------------------


def gpu_section(path: Path) -> list[str]:
    """What `make test-gpu` looked at last: counts by part, every model, and whatever is not ok."""
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        kept[line["part"], line["name"]] = line
    found = list(kept.values())
    commits = ", ".join(sorted({line["commit"] for line in found if line["commit"]})) or "unknown"
    driver = found[-1]["machine"].get("driver", "unknown")
    lines = ["", "## make test-gpu", "", f"Commit {commits}; driver {driver}.", "", "| part | result |", "|---|---|"]
    for part in dict.fromkeys(line["part"] for line in found):
        states = [line["status"] for line in found if line["part"] == part]
        lines.append(f"| {part} | {', '.join(f'{states.count(s)} {s}' for s in dict.fromkeys(states))} |")
    shown = [line for line in found if line["part"] == "models" or {"call_us", "first_result_s"} & line.keys()]
    amiss = [line for line in found if line not in shown and line["status"] != OK]
    if amiss:
        lines += ["", *(f"- {x['part']} {x['name']}: {x['status']}: {_cell(_why(x))}" for x in amiss)]
    hosts = [line for line in found if line["part"] == "host" and "call_us" in line]
    if hosts:
        lines += ["", "Microseconds that a call keeps the host, at batch 1 (ok: a call 10 at most):", ""]
        lines += [
            "| row | a call | with other memory at each | replay of PyTorch's graph of the original | commit | remark |"
        ]
        lines += ["|---|---|---|---|---|---|"]
        for x in hosts:
            times = " | ".join(f"{x[key]:.1f}" for key in ("call_us", "other_memory_us", "replay_of_eager_us"))
            lines.append(f"| {x['name']} | {times} | {_from(x)}")
    warm = [line for line in found if "first_result_s" in line]
    if warm:
        lines += [
            "",
            "Seconds to the first result in a second process, beyond PyTorch and weights (ok: 2 at most):",
            "",
        ]
        lines += ["| row | seconds | commit | remark |", "|---|---|---|---|"]
        lines += [f"| {x['name']} | {x['first_result_s']:.2f} | {_from(x)}" for x in warm]
    models = [line for line in found if line["part"] == "models"]
    if models:
        lines += ["", "| model | eager ms | ours ms | ratio [95 %] | error (eager) | ready s | launches | remark |"]
        lines += ["|---|---|---|---|---|---|---|---|", *map(_model, sorted(models, key=_ratio))]
    return lines


def _from(line: dict[str, Any]) -> str:
    return f"{line['commit']} | {_cell(line.get('remark', ''))} |"


def _why(line: dict[str, Any]) -> str:
    return str(line.get("reason") or "; ".join(line.get("first") or []))[:300]


def _ratio(line: dict[str, Any]) -> float:
    return (line.get("ratio") or [0.0])[0]


def _model(line: dict[str, Any]) -> str:
    remark = "" if line["status"] == OK else f"{line['status']}: {_cell(_why(line))}"
    if not line.get("ratio"):
        return f"| {line['name']} | | | | | | | {remark} |"
    if line.get("together"):
        remark = f"{remark}; {line['together']} models at a time".strip("; ")
    median, low, high = line["ratio"]
    times = f"{line['eager_ms']:.3f} | {line['ours_ms']:.3f} | {median:.2f} [{low:.2f}, {high:.2f}]"
    error = f"{_number(line['error'], '.1e')} ({_number(line['eager_error'], '.1e')})"
    before, after = (_number(count, "d") for count in line["launches"])
    return (
        f"| {line['name']} | {times} | {error} | {_number(line['ready_s'], '.1f')} | {before} to {after} | {remark} |"
    )


# ---- benchmarks/cuda/rows_speed.cpp ----------------------------------------------------------------------------------


def rows_section(path: Path) -> list[str]:
    """Our row kernels beside a copy, as kpt_rows_speed told last."""
    found = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    head = found[-1]
    lines = ["", "## Rows far larger than the L2 cache", ""]
    lines += [
        f"`kpt_rows_speed` on {head['gpu']}, driver {head['driver']}, commit {head['commit']}: each operand once,",
        f"beside the faster of two copies of half a gigabyte, {head['copy_gbs']:.0f} GB/s.",
        "",
        "| kernel | rows, bf16 | us | GB/s | of a copy |",
        "|---|---|---|---|---|",
    ]
    for r in found:
        speed = f"{r['us']:.1f} | {r['gbs']:.0f} | {r['percent']:.0f} %" if "us" in r else f"| | {_cell(r['error'])}"
        lines.append(f"| {r['case']} | {r.get('sizes', '')} | {speed} |")
    return lines


# Files of the runner; beside them lie results of other scripts, which have no page.
_RUNS = {*SUITES, *ALIASES, "model"}


def pages(results: Path) -> dict[str, str]:
    """Page by device."""
    found = {}
    for folder in sorted(f for f in results.glob("*") if f.is_dir()):
        files = [f for f in sorted(folder.glob("*.jsonl")) if f.stem in _RUNS]
        records = latest(r for file in files for r in read(file))
        tested = folder / "test_gpu.jsonl"
        rows = folder / "rows.jsonl"
        sections = [*(rows_section(rows) if rows.exists() else []), *(gpu_section(tested) if tested.exists() else [])]
        checks = "\n".join([*sections, ""]) if sections else ""
        if records:
            found[folder.name] = page(folder.name, records) + checks
        elif checks:
            found[folder.name] = f"# Results: {folder.name}\n{checks}"
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Pages of results from recorded measurements.")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is out of date")
    options = parser.parse_args(argv)
    stale = []
    for device, text in pages(options.results).items():
        path = options.docs / f"{device}.md"
        if options.check:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(path)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"written: {path}")
    for path in stale:
        print(f"make_results: {path} is out of date, try python tools/make_results.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

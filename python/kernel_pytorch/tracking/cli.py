# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch history`: lists, shows, plots and compares stored measurements. Only baseline and import write.

Exit codes: 0 done (compare: nothing worse), 1 an error (compare: a regression), 2 wrong usage (compare: no verdict).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import Entry, History, Metric

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH, _BINS = 60, 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", type=Path, help="the history file (default: the user's own)")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    listing = verbs.add_parser("list", help="records, newest first")
    _filters(listing)
    listing.add_argument("--json", action="store_true", help="print JSON lines, with raw samples")

    show = verbs.add_parser("show", help="one record in full, its samples as a histogram")
    show.add_argument("record", type=int)
    show.add_argument("--json", action="store_true", help="print JSON")

    plot = verbs.add_parser("plot", help="a metric over the records of a benchmark, oldest first")
    _filters(plot)
    plot.add_argument("--metric", default="latency")

    compare = verbs.add_parser("compare", help="two records, metric by metric, with verdicts")
    compare.add_argument("baseline", type=int)
    compare.add_argument("fresh", type=int)
    compare.add_argument("--previous", type=int, help="the run before the fresh one: a regression in both is confirmed")
    compare.add_argument("--tolerance", type=float, default=0.05, help="what runs of one build differ by (0.05)")
    compare.add_argument("--json", action="store_true", help="print JSON")

    baseline = verbs.add_parser("baseline", help="make a record the one that others of its key are held against")
    baseline.add_argument("record", type=int)
    baseline.add_argument("--metric", default="", help="for this metric only")

    for name, text in (("export", "records as JSON lines"), ("import", "JSON lines of another history")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("file", type=Path)
        if name == "export":
            _filters(verb)
    verbs.add_parser("check", help="is the file whole?")
    parser.set_defaults(run=run)


def _filters(parser: argparse.ArgumentParser) -> None:
    for name in ("suite", "name", "system", "commit", "key"):
        parser.add_argument(f"--{name}", default="", help="only records of this")
    parser.add_argument("--since", default="", help='"2026-01" or longer')
    parser.add_argument("--until", default="", help="likewise; both ends are in")
    parser.add_argument("--limit", type=int, default=0, help="at most so many")


def _filter(options: argparse.Namespace) -> dict[str, Any]:
    names = ("suite", "name", "system", "commit", "key", "since", "until", "limit")
    return {n: getattr(options, n) for n in names if getattr(options, n)}


def run(options: argparse.Namespace) -> int:
    """One verb; the exit code."""
    from .store import History

    writes = options.verb in ("baseline", "import")
    history = History(options.database, "write" if writes else "read")
    return _VERBS[options.verb](history, options)


def _list(history: History, options: argparse.Namespace) -> int:
    entries = history.list(**_filter(options), samples=options.json)
    if options.json:
        for entry in entries:
            print(json.dumps(asdict(entry)))
        return 0
    rows = [("id", "when", "suite", "benchmark", "system", "commit", "value")]
    rows += [
        (str(e.id), e.created[:16].replace("T", " "), e.suite, e.name, e.system, e.commit[:10], _headline(e))
        for e in entries
    ]
    print(_columns(rows) if entries else f"no such record in {history.path}")
    return 0


def _headline(entry: Entry) -> str:
    metric = entry.metric("latency") or (entry.metrics[0] if entry.metrics else None)
    return f"{metric.name} {metric.value:.6g} {metric.unit}" if metric else ""


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _show(history: History, options: argparse.Namespace) -> int:
    entry = history.get(options.record)
    if options.json:
        print(json.dumps(asdict(entry), indent=2))
        return 0
    print(f"record {entry.id}: {entry.suite} / {entry.name} / {entry.system}")
    print(f"when     {entry.created}    commit {entry.commit or 'unknown'}")
    print(f"key      {entry.key}")
    for name, facts in (("device", entry.device), ("versions", entry.versions)):
        print(f"{name:<8} {', '.join(f'{k} {v}' for k, v in facts.items())}")
    for metric in entry.metrics:
        print(f"\n{metric.name} {metric.value:.6g} {metric.unit} ({metric.direction} is better)")
        if len(metric.samples) >= 3:
            print(_histogram(metric))
    return 0


def _histogram(metric: Metric) -> str:
    """How the samples spread, and how they went over time."""
    low, high = min(metric.samples), max(metric.samples)
    width = (high - low) / _BINS or 1.0
    counts = [0] * _BINS
    for x in metric.samples:
        counts[min(_BINS - 1, int((x - low) / width))] += 1
    spread = "".join(_block(c, 0, max(counts)) for c in counts)
    quartiles = ", ".join(f"{q:.6g}" for q in statistics.quantiles(metric.samples, n=4))
    return (
        f"  spread  {low:.5g} {spread} {high:.5g}\n  in time {sparkline(metric.samples)}\n"
        f"  {len(metric.samples)} samples, quartiles {quartiles}"
    )


def _block(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.0
    return _BLOCKS[0 if value == low == 0 else 1 + min(7, int(8 * share))]


def sparkline(values: tuple[float, ...] | list[float], width: int = _WIDTH) -> str:
    """The values in blocks, medians of neighbours where there are more than `width`."""
    step = max(1.0, len(values) / width)
    count = min(width, len(values))
    merged = [
        statistics.median(values[int(i * step) : max(int(i * step) + 1, int((i + 1) * step))]) for i in range(count)
    ]
    low, high = min(merged), max(merged)
    return "".join(_block(v, low, high) if high > low else _BLOCKS[4] for v in merged)


def _plot(history: History, options: argparse.Namespace) -> int:
    entries = [e for e in reversed(history.list(**_filter(options))) if e.metric(options.metric)]
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.suite, entry.name, entry.system), []).append(entry)
    if not groups:
        print(f"no record with {options.metric} in {history.path}")
    for names, members in groups.items():
        print(f"{' / '.join(names)}: {options.metric}, {members[0].metric(options.metric).unit}")
        print(_lines(members, options.metric))
    return 0


def _lines(entries: list[Entry], name: str) -> str:
    """A line for each record: median as a dot, quartiles as a bar, all to one scale from the least to the largest."""
    spans = []
    for entry in entries:
        metric = entry.metric(name)
        samples = list(metric.samples) or [metric.value]
        low, _, high = statistics.quantiles(samples, n=4) if len(samples) > 1 else (samples[0],) * 3
        spans.append((min(low, metric.value), metric.value, max(high, metric.value)))
    least, most = min(s[0] for s in spans), max(s[2] for s in spans)
    scale = (_WIDTH - 1) / (most - least) if most > least else 0.0
    rows = []
    for entry, (low, middle, high) in zip(entries, spans, strict=True):
        line = [" "] * _WIDTH
        a, m, b = (round((x - least) * scale) for x in (low, middle, high))
        line[a : b + 1] = "─" * (b + 1 - a)
        line[m] = "●"
        rows.append(f"  {entry.id:>5} {entry.created[:10]} {entry.commit[:8]:<8} │{''.join(line)}│ {middle:.5g}")
    return "\n".join([*rows, f"  {'':>25} {least:<{_WIDTH // 2}.5g}{most:>{_WIDTH // 2}.5g}"])


def _compare(history: History, options: argparse.Namespace) -> int:
    from .verdict import NO_VERDICT, REGRESSION

    fields = {"baseline": options.baseline, "fresh": options.fresh, "tolerance": options.tolerance}
    if options.previous is not None:
        fields["previous"] = options.previous
    before, after = history.get(options.baseline), history.get(options.fresh)
    found = history.compare(**fields)
    if options.json:
        print(json.dumps(found))
    else:
        _print_comparison(before, after, found)
    outcomes = {m["finding"]["outcome"] for m in found}
    if REGRESSION in outcomes:
        return 1
    return 2 if not outcomes or NO_VERDICT in outcomes else 0


def _print_comparison(before: Entry, after: Entry, found: list[dict[str, Any]]) -> None:
    for name, entry in (("baseline", before), ("fresh", after)):
        print(
            f"{name:<8} {entry.id}: {entry.name} / {entry.system}, {entry.created[:16]}, commit {entry.commit or '-'}"
        )
    if before.key != after.key:
        print("the keys differ: another graph, shape, device or version; the numbers may not be about the same thing")
    rows = [("metric", "baseline", "fresh", "unit", "change", "verdict", "why")]
    for m in found:
        f = m["finding"]
        verdict = f["outcome"].replace("_", " ") + (f" ({f['severity']})" if f["severity"] != "none" else "")
        change = f["change"] if f["change"] is not None and math.isfinite(f["change"]) else 0.0
        rows.append(
            (
                m["metric"],
                f"{m['baseline']:.6g}",
                f"{m['fresh']:.6g}",
                m["unit"],
                f"{change:+.1%}",
                verdict,
                f["reason"],
            )
        )
    print(_columns(rows))


def _baseline(history: History, options: argparse.Namespace) -> int:
    entry = history.set_baseline(options.record, options.metric)
    print(f"record {entry.id} is the baseline of {entry.name} / {entry.system}")
    return 0


def _export(history: History, options: argparse.Namespace) -> int:
    print(f"{history.export_jsonl(options.file, **_filter(options))} records in {options.file}")
    return 0


def _import(history: History, options: argparse.Namespace) -> int:
    added, skipped = history.import_jsonl(options.file)
    print(f"{added} records added, {skipped} were there")
    return 0


def _check(history: History, options: argparse.Namespace) -> int:
    found = history.check()
    print(f"{history.path}: {found}")
    return 0 if found == "ok" else 1


_VERBS = {
    "list": _list,
    "show": _show,
    "plot": _plot,
    "compare": _compare,
    "baseline": _baseline,
    "export": _export,
    "import": _import,
    "check": _check,
}

# SPDX-License-Identifier: Apache-2.0
"""One HTML page of a run: plots and every number, self-contained: no script, no font, no image from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence

from .live import HEADINGS, cells
from .plots import Bar, bars, roofline
from .records import OK, Record, by_row
from .summary import headline, lines, ratios

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1,h2,h3{line-height:1.2}h2{margin-top:2.5rem;border-top:1px solid #ddd;padding-top:1rem}
table{border-collapse:collapse;font-size:13px;width:100%}td,th{padding:2px 8px;text-align:right;white-space:nowrap}
td:first-child,th:first-child,td:last-child{text-align:left;white-space:normal}tr:nth-child(even){background:#f6f6f6}
svg{width:100%;max-width:760px;display:block;margin:.6rem 0}text{font:12px system-ui,sans-serif;fill:#333}
.title{font-weight:600}.label{text-anchor:end}.tick{text-anchor:middle}.ours{fill:#0b7285}.rival{fill:#adb5bd}
.whisker{stroke:#212529;fill:none;stroke-width:1.4}.roof{stroke:#c92a2a;fill:none;stroke-width:2}
.frame{fill:none;stroke:#ccc}.loss{color:#c92a2a}code{font-size:12px}pre{background:#f6f6f6;padding:.6rem;overflow:auto}
@media(prefers-color-scheme:dark){body{background:#16181a;color:#e6e6e6}text{fill:#ccc}tr:nth-child(even),pre{background:#202326}
h2{border-color:#444}.whisker{stroke:#eee}.frame{stroke:#555}.ours{fill:#22b8cf}.rival{fill:#5c636a}.loss{color:#ff8787}}
"""


def page(records: Sequence[Record]) -> str:
    """The whole page; records of one device, any number of suites."""
    first = records[0]
    machine = ", ".join(f"{k} {v}" for k, v in first.machine.items())
    versions = ", ".join(f"{k} {v}" for k, v in first.versions.items())
    suites: dict[str, list[Record]] = {}
    for record in records:
        suites.setdefault(record.suite, []).append(record)
    body = [f"<h1>KernelPyTorch benchmarks: {html.escape(', '.join(suites))}</h1>",
            f"<p>{html.escape(machine)}<br>{html.escape(versions)}<br>commit {html.escape(first.commit or 'unknown')}, "
            f"{html.escape(first.date)}</p>",
            "<p>Times are medians over rounds in which every system runs forwards and backwards in turn, with 95 % "
            "intervals (bootstrap over rounds). Errors are relative to a reference in f64. A rival counts against ours "
            "where its result is about as exact, or where it runs in the row's own dtype.</p>"]  # fmt: skip
    for name, of_suite in suites.items():
        body += _suite(name, of_suite)
    head = f'<meta charset="utf-8"><title>KernelPyTorch benchmarks</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _suite(name: str, records: list[Record]) -> list[str]:
    parts = [f"<h2>{html.escape(name)}</h2>", f"<pre>{html.escape(chr(10).join(lines(records)))}</pre>"]
    found = ratios(records)
    if found:
        items = [Bar(f"{r.row}", r.median, r.low, r.high, r.median >= 1.0, f"{r} vs {r.rival}") for r in found]
        parts.append(bars(f"{headline(records)} against the best rival, above 1 is faster", "x", items))
    parts.append(roofline(records))
    for row, of_row in by_row(records).items():
        parts += _row(row, of_row)
    return parts


def _row(name: str, records: list[Record]) -> list[str]:
    first = records[0]
    parts = [f"<h3>{html.escape(name)}</h3>"]
    if len({(r.status, r.reason) for r in records}) == 1 and first.status != OK:
        return [*parts, f"<p>All systems: {html.escape(first.status)}: {html.escape(first.reason)}</p>"]
    timed = [r for r in records if r.timed]

    def made(value: str, form: str = ".4g") -> list[Bar]:
        kept = [(r, getattr(r, value)) for r in timed if getattr(r, value) is not None]
        return [Bar(r.system, v, ours=r.system.startswith("ours"), text=format(v, form)) for r, v in kept]

    times = [Bar(r.system, r.median_ms, r.low_ms, r.high_ms, r.system.startswith("ours")) for r in timed]
    parts.append(bars("Time of a call", "ms", times))
    parts.append(bars("Peak memory while building and calling", "MB", made("build_mb")))
    parts.append(bars("Cold compile and first call", "s", made("cold_s")))
    parts.append(_table(records))
    parts += [f"<p>{html.escape(r.system)}: {html.escape('; '.join(r.notes))}</p>" for r in records if r.notes]
    return parts


def _table(records: list[Record]) -> str:
    extra = ("TFLOP/s", "GB/s", "% of ceiling", "energy mJ", "again")
    head = "".join(f"<th>{html.escape(h)}</th>" for h in (*HEADINGS[:-1], *extra, HEADINGS[-1]))
    body = []
    for r in records:
        numbers = ("", "", "", "")
        if r.timed:
            energy = f"{r.energy_mj:.1f}" if isinstance(r.energy_mj, float) else str(r.energy_mj)
            numbers = (f"{r.tflops:.3g}", f"{r.gbs:.3g}", f"{r.percent_of_ceiling:.0f} ({r.bound})", energy)
        shown = cells(r)
        fields = [html.escape(c) for c in (*shown[:-1], *numbers)]
        fields.append(f"<details><summary>command</summary><code>{html.escape(r.command)}</code></details>")
        fields.append(html.escape(shown[-1]))
        kind = "" if r.status == OK else ' class="loss"'
        body.append(f"<tr{kind}>{''.join(f'<td>{f}</td>' for f in fields)}</tr>")
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"

# SPDX-License-Identifier: Apache-2.0
"""A profile as one HTML page: where the time goes, what bounds it. Self-contained: no script, font or image from
elsewhere."""

from __future__ import annotations

import html

from ..benchmark.page import STYLE
from ..benchmark.plots import Bar, bars, roofline
from ..benchmark.records import Record
from .collect import Node, Profile
from .text import head

_TOP = 20
_COLOURS = {"compute": "#0b7285", "memory": "#e67700", "neither": "#c92a2a", "unknown": "#868e96"}
_MEANING = {
    "compute": "the arithmetic units are the limit",
    "memory": "moving bytes is the limit",
    "neither": "below a quarter of both roofs: start-up, latency, or a kernel that could be better",
    "unknown": "an operator whose arithmetic nobody counts",
}


def page(p: Profile) -> str:
    lines = head(p)
    body = [
        f"<h1>Where the time goes: {html.escape(p.model)}</h1>",
        "".join(f"<p>{html.escape(line)}</p>" for line in lines),
        _strip(p),
        bars("Time of the longest nodes", "ms", [_bar(n) for n in sorted(p.nodes, key=lambda n: -n.ms)[:_TOP]]),
        roofline([_record(n, p) for n in p.nodes if n.flops]),
        _memory(p),
        "<h2>Every node, in order</h2>",
        _table(p),
    ]
    head_ = f'<meta charset="utf-8"><title>Profile of {html.escape(p.model)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head_}</head><body>{"".join(body)}</body></html>\n'


def _strip(p: Profile) -> str:
    """One call from left to right, each step as wide as it is long, coloured by what bounds it."""
    width, x, parts = 760.0, 0.0, []
    whole = sum(n.ms for n in p.nodes) + max(p.outside_ms, 0.0) or 1.0
    for n in p.nodes:
        w = width * n.ms / whole
        title = html.escape(f"{n.value} = {n.op}: {n.ms:.4f} ms, {n.share:.1%}, {n.bound}; {n.source or n.where}")
        parts.append(
            f'<rect class="step" x="{x:.2f}" y="26" width="{w:.2f}" height="40" fill="{_COLOURS[n.bound]}" '
            f'stroke="#fff" stroke-width=".4"><title>{title}</title></rect>'
        )
        x += w
    parts.append(
        f'<rect x="{x:.2f}" y="26" width="{width - x:.2f}" height="40" fill="#dee2e6"><title>outside of the steps: '
        f"{p.outside_ms:.4f} ms</title></rect>"
    )
    legend = "".join(
        f'<p><span style="color:{_COLOURS[name]}">&#9632;</span> <b>{name}</b> '
        f"{sum(n.share for n in p.nodes if n.bound == name):.0%}: {text}</p>"
        for name, text in _MEANING.items()
        if any(n.bound == name for n in p.nodes)
    )
    title = '<text x="0" y="16" class="title">One call, step by step; the colour is what bounds a step</text>'
    return f'<svg viewBox="0 0 760 72" role="img" aria-label="one call">{title}{"".join(parts)}</svg>{legend}'


def _bar(n: Node) -> Bar:
    note = f"{n.ms:.4f}, {n.share:.0%}, {n.bound}"
    return Bar(f"{n.value} ({n.op.removeprefix('aten.')})"[:34], n.ms, ours=not n.fallback, text=note)


def _record(n: Node, p: Profile) -> Record:
    """A node as a point of the benchmarks' roofline plot."""
    made = Record("profile", f"{n.value} ({n.op})", "ours" if not n.fallback else "PyTorch")
    made.median_ms, made.flops, made.bytes = n.ms, n.flops, n.bytes
    made.tflops = n.flops / n.ms / 1e9 if n.ms else 0.0
    made.ceiling_tflops, made.ceiling_gbs = p.roof.gflops / 1e3, p.roof.gbs[-1][1]
    made.percent_of_ceiling = n.percent
    return made


def _memory(p: Profile) -> str:
    peak = max(p.live_bytes, default=0)
    if not peak:
        return ""
    step = 760 / len(p.live_bytes)
    rects = "".join(
        f'<rect x="{i * step:.1f}" y="{126 - 100 * b / peak:.1f}" width="{max(step - 0.5, 0.5):.1f}" '
        f'height="{100 * b / peak:.1f}" class="ours"><title>{html.escape(n.value)}: {b / 2**20:.2f} MiB</title></rect>'
        for i, (b, n) in enumerate(zip(p.live_bytes, p.nodes, strict=True))
    )
    room = p.arena_bytes + p.in_outputs_bytes
    title = f"Memory of values, step by step: at most {peak / 2**20:.2f} MiB of {room / 2**20:.2f}"
    return (
        f'<svg viewBox="0 0 760 132" role="img" aria-label="memory"><text x="0" y="16" class="title">{title} MiB</text>'
        f"{rects}</svg>"
    )


def _table(p: Profile) -> str:
    names = ("value", "operator", "kernel", "ms", "of the call", "MFLOP", "MB", "of the roof", "bound by", "source")
    rows = []
    for n in p.nodes:
        cells = (
            n.value,
            n.op,
            f"{n.provider}/{n.kernel}" + (" (fallback)" if n.fallback else ""),
            f"{n.ms:.4f}",
            f"{n.share:.1%}",
            "?" if n.flops is None else f"{n.flops / 1e6:.2f}",
            f"{n.bytes / 1e6:.3f}",
            "-" if n.percent is None else f"{n.percent:.0f} %",
            n.bound,
            n.source or n.where,
        )
        kind = ' class="loss"' if n.fallback else ""
        rows.append(f"<tr{kind}>{''.join(f'<td>{html.escape(c)}</td>' for c in cells)}</tr>")
    return f"<table><tr>{''.join(f'<th>{n}</th>' for n in names)}</tr>{''.join(rows)}</table>"

# SPDX-License-Identifier: Apache-2.0
"""Plots as inline SVG: bars with intervals, and the roofline. Text in, text out; colours come from the page's CSS."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .records import Record

_WIDTH, _LABEL, _BAR, _VALUE = 760, 210, 22, 150


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    low: float | None = None
    high: float | None = None
    ours: bool = False
    text: str = ""


def bars(title: str, unit: str, items: Sequence[Bar]) -> str:
    """Horizontal bars from 0; a whisker where an interval is given. "" without items."""
    if not items:
        return ""
    top = max(item.high or item.value for item in items) or 1.0
    room = _WIDTH - _LABEL - _VALUE
    height = _BAR * len(items) + 30
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{html.escape(title)}">',
             f'<text x="0" y="16" class="title">{html.escape(title)} ({html.escape(unit)})</text>']  # fmt: skip
    for i, item in enumerate(items):
        y = 26 + i * _BAR
        middle, width = y + _BAR / 2 - 2, room * item.value / top
        kind = "ours" if item.ours else "rival"
        parts.append(f'<text x="{_LABEL - 8}" y="{middle + 4:.1f}" class="label">{html.escape(item.label)}</text>')
        parts.append(f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR - 6}" class="{kind}"/>')
        if item.low is not None and item.high is not None:
            a, b = _LABEL + room * item.low / top, _LABEL + room * item.high / top
            path = f"M{a:.1f} {middle - 5:.1f}v10M{a:.1f} {middle:.1f}H{b:.1f}M{b:.1f} {middle - 5:.1f}v10"
            parts.append(f'<path d="{path}" class="whisker"/>')
        end = _LABEL + room * (item.high or item.value) / top + 6
        text = item.text or f"{item.value:.4g}"
        parts.append(f'<text x="{end:.1f}" y="{middle + 4:.1f}" class="value">{html.escape(text)}</text>')
    return "".join([*parts, "</svg>"])


def roofline(records: Sequence[Record]) -> str:
    """GFLOP/s against FLOP per byte, both logarithmic, under the ceilings that were measured. Rows without products are
    left out: they have their GB/s in the table."""
    points = [r for r in records if r.timed and r.flops and r.bytes and r.ceiling_tflops and r.ceiling_gbs]
    if not points:
        return ""
    peak, bandwidth = points[0].ceiling_tflops * 1e3, points[0].ceiling_gbs
    xs = [r.flops / r.bytes for r in points] + [peak / bandwidth]
    ys = [r.tflops * 1e3 for r in points] + [peak]
    left, right = math.log10(min(xs)) - 0.3, math.log10(max(xs)) + 0.5
    low, high = math.log10(min(ys)) - 0.3, math.log10(max(ys)) + 0.2
    w, h, x0, y0 = _WIDTH - 60, 300, 50, 30

    def at(x: float, y: float) -> tuple[float, float]:
        return x0 + w * (math.log10(x) - left) / (right - left), y0 + h * (high - math.log10(y)) / (high - low)

    start = 10 ** max(left, low - math.log10(bandwidth))
    (ax, ay), (bx, by), (cx, _) = at(start, start * bandwidth), at(peak / bandwidth, peak), at(10**right, peak)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {h + 70}" role="img" aria-label="roofline">',
             '<text x="0" y="16" class="title">Roofline: GFLOP/s against FLOP per byte</text>',
             f'<rect x="{x0}" y="{y0}" width="{w}" height="{h}" class="frame"/>',
             f'<path d="M{ax:.1f} {ay:.1f}L{bx:.1f} {by:.1f}L{cx:.1f} {by:.1f}" class="roof"/>']  # fmt: skip
    for decade in range(math.ceil(left), math.floor(right) + 1):
        x, _ = at(10**decade, peak)
        parts.append(f'<text x="{x:.1f}" y="{y0 + h + 16}" class="tick">{10**decade:g}</text>')
    for decade in range(math.ceil(low), math.floor(high) + 1):
        _, y = at(1.0, 10**decade)
        parts.append(f'<text x="{x0 - 4}" y="{y:.1f}" class="label">{10**decade:g}</text>')
    for r in points:
        x, y = at(r.flops / r.bytes, r.tflops * 1e3)
        kind = "ours" if r.system.startswith("ours") else "rival"
        name = html.escape(
            f"{r.row}, {r.system}: {r.tflops * 1e3:.4g} GFLOP/s, {r.percent_of_ceiling:.0f} % of ceiling"
        )
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{kind}"><title>{name}</title></circle>')
    return "".join([*parts, "</svg>"])

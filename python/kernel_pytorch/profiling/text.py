# SPDX-License-Identifier: Apache-2.0
"""A profile for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..tracking.cli import sparkline
from .collect import Node, Profile

SORTS: dict[str, Callable[[Node], float]] = {
    "time": lambda n: -n.ms,
    "bytes": lambda n: -n.bytes,
    "flops": lambda n: -(n.flops or 0),
    "percent": lambda n: n.percent if n.percent is not None else 0.0,
}


def head(p: Profile) -> list[str]:
    sizes = p.roof.gbs
    fallbacks = ", ".join(sorted({n.op for n in p.fallbacks})) or "none"
    by_bound: dict[str, float] = {}
    for node in p.nodes:
        by_bound[node.bound] = by_bound.get(node.bound, 0.0) + node.share
    bounds = ", ".join(f"{name} {share:.0%}" for name, share in sorted(by_bound.items(), key=lambda i: -i[1]))
    return [
        f"{p.model}, {p.inputs}; level {p.level}, {p.threads} threads, {p.rounds} rounds",
        f"call {p.call_ms:.3f} ms in {p.launches} launches; outside of them {p.outside_ms:.3f} ms; "
        f"fallbacks: {fallbacks}",
        f"roof, measured now: {p.roof.gflops:.0f} GFLOP/s; copies {sizes[0][1]:.0f} GB/s of {sizes[0][0] >> 10} KiB "
        f"to {sizes[-1][1]:.0f} GB/s of {sizes[-1][0] >> 20} MiB",
        f"bound by: {bounds}",
    ]


def _table(rows: Sequence[tuple[str, ...]], left: int) -> list[str]:
    """The first `left` columns to the left, the others to the right."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))
        ).rstrip()
        for r in rows
    ]


def _roof(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.0f} %"


def summary(p: Profile, top: int) -> str:
    """By operator and kernel."""
    groups: dict[tuple[str, str], list[Node]] = {}
    for node in p.nodes:
        groups.setdefault((node.op, f"{node.provider}/{node.kernel}"), []).append(node)
    rows = [("operator", "kernel", "times", "ms", "of the call", "of the roof", "bound by")]
    for (op, kernel), nodes in sorted(groups.items(), key=lambda g: -sum(n.ms for n in g[1]))[:top]:
        ms = sum(n.ms for n in nodes)
        known = [n for n in nodes if n.percent is not None]
        percent = sum(n.percent * n.ms for n in known) / sum(n.ms for n in known) if known and ms else None
        bounds = " ".join(sorted({n.bound for n in nodes}))
        rows.append((op, kernel, str(len(nodes)), f"{ms:.3f}", f"{ms / p.call_ms:.1%}", _roof(percent), bounds))
    return "\n".join([*head(p), "", *_table(rows, 2)])


def detailed(p: Profile, top: int, sort: str) -> str:
    """Every node, with its line of Python."""
    rows = [("value", "operator", "kernel", "source", "ms", "of the call", "MFLOP", "MB", "of the roof", "bound by")]
    for n in sorted(p.nodes, key=SORTS[sort])[:top]:
        flops = "?" if n.flops is None else f"{n.flops / 1e6:.2f}"
        kernel = f"{n.provider}/{n.kernel}" + (" (fallback)" if n.fallback else "")
        source = n.source.split(" < ")[0] or n.where
        numbers = (f"{n.ms:.4f}", f"{n.share:.1%}", flops, f"{n.bytes / 1e6:.3f}", _roof(n.percent))
        rows.append((n.value, n.op, kernel, source, *numbers, n.bound))
    reasons = [f"fallback {value}: {why}" for value, why in p.fallback_reasons.items()]
    return "\n".join([*head(p), "", *_table(rows, 4), *reasons])


def memory(p: Profile, top: int) -> str:
    """The arena over the steps, and who fills it."""
    peak = max(p.live_bytes, default=0)
    lines = [
        *head(p),
        "",
        f"arena {p.arena_bytes / 2**20:.2f} MiB, of it live at most {peak / 2**20:.2f} MiB; workspace "
        f"{p.workspace_bytes / 2**20:.2f} MiB; in the memory of an output {p.in_outputs_bytes / 2**20:.2f} MiB",
        f"live, step by step: {sparkline(p.live_bytes) if p.live_bytes else '-'}",
        "",
    ]
    rows = [("value", "operator", "source", "live MiB", "moved MB", "GB/s")]
    order = sorted(range(len(p.nodes)), key=lambda i: -p.live_bytes[i])[:top]
    for i in order:
        n = p.nodes[i]
        rate = n.bytes / n.ms / 1e6 if n.ms else 0.0
        source = n.source.split(" < ")[0] or n.where
        rows.append((n.value, n.op, source, f"{p.live_bytes[i] / 2**20:.2f}", f"{n.bytes / 1e6:.3f}", f"{rate:.1f}"))
    return "\n".join([*lines, *_table(rows, 3)])

# SPDX-License-Identifier: Apache-2.0
"""A profile as a Chrome trace (JSON object format), for ui.perfetto.dev and chrome://tracing: calls as slices, steps in
them, the live bytes of the arena as a counter. Times in microseconds."""

from __future__ import annotations

from typing import Any

from .collect import Profile

_PROCESS, _THREAD = 1, 1


def trace(p: Profile) -> dict[str, Any]:
    events: list[dict[str, Any]] = [
        _name("process_name", f"{p.model}, {p.inputs}"),
        _name("thread_name", f"plan, {p.threads} threads a step"),
    ]
    for round_, (start, length) in enumerate(zip(p.call_start_ms, p.all_call_ms, strict=True)):
        events.append(_slice(f"call {round_ + 1}", "call", start, length, {}))
        for i, node in enumerate(p.nodes):
            about = {
                "value": node.value,
                "kernel": f"{node.provider}/{node.kernel}",
                "config": node.config,
                "module": node.where,
                "source": node.source,
                "flops": node.flops,
                "bytes": node.bytes,
                "bound by": node.bound,
                "% of the roof": node.percent,
            }
            begin = start + node.start_ms[round_]
            kind = "fallback" if node.fallback else "step"
            events.append(_slice(node.op, kind, begin, node.all_ms[round_], about))
            if p.live_bytes:
                counter = {"name": "arena", "ph": "C", "pid": _PROCESS, "ts": begin * 1e3}
                events.append(counter | {"args": {"live bytes": p.live_bytes[i]}})
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _name(what: str, text: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PROCESS, "tid": _THREAD, "args": {"name": text}}


def _slice(name: str, kind: str, start_ms: float, ms: float, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "cat": kind,
        "ph": "X",
        "pid": _PROCESS,
        "tid": _THREAD,
        "ts": start_ms * 1e3,
        "dur": ms * 1e3,
        "args": about,
    }

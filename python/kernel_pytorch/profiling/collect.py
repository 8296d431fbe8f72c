# SPDX-License-Identifier: Apache-2.0
"""A model's plan, run with a clock around every step."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..judge import effective_level
from ..plan import Choices, compile_plan
from ..program import Program
from ..samples import Sample
from .roofline import NEAR, Roof

WARM_UP_CALLS = 10
_FALLBACKS = ("aten", "reference")


@dataclass(frozen=True)
class Node:
    """A step of the plan: medians over rounds. `bound`: compute, memory, neither (no roof within reach: launch, latency
    or a kernel that could be better) or unknown (an operator whose products nobody counts)."""

    value: str
    op: str
    provider: str
    kernel: str
    config: str
    where: str  # the module
    source: str  # the line of Python, innermost first
    ms: float
    share: float  # of the call
    flops: int | None
    bytes: int
    bound: str
    percent: float | None  # of the roof
    start_ms: tuple[float, ...] = ()
    all_ms: tuple[float, ...] = ()

    @property
    def fallback(self) -> bool:
        return self.provider in _FALLBACKS


@dataclass
class Profile:
    """Where the time of a call goes. `outside_ms`: what is in no step: memory for outputs, sizes, weights looked at."""

    model: str
    inputs: str
    level: str
    threads: int
    rounds: int
    call_ms: float
    outside_ms: float
    roof: Roof
    nodes: list[Node] = field(default_factory=list)
    arena_bytes: int = 0
    workspace_bytes: int = 0
    in_outputs_bytes: int = 0  # slots and workspaces that lie in the memory of an output before it is written
    live_bytes: list[int] = field(default_factory=list)  # by step
    call_start_ms: list[float] = field(default_factory=list)
    all_call_ms: list[float] = field(default_factory=list)
    fallback_reasons: dict[str, str] = field(default_factory=dict)  # by value

    @property
    def launches(self) -> int:
        return len(self.nodes)

    @property
    def fallbacks(self) -> list[Node]:
        return [n for n in self.nodes if n.fallback]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def collect(
    model: torch.nn.Module, sample: Sample, name: str, level: str, threads: int, rounds: int, roof: Roof
) -> Profile:
    """Compiles the plan without a judge (what is profiled is the plan, whether it would be kept or not) and runs it."""
    program = Program.capture(model, sample, None, [])
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    chosen, _ = effective_level(level, dtype)
    plan = compile_plan(program, Choices(level=chosen, threads=threads))
    tensors = program.flatten(sample)
    for _ in range(WARM_UP_CALLS):
        plan.native.run(tensors)
    found = plan.native.profile(tensors, rounds)
    reasons = {f["value"]: f["reason"] for f in plan.report["fallbacks"]}
    return from_steps(found, name, sample.describe(), chosen, roof, reasons)


def from_steps(
    found: dict[str, Any], name: str, inputs: str, level: str, roof: Roof, reasons: dict[str, str]
) -> Profile:
    """What the core says of its steps (src/kpt/engine/profile.h), with medians and the position against the roof."""
    calls = found["call_ns"]
    call_ms = statistics.median(calls) / 1e6
    spent = [sum(step["ns"][r] for step in found["steps"]) for r in range(len(calls))]
    outside = statistics.median(call - steps for call, steps in zip(calls, spent, strict=True)) / 1e6
    profile = Profile(name, inputs, level, found["threads"], found["rounds"], call_ms, outside, roof)
    profile.nodes = [_node(step, call_ms, roof) for step in found["steps"]]
    memory = found["memory"]
    profile.arena_bytes, profile.workspace_bytes = memory["arena_bytes"], memory["workspace_bytes"]
    profile.in_outputs_bytes = memory["in_outputs_bytes"]
    profile.live_bytes = memory["live_bytes"]
    profile.call_start_ms = [ns / 1e6 for ns in found["call_start_ns"]]
    profile.all_call_ms = [ns / 1e6 for ns in calls]
    profile.fallback_reasons = reasons
    return profile


def _node(step: dict[str, Any], call_ms: float, roof: Roof) -> Node:
    ms = statistics.median(step["ns"]) / 1e6
    moved = step["bytes_read"] + step["bytes_written"]
    bound, percent = "unknown", None
    if step["flops"] is not None:
        bound, least = roof.least_ms(step["flops"], moved)
        percent = 100 * least / ms if ms else 100.0
        bound = bound if percent >= 100 * NEAR else "neither"
    return Node(
        step["value"],
        step["op"],
        step["provider"],
        step["kernel"],
        step["config"],
        step["where"],
        step["stack"],
        ms,
        ms / call_ms if call_ms else 0.0,
        step["flops"],
        moved,
        bound,
        percent,
        tuple(ns / 1e6 for ns in step["start_ns"]),
        tuple(ns / 1e6 for ns in step["ns"]),
    )

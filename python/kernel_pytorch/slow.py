# SPDX-License-Identifier: Apache-2.0
"""Where a plan is not faster: which fusion or kernel costs more than it brings? One at a time is left out and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .bisect import rule_of
from .errors import KernelPyTorchError
from .plan import Choices, Plan, compile_plan
from .report import StepRecord
from .timing import Contest, Interval, paired

# Rounds of one trial: an interval needs three, and a kernel twice as slow shows in three.
_TRIAL_ROUNDS = 3
# A trial must be this much faster, with its whole interval, before it is believed.
_GAIN = 1.02


@dataclass(frozen=True)
class _Candidate:
    what: str
    choices: Choices
    weight: int  # nodes it touches: more nodes, tried earlier


def _candidates(plan: Plan) -> list[_Candidate]:
    """Each pass or fusion that changed something, and each kernel that is not PyTorch's own, without it."""
    native = plan.report
    rules: dict[str, set[str]] = {}
    for rewrite in native["rewrites"]:
        if rewrite["applied"]:
            rules.setdefault(rule_of(rewrite), set()).add(rewrite["key"])
    kernels: dict[str, set[str]] = {}
    for step in native["steps"]:
        if step["provider"] != "aten":
            values = kernels.setdefault(step["kernel"], set())
            values.update(f"{step['kernel']}@{value}" for value in step["value"].split(", "))
    found = [
        _Candidate(f"kernel {name}", plan.choices.without(ban=frozenset(bans)), len(bans))
        for name, bans in kernels.items()
    ]
    found += [_Candidate(name, plan.choices.without(skip=frozenset(keys)), len(keys)) for name, keys in rules.items()]
    return sorted(found, key=lambda c: -c.weight)


def _references(plan: Plan) -> int:
    return sum(step["provider"] == "reference" for step in plan.report["steps"])


def leave_one_out(
    program: Any,
    plan: Plan,
    shape: str,
    make_call: Callable[[Plan], Callable[[], object]],
    budget_s: float = 1.5,
) -> tuple[Plan, list[StepRecord]]:
    """The best plan found within the budget, and what was put back for it. The caller judges and times it again."""
    deadline = time.perf_counter() + budget_s
    best, records = plan, []
    for candidate in _candidates(plan):
        remaining = deadline - time.perf_counter()
        if remaining <= 0:
            break
        choices = best.choices.without(ban=candidate.choices.ban, skip=candidate.choices.skip)
        try:
            trial = compile_plan(program, choices)
        except KernelPyTorchError:
            continue  # no other way to run these nodes
        if _references(trial) > _references(best):
            continue  # nor here: a fused node that only the plain loops of a reference could run, in minutes
        timing = paired([Contest(shape, make_call(best), make_call(trial))], min(remaining, 0.3), _TRIAL_ROUNDS)
        gain: Interval = timing.interval()
        if gain.low > _GAIN:
            why = f"declined: put back, the plan is {gain} faster without it"
            records.append(StepRecord(f"leave one out: {candidate.what}", "whole graph", candidate.weight, False, why))
            best = trial
    return best, records

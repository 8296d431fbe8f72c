# SPDX-License-Identifier: Apache-2.0
"""Finds which rewrite or kernel made a plan wrong, and puts back only that.

Values keep their captured names through every rewrite, so the optimised graph and the plain one can be compared value
by value. The first bad value in order of computation is where the fault entered: its kernel is banned, or the rewrites
that now compute it are put back, one at a time, until the fault has moved on or is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .errors import KernelPyTorchError
from .judge import Case, Distance, Verdict, distance, judge
from .plan import Choices, Plan, compile_plain, compile_plan, compile_reference
from .report import StepRecord, place

MAX_ROUNDS = 8
# Values probed in one run: clones of all intermediates of a large model at once would not fit.
_CHUNK = 32
# A value is bad where it is this much further from the reference than in the plain graph; twice is what the rule of the
# level allows at the outputs, and rounding of a single value spreads more than that of a whole output.
_FACTOR, _SLACK = 4.0, 1e-5
_NODE = re.compile(r"%([\w.]+)(?:, %[\w.]+)* = ")
_OPERAND = re.compile(r"%([\w.]+)")


@dataclass(frozen=True)
class Suspect:
    """One thing to put back, and what to call it in the report."""

    what: str
    where: str
    skip: frozenset[str] = frozenset()
    ban: frozenset[str] = frozenset()


@dataclass
class Repaired:
    """`plan` is None where no suspect explained the fault."""

    plan: Plan | None
    verdict: Verdict
    records: list[StepRecord] = field(default_factory=list)


@dataclass
class _Graph:
    """Statements of the optimised graph: value -> operands, in order."""

    operands: dict[str, list[str]]

    @classmethod
    def of(cls, text: str) -> _Graph:
        operands: dict[str, list[str]] = {}
        for line in text.splitlines():
            left, equals, right = line.partition(" = ")
            if equals and left.startswith("%"):
                arguments = right.split(" : ")[0]
                for name in _OPERAND.findall(left):
                    operands[name] = _OPERAND.findall(arguments)
        return cls(operands)

    def unverified(self, value: str, good: set[str]) -> list[str]:
        """Values that `value` is computed from and that no good value stands before, nearest first."""
        found, todo = [], list(self.operands.get(value, ()))
        while todo:
            name = todo.pop(0)
            if name in good or name in found or name not in self.operands:
                continue
            found.append(name)
            todo += self.operands[name]
        return found


class Bisect:
    """Repairs one plan. Compiles the plain graph and the reference again, since the judge has let its own go."""

    def __init__(self, program: Any, level: str, cases: list[Case]):
        self._program, self._level, self._cases = program, level, cases
        self._plain, self._reference = compile_plain(program), compile_reference(program)
        # A cast between floats is no value of its own in f64.
        self._comparable = set(self._plain.values()) & set(self._reference.values())

    def repair(self, plan: Plan, verdict: Verdict) -> Repaired:
        records: list[StepRecord] = []
        guilty: list[str] = []  # families put back so far: the second of a family takes all of it
        for _ in range(MAX_ROUNDS):
            bad, good = self._locate(plan, verdict)
            found = self._try_suspects(plan, verdict, bad, good, guilty)
            if found is None:
                reason = f"declined: wrong at {bad or 'its outputs'} and no single rewrite or kernel explains it"
                records.append(StepRecord("bisect", "whole graph", 1, False, reason))
                return Repaired(None, verdict, records)
            suspect, plan, after = found
            why = f"declined: put back, {_short(verdict.reason)}"
            records.append(StepRecord(f"bisect: {suspect.what}", suspect.where, 1, False, why))
            guilty.append(_family(suspect))
            verdict = after
            if verdict.ok:
                return Repaired(plan, verdict, records)
        return Repaired(None, verdict, records)

    # ---- where is it ----------------------------------------------------------------------------------------------

    def _locate(self, plan: Plan, verdict: Verdict) -> tuple[str | None, set[str]]:
        """The first bad value, and the values before it that are good."""
        if verdict.thrown is not None:
            node = _NODE.search(verdict.thrown)
            return (node.group(1) if node else None), set()
        good: set[str] = set()
        names = [name for name in plan.values() if name in self._comparable]
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK]
            for name, new, old in self._compare(plan, verdict.case, chunk):
                if new is None or _off(new, old):
                    return name, good
                good.add(name)
        return None, good

    def _compare(
        self, plan: Plan, case: Case, names: list[str]
    ) -> Iterator[tuple[str, Distance | None, Distance | None]]:
        """(name, error of the plan, error of the plain graph); None where the sizes differ from the captured ones."""
        fresh = plan.probe(case.inputs, names)
        truth = self._reference.probe(case.inputs, names)
        plain = self._plain.probe(case.inputs, names)
        for name, new, ref, old in zip(names, fresh, truth, plain, strict=True):
            if new.shape != ref.shape:
                yield name, None, None
            else:
                yield name, distance(new, ref), distance(old, ref)

    # ---- what is it -----------------------------------------------------------------------------------------------

    def _try_suspects(
        self, plan: Plan, verdict: Verdict, bad: str | None, good: set[str], guilty: list[str]
    ) -> tuple[Suspect, Plan, Verdict] | None:
        for suspect in self._suspects(plan, bad, good, guilty):
            choices = plan.choices.without(skip=suspect.skip, ban=suspect.ban)
            trial = self._compile(choices)
            if trial is None:
                continue  # nothing else can run that node: not a way out
            after = judge(self._level, trial, self._program, self._cases)
            if after.ok or self._moved_on(trial, after, verdict, bad):
                return suspect, trial, after
        return None

    def _compile(self, choices: Choices) -> Plan | None:
        try:
            return compile_plan(self._program, choices)
        except KernelPyTorchError:
            return None

    def _moved_on(self, trial: Plan, after: Verdict, before: Verdict, bad: str | None) -> bool:
        """True where the fault is now later than `bad`, or no longer a throw."""
        if bad is None:
            return False
        if before.thrown is not None and after.thrown is None:
            return True
        now, good = self._locate(trial, after)
        return now is not None and now != bad and (bad in good or before.thrown is not None)

    def _suspects(self, plan: Plan, bad: str | None, good: set[str], guilty: list[str]) -> Iterator[Suspect]:
        """Kernel first: where a rewrite is at fault, another kernel computes the same wrong value and is ruled out."""
        if bad is None:
            return
        native = plan.report
        kernels = {value: step for step in native["steps"] for value in step["value"].split(", ")}
        upstream = _Graph.of(plan.native.text()).unverified(bad, good)
        for values in ([bad], upstream):
            for value in values:
                step = kernels.get(value)
                if step is not None and step["provider"] != "aten":
                    yield self._kernel_suspect(native, step, guilty)
            for rewrite in reversed(native["rewrites"]):
                if rewrite["applied"] and not set(values).isdisjoint(rewrite["values"]):
                    yield self._rewrite_suspect(native, rewrite, guilty)

    def _kernel_suspect(self, native: dict[str, Any], step: dict[str, Any], guilty: list[str]) -> Suspect:
        kernel = step["kernel"]
        steps = [step]
        what = f"kernel {kernel} at {step['value']}"
        if kernel in guilty:
            steps = [s for s in native["steps"] if s["kernel"] == kernel]
            what = f"kernel {kernel} everywhere"
        banned = frozenset(f"{kernel}@{value}" for s in steps for value in s["value"].split(", "))
        return Suspect(what, place(step["where"]), ban=banned)

    def _rewrite_suspect(self, native: dict[str, Any], rewrite: dict[str, Any], guilty: list[str]) -> Suspect:
        name = rule_of(rewrite)
        if name in guilty:
            keys = frozenset(r["key"] for r in native["rewrites"] if rule_of(r) == name)
            return Suspect(f"{name} everywhere", place(rewrite["where"]), skip=keys)
        return Suspect(rewrite["key"], rewrite["where"] or "whole graph", skip=frozenset({rewrite["key"]}))


def rule_of(rewrite: dict[str, Any]) -> str:
    """The pass or fusion that made a rewrite: its key is "<name>@<value>"."""
    return rewrite["key"].partition("@")[0]


def _family(suspect: Suspect) -> str:
    """The kernel or the pass behind a suspect."""
    return next(iter(suspect.ban or suspect.skip)).partition("@")[0]


def _off(new: Distance, old: Distance) -> bool:
    if new.nonfinite > old.nonfinite:
        return True
    return not new.rel_rmse <= _FACTOR * old.rel_rmse + _SLACK


def _short(text: str) -> str:
    line = text.splitlines()[0]
    return line if len(line) <= 160 else line[:159] + "…"

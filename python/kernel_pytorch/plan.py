# SPDX-License-Identifier: Apache-2.0
"""A captured model compiled by the native engine under some choices. The only file that knows the engine's options."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from . import _native
from .program import Program

_DEFINITION = re.compile(r"^((?:%[\w.]+(?:, )?)+) = ", re.MULTILINE)


@dataclass(frozen=True)
class Choices:
    """What a compile may do. Immutable: a bisect derives the next one with `without`."""

    level: str = "conservative"
    allow_fallback: bool = True
    threads: int = 0
    skip: frozenset[str] = frozenset()  # keys of rewrites put back
    disabled: frozenset[str] = frozenset()  # passes and fusions switched off
    ban: frozenset[str] = frozenset()  # "<kernel>@<value>"

    def without(
        self,
        skip: frozenset[str] = frozenset(),
        disabled: frozenset[str] = frozenset(),
        ban: frozenset[str] = frozenset(),
    ) -> Choices:
        return replace(self, skip=self.skip | skip, disabled=self.disabled | disabled, ban=self.ban | ban)

    def options(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "allow_fallback": self.allow_fallback,
            "threads": self.threads,
            "skip": sorted(self.skip),
            "disabled": sorted(self.disabled),
            "ban": sorted(self.ban),
        }


# What the judge and the bisect compare with: the captured graph with views made free (canonicalise) and dead nodes
# gone, no other rewrite, every operator through ATen. Views as steps would copy each value: 3 x the time of the whole
# reference.
_PLAIN = {
    "only": ["canonicalise", "dce"],
    "disabled": ["aten.scaled_dot_product_attention"],  # its canonical form is an operator of ours, not ATen's
    "prologue": False,
    "providers": ["aten"],
    "allow_fallback": True,
}


@dataclass
class Plan:
    """A compiled graph. run() may be called from many threads."""

    native: Any
    choices: Choices | None
    seconds: float
    _report: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def report(self) -> dict[str, Any]:
        """The engine's report: passes, rewrites, steps, fallbacks, memory, seconds."""
        if self._report is None:
            self._report = json.loads(self.native.report())
        return self._report

    def run(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return self.native.run(tensors)

    def probe(self, tensors: list[torch.Tensor], names: list[str]) -> list[torch.Tensor]:
        """The values named (not the outputs), in that order."""
        return self.native.probe(tensors, names)[-len(names) :] if names else []

    def values(self) -> list[str]:
        """Names of the values that nodes compute, in order of computation."""
        return defined(self.native.text())


def defined(text: str) -> list[str]:
    """Names that the statements of a graph's text define, in order; inputs and weights are not among them."""
    names: list[str] = []
    for match in _DEFINITION.finditer(text):
        names += [word.strip().removeprefix("%") for word in match.group(1).split(",")]
    return names


def compile_plan(program: Program, choices: Choices) -> Plan:
    """The captured graph with all passes and kernels that `choices` allow. Raises OptimizationError, FallbackError."""
    return _compile(program, program.text, choices.options(), choices)


def compile_reference(program: Program) -> Plan:
    """The captured graph in f64, without rewrites: the judge's reference. Weights stay as they are, no copy is held."""
    return _compile(program, _native.widen(program.pure_text), _PLAIN, None)


def compile_plain(program: Program) -> Plan:
    """The captured graph in its own dtypes, without rewrites: what the original is, value by value."""
    return _compile(program, program.pure_text, _PLAIN, None)


def _compile(program: Program, text: str, options: dict[str, Any], choices: Choices | None) -> Plan:
    start = time.perf_counter()
    fqns = [w.fqn for w in program.weights]
    tensors = [w.tensor for w in program.weights]
    options = {**options, "device": str(program.device)}
    if program.device.type != "cpu":
        options["threads"] = 0  # the threads of a call are those that compile kernels
    native = _native.Model(text, fqns, tensors, json.dumps(options))
    return Plan(native, choices, time.perf_counter() - start)

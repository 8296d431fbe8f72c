# SPDX-License-Identifier: Apache-2.0
"""Verdicts with known error rates, from samples alone. The rules are the core's (src/kpt/tracking/regress.h); here they
get types, and rounds are taken until they have decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import _native

NONE, REGRESSION, GAIN, NO_VERDICT = "none", "regression", "gain", "no_verdict"
MAX_ROUNDS, MIN_ROUNDS = 320, 20
# A/A rounds for a tolerance: twice the least that the core takes.
CALIBRATION_ROUNDS = 80
# Between two runs of one build on one machine: the roadmap's threshold, used where the history knows no better.
HISTORICAL_TOLERANCE = 0.05
# Share of false ones among the regressions that are reported together.
FALSE_DISCOVERIES = 0.05


@dataclass(frozen=True)
class Finding:
    """`change` is signed and relative to the baseline: +0.03 of a latency is 3 % slower, of a throughput 3 % more."""

    outcome: str
    severity: str = "none"  # none, minor (< 10 %), moderate (< 25 %), severe; other than none only for a regression
    change: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    p: float = 1.0
    rounds: int = 0
    more_rounds: int = 0
    unexplained_gain: bool = False
    confirmed: bool = False
    reason: str = ""

    def __str__(self) -> str:
        ends = "" if math.isinf(self.low) or math.isinf(self.high) else f" [{self.low:+.1%}, {self.high:+.1%}]"
        return f"{self.change:+.1%}{ends}"


def _finding(fields: dict[str, Any]) -> Finding:
    low, high = fields.pop("low"), fields.pop("high")
    return Finding(**fields | {"low": -math.inf if low is None else low, "high": math.inf if high is None else high})


def paired(log_ratios: Sequence[float], **options: Any) -> Finding:
    """Rounds of A B B A, one log(new / baseline) each. direction, false_alarms, tolerance, min_rounds, max_rounds,
    gain_expected."""
    return _finding(_native.history_function("verdict_paired", log_ratios=list(log_ratios), **options))


def historical(
    baseline: Sequence[float], fresh: Sequence[float], previous: Sequence[float] = (), **options: Any
) -> Finding:
    """Samples of two runs; `previous`: of the run before. direction, false_alarms, tolerance, gain_expected."""
    return _finding(
        _native.history_function(
            "verdict_historical", baseline=list(baseline), fresh=list(fresh), previous=list(previous), **options
        )
    )


def exact(baseline: float, fresh: float, direction: str = "lower", gain_expected: bool = False) -> Finding:
    """A counted metric: any change is real."""
    return _finding(
        _native.history_function(
            "verdict_exact", baseline=baseline, fresh=fresh, direction=direction, gain_expected=gain_expected
        )
    )


def calibrate(log_ratios: Sequence[float], **options: Any) -> float:
    """The tolerance at which the paired rule stays silent on these A/A rounds (at least 40)."""
    return _native.history_function("calibrate", log_ratios=list(log_ratios), **options)["tolerance"]


def until_decided(
    next_round: Callable[[], float],
    max_rounds: int = MAX_ROUNDS,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> tuple[Finding, list[float]]:
    """Takes rounds until there is a verdict or the cap is reached, and gives the rounds, too."""
    rounds: list[float] = []
    wanted = min(MIN_ROUNDS, max_rounds)
    options |= {"min_rounds": wanted, "max_rounds": max_rounds}
    while True:
        while len(rounds) < wanted:
            rounds.append(next_round())
            if progress:
                progress(len(rounds))
        found = paired(rounds, **options)
        if found.more_rounds == 0:
            return found, rounds
        wanted = min(max_rounds, len(rounds) + found.more_rounds)


def control(findings: Sequence[Finding], share: float = FALSE_DISCOVERIES) -> list[Finding]:
    """Many benchmarks at once: regressions that do not stand at this share of false ones become no verdict."""
    if not findings:
        return []
    stands = _native.history_function("discoveries", p=[f.p for f in findings], q=share)["stands"]
    return [
        f
        if ok or f.outcome != REGRESSION
        else replace(
            f,
            outcome=NO_VERDICT,
            severity="none",
            reason=f"{f.reason}; does not stand among {len(findings)} benchmarks (p {f.p:.2g})",
        )
        for f, ok in zip(findings, stands, strict=True)
    ]

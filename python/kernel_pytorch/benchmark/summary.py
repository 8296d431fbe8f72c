# SPDX-License-Identifier: Apache-2.0
"""Ours against the best rival: row by row, and the line at the end of a suite.

A rival counts where its result is about as exact as ours: e(rival) <= 2 max(e(ours), e(eager)) + 1e-6, the judge's rule
for "no worse". So an int8 rival does not beat an f32 plan, and it does count against our own reduced precision. Eager
and torch.compile run in the row's own dtype and count whenever they are right, also where ours is much more exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .. import _native
from .records import OK, Record, by_row

# What stands for ours in the last line: on a GPU the level that a user gets, where bf16 and TF32 are gained from.
HEADLINES = {"cpu": "ours:conservative", "cuda": "ours:balanced"}
_SLACK, _FLOOR = 2.0, 1e-6


@dataclass(frozen=True)
class Ratio:
    """Time of the best rival / time of ours on one row; above 1 we are faster."""

    row: str
    rival: str
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(ours_ms: Sequence[float], rival_ms: Sequence[float]) -> tuple[float, float, float]:
    """Median and interval of rival / ours over the rounds that both ran in, round by round."""
    pairs = zip(rival_ms, ours_ms, strict=True)
    median, low, high = _native.bootstrap([math.log(theirs / our) for theirs, our in pairs])
    return median, low, high


def rivals_of(ours: Record, row: list[Record]) -> list[Record]:
    """The rivals that count, fastest first: of the run that `ours` is of, for rounds of another are no pairs."""
    row = [r for r in row if r.date == ours.date]
    eager = next((r.error for r in row if r.system == "eager" and r.error is not None), 0.0)
    bound = _SLACK * max(ours.error or 0.0, eager) + _FLOOR
    right = [r for r in row if not r.system.startswith("ours") and r.status == OK and r.timed]
    return sorted(
        (r for r in right if _same_dtype(r) or r.error is None or r.error <= bound), key=lambda r: r.median_ms
    )


def _same_dtype(record: Record) -> bool:
    return record.system.partition(":")[0] in ("eager", "compile")


def headline(records: list[Record]) -> str:
    """The system of ours that these records are summed up by."""
    devices = {r.device for r in records}
    return HEADLINES["cuda" if "cuda" in devices else "cpu"]


def ratios(records: list[Record], system: str | None = None) -> list[Ratio]:
    """A ratio for each row where `system` (none: the headline) is right and some rival counts."""
    found, system = [], system or headline(records)
    for name, row in by_row(records).items():
        ours = next((r for r in row if r.system == system and r.status == OK and r.timed), None)
        rivals = rivals_of(ours, row) if ours is not None else []
        if rivals:
            found.append(Ratio(name, rivals[0].system, *interval(ours.samples_ms, rivals[0].samples_ms)))
    return found


def last_line(found: list[Ratio]) -> str:
    """`geomean vs best rival: X.XX [low, high] over N rows; worst row: NAME X.XX`. Rows are measured apart from each
    other, so the sides of their intervals (as logarithms) add in squares."""
    if not found:
        return "geomean vs best rival: no row has both a right result of ours and a rival"
    logs = [math.log(r.median) for r in found]
    mean = sum(logs) / len(found)
    below = math.sqrt(sum((math.log(r.median) - math.log(r.low)) ** 2 for r in found)) / len(found)
    above = math.sqrt(sum((math.log(r.high) - math.log(r.median)) ** 2 for r in found)) / len(found)
    worst = min(found, key=lambda r: r.median)
    interval = f"{math.exp(mean):.2f} [{math.exp(mean - below):.2f}, {math.exp(mean + above):.2f}]"
    return f"geomean vs best rival: {interval} over {len(found)} rows; worst row: {worst.row} {worst.median:.2f}"


def lines(records: list[Record]) -> list[str]:
    """What stands below a suite: other levels of ours, rows without ours, then the last line."""
    text, first = [], headline(records)
    others = sorted({r.system for r in records if r.system.startswith("ours") and r.system != first})
    for system in others:
        found = ratios(records, system)
        if found:
            text.append(f"{system}: {last_line(found)}")
    for name, row in by_row(records).items():
        ours = next((r for r in row if r.system == first), None)
        if ours is not None and ours.status != OK and any(r.status == OK for r in row):
            text.append(f"without ours: {name}: {ours.status}: {ours.reason}")
    return [*text, last_line(ratios(records))]

# SPDX-License-Identifier: Apache-2.0
"""Did it get worse? Row by row, two builds in one paired run, or this build against a file of records.

Paired (`--baseline REV`): rounds between processes of the same build first, for the tolerance that this benchmark needs
on this machine now; then rounds between the builds until there is a verdict. What `ours` runs is its plan, so that no
stopwatch inside auto_optimize decides what is compared.

Historical (`--baseline FILE`, `--compare-baseline`; historical.py): this run's samples against recorded ones of the
same machine. A row that warns is measured once more; only what both runs say counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..tracking import verdict
from ..tracking.verdict import GAIN, NO_VERDICT, NONE, REGRESSION, Finding
from .pairs import PAIRS, Job, MissingError, Paired, Tree, median

# Of each kind of equal rounds; twice the least that a calibration takes would be half of a run's time.
EQUAL_ROUNDS = 40
EXIT_NONE, EXIT_REGRESSION, EXIT_NO_VERDICT = 0, 1, 2


@dataclass
class RowVerdict:
    """One row and system. Times in milliseconds."""

    row: str
    system: str
    finding: Finding
    baseline_ms: float | None = None
    fresh_ms: float | None = None
    tolerance: float | None = None
    baseline_launches: int | None = None
    fresh_launches: int | None = None
    baseline_compile_s: float | None = None
    fresh_compile_s: float | None = None
    mode: str = "paired"
    log_ratios: list[float] = field(default_factory=list)
    equal_log_ratios: list[list[float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def threshold_rule(found: Finding, tolerance: float, threshold: float) -> Finding:
    """A machine that cannot see as little as the threshold must not say that nothing is there."""
    if found.outcome == NONE and tolerance > threshold:
        why = f"{found.reason}; noise here is {tolerance:.1%}, above the threshold of {threshold:.1%}"
        return replace(found, outcome=NO_VERDICT, reason=why)
    return found


def paired_row(
    baseline: Tree,
    fresh: Tree,
    job: Job,
    threshold: float,
    max_rounds: int = verdict.MAX_ROUNDS,
    pairs: int = PAIRS,
    gain_expected: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> RowVerdict:
    """Both builds at one job, until decided. A job that a side cannot run has no verdict."""
    try:
        progress("start")
        with Paired(baseline, fresh, job, pairs) as run:
            return decide(run, threshold, max_rounds, gain_expected, progress)
    except MissingError as why:
        return RowVerdict(job.row, job.system, Finding(NO_VERDICT, reason=str(why)))


def decide(
    run: Paired,
    threshold: float,
    max_rounds: int = verdict.MAX_ROUNDS,
    gain_expected: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> RowVerdict:
    """One comparison by workers that are ready: equal rounds for the tolerance, then rounds until decided."""
    job = run.job
    run.before, run.after = [], []
    progress("equal builds")
    equal = run.equal_rounds(EQUAL_ROUNDS)
    needed = max(verdict.calibrate(rounds, max_rounds=max_rounds) for rounds in equal)
    tolerance = max(threshold, needed)
    found, rounds = verdict.until_decided(
        run.round,
        max_rounds,
        lambda n: progress(f"{n} rounds"),
        tolerance=tolerance,
        gain_expected=gain_expected,
    )
    old, new = run.facts()
    found = threshold_rule(found, needed, threshold)
    launches = old[0]["launches"], new[0]["launches"]
    if found.outcome in (NONE, GAIN) and None not in launches and launches[1] > launches[0]:
        exact = verdict.exact(*launches)
        found = replace(
            found, outcome=REGRESSION, severity=exact.severity, p=exact.p, reason=f"more launches: {exact.reason}"
        )
    return RowVerdict(
        job.row,
        job.system,
        found,
        median(run.before),
        median(run.after),
        tolerance,
        *launches,
        median([f["compile_s"] for f in old]),
        median([f["compile_s"] for f in new]),
        "paired",
        rounds,
        equal,
    )


def settle(rows: list[RowVerdict]) -> list[RowVerdict]:
    """False discoveries controlled over all rows that have a verdict."""
    judged = [r for r in rows if r.finding.outcome != NO_VERDICT]
    for row, found in zip(judged, verdict.control([r.finding for r in judged]), strict=True):
        row.finding = found
    return rows


def exit_code(rows: Sequence[RowVerdict]) -> int:
    outcomes = {r.finding.outcome for r in rows}
    if REGRESSION in outcomes:
        return EXIT_REGRESSION
    return EXIT_NO_VERDICT if NO_VERDICT in outcomes or not outcomes else EXIT_NONE


# ---- in words ------------------------------------------------------------------------------------------------------

_HEAD = ("row", "system", "baseline ms", "new ms", "change [interval]", "tolerance", "launches", "verdict", "rounds")


def _cells(row: RowVerdict) -> tuple[str, ...]:
    found = row.finding
    timed = row.baseline_ms is not None
    words = found.outcome.replace("_", " ") + (f" ({found.severity})" if found.severity != "none" else "")
    if found.unexplained_gain:
        words += ", unexplained"
    launches = "-" if row.fresh_launches is None else f"{row.baseline_launches} -> {row.fresh_launches}"
    return (
        row.row,
        row.system,
        f"{row.baseline_ms:.4g}" if timed else "-",
        f"{row.fresh_ms:.4g}" if timed else "-",
        str(found) if timed else "-",
        f"{row.tolerance:.1%}" if row.tolerance is not None else "-",
        launches,
        words,
        str(found.rounds),
    )


def table(rows: Sequence[RowVerdict], baseline: str, fresh: str) -> str:
    """For a terminal: a line a row, then why where it is not plain."""
    lines = [_HEAD, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD))]
    text = [f"baseline {baseline}, new {fresh}"]
    text += ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    text += [f"{r.row}, {r.system}: {r.finding.reason}" for r in rows if r.finding.outcome != NONE]
    return "\n".join([*text, last_line(rows)])


def last_line(rows: Sequence[RowVerdict]) -> str:
    counts = {o: sum(r.finding.outcome == o for r in rows) for o in (REGRESSION, GAIN, NO_VERDICT)}
    return (
        f"{counts[REGRESSION]} regressions, {counts[GAIN]} gains, {counts[NO_VERDICT]} without a verdict, of "
        f"{len(rows)} rows"
    )


def markdown(rows: Sequence[RowVerdict], baseline: str, fresh: str) -> str:
    """The same as a comment on a pull request."""
    text = [f"### Performance: {last_line(rows)}", "", f"baseline {baseline}, new {fresh}", ""]
    text += [f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
    text += [f"| {' | '.join(c.replace('|', '/') for c in _cells(r))} |" for r in rows]
    text += ["", *(f"- {r.row}, {r.system}: {r.finding.reason}" for r in rows if r.finding.outcome != NONE)]
    return "\n".join(text).rstrip() + "\n"

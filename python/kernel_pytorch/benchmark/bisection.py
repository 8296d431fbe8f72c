# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch bisect-performance`: which commit made it slower. Every question is a paired run of the good revision
against a candidate, so the machine's drift between two questions does not matter; the answer is proved by a paired run
of the guilty commit against the one before it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import OptimizationError, input_error
from ..tracking.verdict import NO_VERDICT, REGRESSION
from . import revision
from .pairs import Job, Tree
from .regression import EXIT_NO_VERDICT, EXIT_NONE, EXIT_REGRESSION, RowVerdict, paired_row, table

FOUND, NOTHING, OPEN = EXIT_NONE, EXIT_REGRESSION, EXIT_NO_VERDICT

Ask = Callable[[str], RowVerdict | None]  # the good revision against this commit; None: it cannot be built or run


@dataclass
class Bisection:
    """`commits` are oldest first; the last one is known to be slow, the one before the first to be fast."""

    commits: list[str]
    ask: Ask
    say: Callable[[str], None] = print
    skipped: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """The guilty commit; several where the ones between could not be asked, oldest first."""
        low, high = -1, len(self.commits) - 1  # commits[low] is fast, commits[high] slow
        unknown: set[int] = set()
        while True:
            open_ = [i for i in range(low + 1, high) if i not in unknown]
            if not open_:
                return self.commits[low + 1 : high + 1]
            middle = min(open_, key=lambda i: abs(i - (low + high) / 2))
            found = self.ask(self.commits[middle])
            outcome = found.finding.outcome if found is not None else NO_VERDICT
            if outcome == NO_VERDICT:
                unknown.add(middle)
                self.skipped.append(self.commits[middle])
            elif outcome == REGRESSION:
                high = middle
            else:
                low = middle
            word = "skipped" if found is None else outcome.replace("_", " ")
            self.say(f"  {self.commits[middle][:10]}: {word}{'' if found is None else f', {found.finding}'}")


def hunt(options: argparse.Namespace, progress: Callable[[str], Callable[[str], None]]) -> int:
    """The whole command; its exit code: 0 found, 1 bad is not slower than good, 2 left open."""
    import torch

    good, last = revision.resolve(options.good), revision.resolve(options.bad)
    commits = revision.commits_between(options.good, options.bad)
    threads = options.threads or torch.get_num_threads()

    def compare(before: Tree, after: Tree, row: str) -> RowVerdict:
        job = Job(options.suite, row, options.system, threads, options.device)
        return paired_row(
            before, after, job, options.threshold, options.max_rounds, progress=progress(f"{after.name}, {row}")
        )

    base = revision.tree_of(good)
    row = _worst(options, base, revision.tree_of(last), compare)
    if row is None:
        return NOTHING

    def ask(commit: str) -> RowVerdict | None:
        try:
            return compare(base, revision.tree_of(commit), row)
        except OptimizationError as error:
            print(f"  {commit[:10]}: {error}")
            return None

    found = Bisection(commits, ask).run()
    return _tell(found, row, compare)


def _worst(
    options: argparse.Namespace, base: Tree, last: Tree, compare: Callable[[Tree, Tree, str], RowVerdict]
) -> str | None:
    """The row that lost most between good and bad, where one did."""
    from .suites import on_device, suite

    names = [r.name for r in on_device(suite(options.suite), options.device).rows if options.device in r.devices]
    if options.only:
        unknown = [n for n in options.only if n not in names]
        if unknown:
            raise input_error("benchmark", f"--only {unknown[0]!r}", f"rows of {options.suite}", "; ".join(names))
        names = options.only
    rows = [compare(base, last, name) for name in names]
    print(table(rows, base.name, last.name))
    slower = [r for r in rows if r.finding.outcome == REGRESSION]
    return max(slower, key=lambda r: r.finding.change).row if slower else None


def _tell(found: list[str], row: str, compare: Callable[[Tree, Tree, str], RowVerdict]) -> int:
    if len(found) > 1:
        print(f"one of these, the others could not be asked: {', '.join(c[:10] for c in found)}")
        return OPEN
    (guilty,) = found
    proof = compare(revision.tree_of(revision.resolve(f"{guilty}~1")), revision.tree_of(guilty), row)
    print(f"{revision.git('log', '-1', '--format=%h %an %ad %s', '--date=short', guilty)}")
    print(f"{row}: {proof.finding.outcome.replace('_', ' ')} against the commit before it, {proof.finding}")
    return FOUND if proof.finding.outcome == REGRESSION else OPEN

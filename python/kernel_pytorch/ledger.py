# SPDX-License-Identifier: Apache-2.0
"""What one optimisation takes from earlier ones of the same model, and leaves for later ones (kept_verdicts)."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from . import kept_verdicts
from ._log import event
from .judge import Case, Verdict
from .plan import Plan
from .program import Program
from .report import Report
from .timing import Contest, Timing, borne_out


class Ledger:
    """Made for one call of auto_optimize. key: of the capture; without one (nothing is kept of this model) it takes and
    leaves nothing."""

    def __init__(self, key: str | None, level: str, release: bool):
        self.key, self._level, self._release = key, level, release
        self.bits: kept_verdicts.Bits | None = None
        self._earlier, self._found = kept_verdicts.Verdicts(), kept_verdicts.Verdicts()
        self._first_ms: list[float] = []  # of the plan's first call of each sample
        self._again = self._cases = 0  # cases that an earlier optimisation judged, of all

    def read(self, device: torch.device) -> None:
        """What there is for a kept capture on that device."""
        self._earlier = kept_verdicts.load(self._place(device)) or self._earlier

    def begin(self, program: Program) -> None:
        """Before cases are made of it: its weights count as they are now."""
        if self.key is not None:
            self.bits = kept_verdicts.bits_or_none(program, self._earlier.cases)

    def odd_share(self, cases: list[Case]) -> int:
        """The odd sizes that an earlier optimisation chose where it judged these; 0 where they are to be chosen."""
        self._found.odd_share = self._earlier.odd_share if all(c.kept for c in cases) else 0
        return self._found.odd_share

    def take_odd_share(self, share: int) -> None:
        self._found.odd_share = share

    def take_cases(self, cases: list[Case], verdict: Verdict, samples: int) -> None:
        """The plan was judged on them, the samples first."""
        errors = iter(verdict.errors)
        found = [(c.bits, c.to_keep([next(errors) for _ in c.distances])) for c in cases] if verdict.ok else []
        self._found.cases = dict(found) if self.bits else {}
        self._first_ms = [case.plan_ms for case in cases[:samples]]
        self._again, self._cases = sum(c.again for c in cases), len(cases)

    def timing(self, program: Program, plan: Plan, contests: list[Contest], budget_s: float) -> Timing | None:
        """The earlier timing of this plan where calls made now bear it out. One that they do not is forgotten."""
        earlier = self._earlier.timing_of(plan, self._release, [c.shape for c in contests])
        if earlier is None:
            return None
        timing = borne_out(contests, earlier, self._first_ms, budget_s)
        if timing is None:
            event(logging.INFO, "kept_timing_not_borne_out", rounds=earlier.rounds, date=self._earlier.date)
            kept_verdicts.forget(self._place(program.device))
        else:
            self._found.timing, self._found.date = earlier, self._earlier.date
        return timing

    def take_timing(self, timing: Timing) -> None:
        self._found.timing, self._found.date = timing, kept_verdicts.today()

    def keep(self, program: Program, plan: Plan, report: Report) -> None:
        """Notes what is an earlier optimisation's, and keeps what is new: where the first plan was right and faster as
        it was. Another search is another story."""
        found = self._found
        if not found.cases or any(s.step.startswith(("bisect", "leave one out")) for s in report.steps):
            return
        if self._again:
            report.note(
                f"{self._again} of {self._cases} samples came out bit for bit as in an earlier optimisation: their "
                "errors are those that it measured against the f64 reference"
            )
        if found.timing is self._earlier.timing:
            report.note(f"timed by an earlier optimisation, {found.date}; calls made now bear it out")
        found.steps, found.settings = kept_verdicts.steps_of(plan), kept_verdicts.settings_now(self._release)
        if found != self._earlier:
            kept_verdicts.store(self._place(program.device), self.key, found)

    def _place(self, device: torch.device) -> Path:
        return kept_verdicts.place_of(self.key, device, self._level)

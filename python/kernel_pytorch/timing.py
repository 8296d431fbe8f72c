# SPDX-License-Identifier: Apache-2.0
"""Paired timing: rounds of A B B A on the same inputs, one log ratio a round, bootstrap over rounds (in C++).

A is the original, B the new model. Within a round slow drifts of the machine (clock, neighbours) hit both alike and
cancel; between rounds the ratio is what spreads, and the interval shows it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch

from . import _native

_Result = TypeVar("_Result")

MIN_ROUNDS = 5
MAX_ROUNDS = 60
# A measurement shorter than this is repeated inside: perf_counter_ns and the loop cost about 0.1 us, 0.01 % of it.
_MIN_MEASURE_NS = 1_000_000
# Warm-up ends when two calls in a row agree this well, or after the limits.
_STEADY, _WARM_CALLS, _WARM_SHARE = 0.05, 12, 0.2
# A gain or loss by more than this that the interval does not bear out gets `patience` times the rounds.
_UNCLEAR = math.log(1.05)
_PATIENT_S = 20.0  # and no longer than this
# Earlier timings. With 5 % of noise (normal) in each call one round shows half of a gain of 1.1 in 83 of 100 cases, and
# in 17 where there is none; half of 1.25 in 99 and in 1. One call a side, where calls are slow: in 75 and 25, 94 and 6,
# and the second try finds more of both. Smaller gains are timed anew.
_CLEAR, _ALIKE = 1.1, math.log(1.5)
# A shape loses only when its interval lies wholly below this (the "never under 0.98x of eager").
LOSS = 0.98


@dataclass(frozen=True)
class Interval:
    """Median of the ratio old / new and its 95 % interval; above 1 is a gain."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}x [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Contest:
    """The original and the new model on one sample. `let_go`: frees what the new model's call holds, for samples so
    large that both at once would take much more memory than either alone; the new model is then called once untimed
    before its slots."""

    shape: str
    before: Callable[[], object]
    after: Callable[[], object]
    let_go: Callable[[], None] | None = None

    def round(self, repeats: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """A B B A: two times of each in ms."""
        before, after = partial(measure, self.before, repeats), partial(measure, self.after, repeats)
        if self.let_go is None:
            old, new = palindrome([before, after])
            return old, new
        self.let_go()  # what calls of smaller samples hold
        first = before()
        self.after()
        new = after(), after()
        self.let_go()
        return (first, before()), new


@dataclass
class ShapeTiming:
    """Raw milliseconds per call for one sample; two entries a round on each side."""

    shape: str
    before_ms: list[float] = field(default_factory=list)
    after_ms: list[float] = field(default_factory=list)

    @property
    def log_ratios(self) -> list[float]:
        """One for each round. Of fewer than MIN_ROUNDS, where calls are slow, the way there and the way back are one
        each: a drift then pushes them apart and widens the interval, and twice as many have to agree."""
        if len(self.before_ms) < 2 * MIN_ROUNDS:
            return [math.log(a / b) for a, b in zip(self.before_ms, self.after_ms, strict=True)]
        pairs = zip(self.before_ms[::2], self.before_ms[1::2], self.after_ms[::2], self.after_ms[1::2], strict=True)
        return [math.log((a0 + a1) / (b0 + b1)) for a0, a1, b0, b1 in pairs]

    def interval(self) -> Interval:
        return Interval(*_native.bootstrap(self.log_ratios))

    def medians(self) -> tuple[float, float]:
        return statistics.median(self.before_ms), statistics.median(self.after_ms)


@dataclass
class Timing:
    """The outcome over all samples: geometric mean of the shapes, round by round."""

    shapes: list[ShapeTiming]
    seconds: float
    again: float | None = None  # the ratio of the calls that bore out an earlier timing

    @property
    def rounds(self) -> int:
        return len(self.shapes[0].before_ms) // 2

    def interval(self) -> Interval:
        rows = zip(*(s.log_ratios for s in self.shapes), strict=True)
        return Interval(*_native.bootstrap([statistics.fmean(row) for row in rows]))

    def clear(self) -> bool:
        """A gain of every shape that one more round can bear out."""
        return all(shape.interval().low >= _CLEAR for shape in self.shapes)

    def latency_ms(self) -> tuple[float, float]:
        """Geometric mean over shapes of the median times, before and after."""
        before, after = zip(*(s.medians() for s in self.shapes), strict=True)
        return statistics.geometric_mean(before), statistics.geometric_mean(after)

    def verdict(self) -> tuple[bool, str]:
        """Keep or not, with the reason."""
        overall = self.interval()
        rounds = f"{self.rounds} rounds"
        if self.again is not None:
            rounds += f" of an earlier optimisation, {self.again:.2f}x here"
        if len(self.shapes) > 1:
            for shape in self.shapes:
                ratio = shape.interval()
                if ratio.high < LOSS:
                    return False, f"slower at {shape.shape}: {ratio}"
        if overall.low > 1.0:
            return True, f"faster: {overall} in {rounds}"
        if overall.high < 1.0:
            return False, f"slower: {overall} in {rounds}"
        return False, f"no gain: {overall} in {rounds}, the interval holds 1.00"


def measure(call: Callable[[], object], repeats: int = 1) -> float:
    """Milliseconds of one call, by the monotonic clock. Work queued on GPUs is waited for before and after."""
    _wait()
    start = time.perf_counter_ns()
    for _ in range(repeats):
        call()
    _wait()
    return (time.perf_counter_ns() - start) / repeats / 1e6


def timed(call: Callable[[], _Result]) -> tuple[_Result, float]:
    """What one call gives, and its milliseconds, with all that a first call loads."""
    _wait()
    start = time.perf_counter_ns()
    result = call()
    _wait()
    return result, (time.perf_counter_ns() - start) / 1e6


def _wait() -> None:
    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:  # a fault of what ran before
        raise _native.translated(error) from None


def palindrome(measures: Sequence[Callable[[], float]]) -> list[tuple[float, float]]:
    """One round A B C .. C B A: what each gives on the way there and on the way back."""
    there = [m() for m in measures]
    back = [m() for m in reversed(measures)]
    return list(zip(there, reversed(back), strict=True))


def _warm_up(call: Callable[[], object], budget_s: float) -> float:
    """Calls until two calls in a row take the same time; the last time in ms. Where calls take the budget one, since
    the judge ran it before; on a GPU two: the second call of a shape is recorded, which is slower than those after
    it."""
    deadline = time.perf_counter() + budget_s
    least = 2 if torch.cuda.is_initialized() else 1
    last = measure(call, 1)
    for done in range(1, _WARM_CALLS + 1):
        if done >= least and time.perf_counter() > deadline:
            break
        now = measure(call, 1)
        steady = abs(now - last) <= _STEADY * now
        last = now
        if steady:
            break
    return last


def _warmed(contest: Contest, budget_s: float) -> tuple[float, float]:
    """Milliseconds of a call of each, warmed up."""
    share = budget_s * _WARM_SHARE / 2
    slow, fast = _warm_up(contest.before, share), _warm_up(contest.after, share)
    if contest.let_go is not None:
        contest.let_go()
    return slow, fast


def _repeats(slow: float, fast: float) -> int:
    return max(1, math.ceil(_MIN_MEASURE_NS / 1e6 / max(min(slow, fast), 1e-6)))


def _decided(timing: Timing, few: bool) -> bool:
    """True where further rounds would hardly change the verdict: the interval lies clear of 1 by half its own width.
    Of the four ratios of two rounds of slow calls by the whole of it: noise around 1 does that in 0.3 % of cases
    (200,000 drawn from a normal distribution), and puts six ratios of three rounds above 1 in 1.6 %."""
    overall = timing.interval()
    margin = (overall.high - overall.low) * (1.0 if few else 0.5)
    return overall.low - margin > 1.0 or overall.high + margin < 1.0


def _unclear(timing: Timing) -> bool:
    overall = timing.interval()
    return overall.low <= 1.0 <= overall.high and abs(math.log(overall.median)) > _UNCLEAR


def paired(
    contests: Sequence[Contest],
    budget_s: float = 2.5,
    min_rounds: int = MIN_ROUNDS,
    progress: Callable[[float], None] | None = None,
    patience: int = 1,
) -> Timing:
    """Times every contest, round by round. Stops when decided or when the budget is spent, after at least
    `min_rounds`; calls so slow that these would take more than the budget get 3 rounds, or 2 that agree well.

    patience: where the median then lies clear of 1 and the interval still holds 1, up to `patience` times as many
    rounds are taken, fewer where MIN_ROUNDS and more decide. A few slow calls among six hide a gain: with calls of
    0.2 s, 2 % of noise and each fifth of ours slower by a quarter, a gain of 1.18 was kept in 0.65 of 1,500 drawn
    timings without patience, in 0.95 with a patience of 3; no gain at all, with 20 % of noise, in 0.03 and 0.05 of
    4,000."""
    start = time.perf_counter()
    repeats = []
    expected = 0.0
    for contest in contests:
        slow, fast = _warmed(contest, budget_s / len(contests))
        repeats.append(_repeats(slow, fast))
        expected += 2 * repeats[-1] * (slow + fast) / 1e3
    few = min_rounds * expected > budget_s
    if few:
        min_rounds = 3
    timing = Timing([ShapeTiming(c.shape) for c in contests], 0.0)
    most = 0  # rounds, where it is unclear
    for done in range(1, MAX_ROUNDS + 1):
        for record, count, contest in zip(timing.shapes, repeats, contests, strict=True):
            old, new = contest.round(count)
            record.before_ms += old
            record.after_ms += new
        spent = time.perf_counter() - start
        if progress:
            progress(min(1.0, spent / budget_s))
        if done >= min_rounds and spent >= budget_s and not most:
            if patience == 1 or not _unclear(timing):
                break
            most = patience * done
        if done >= (MIN_ROUNDS if most else 2 if few else min_rounds) and _decided(timing, few):
            break
        if done == most or (most and spent >= max(patience * budget_s, _PATIENT_S)):
            break
    timing.seconds = time.perf_counter() - start
    return timing


def borne_out(
    contests: Sequence[Contest], earlier: Timing, first_ms: Sequence[float], budget_s: float = 2.5
) -> Timing | None:
    """An earlier clear() timing where one round bears it out; else None. It does where every shape shows at least half
    of its gain, as a log, again, and takes about the time that it took (_ALIKE).

    Of calls so slow that MIN_ROUNDS would take more than the budget, one call of the original, which was called before,
    is enough against `first_ms`, what the new model's first call took: loading only made that slower. Where that is
    not enough, the new model is called once more as well."""
    start = time.perf_counter()
    slow = MIN_ROUNDS * 2 * sum(map(sum, (s.medians() for s in earlier.shapes))) / 1e3 > budget_s
    ratios = []
    for contest, shape, first in zip(contests, earlier.shapes, first_ms, strict=True):
        if slow and contest.let_go is None:
            now = measure(contest.before), first
            if not _again(shape, *now):
                now = now[0], measure(contest.after)
        else:
            count = _repeats(*_warmed(contest, budget_s / len(contests)))
            now = tuple(sum(times) / 2 for times in contest.round(count))
        if not _again(shape, *now):
            return None
        ratios.append(math.log(now[0] / now[1]))
    return Timing(earlier.shapes, time.perf_counter() - start, math.exp(statistics.fmean(ratios)))


def _again(shape: ShapeTiming, before: float, after: float) -> bool:
    alike = all(abs(math.log(now / then)) < _ALIKE for now, then in zip((before, after), shape.medians(), strict=True))
    return alike and math.log(before / after) >= math.log(shape.interval().median) / 2

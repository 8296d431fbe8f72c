# SPDX-License-Identifier: Apache-2.0
"""Verdicts from made-up samples; the one test that times anything only asks that a pause of milliseconds is seen."""

from __future__ import annotations

import math
import time
from functools import partial

import pytest
import torch

from kernel_pytorch import timing
from kernel_pytorch.errors import KernelLaunchError
from kernel_pytorch.timing import MAX_ROUNDS, MIN_ROUNDS, Contest, ShapeTiming, Timing, borne_out, paired


def _shape(name: str, before: list[float], after: list[float]) -> ShapeTiming:
    """Rounds whose two measurements on each side are equal."""
    return ShapeTiming(name, [t for t in before for _ in range(2)], [t for t in after for _ in range(2)])


def test_faster_everywhere_is_kept() -> None:
    kept, reason = Timing([_shape("a", [2.0, 2.1, 1.9, 2.0, 2.0], [1.0, 1.0, 1.1, 1.0, 0.9])], 1.0).verdict()
    assert kept
    assert reason.startswith("faster: 2.00x")
    assert reason.endswith("in 5 rounds")


def test_an_interval_that_holds_one_is_no_gain() -> None:
    kept, reason = Timing([_shape("a", [1.0] * 6, [0.9, 1.1, 0.95, 1.05, 0.9, 1.1])], 1.0).verdict()
    assert not kept
    assert reason.startswith("no gain: ")


def test_slower_is_named_so() -> None:
    kept, reason = Timing([_shape("a", [1.0] * 5, [2.0] * 5)], 1.0).verdict()
    assert not kept
    assert reason.startswith("slower: 0.50x [0.50, 0.50]")


def test_no_shape_may_lose_even_where_the_mean_gains() -> None:
    shapes = [_shape("1x16", [4.0] * 5, [1.0] * 5), _shape("8x128", [1.0] * 5, [1.2] * 5)]
    kept, reason = Timing(shapes, 1.0).verdict()
    assert not kept
    assert reason.startswith("slower at 8x128: 0.83x")


def test_mean_over_shapes_is_geometric() -> None:
    shapes = [_shape("a", [4.0] * 5, [1.0] * 5), _shape("b", [1.0] * 5, [1.0] * 5)]
    timing = Timing(shapes, 1.0)
    assert timing.interval().median == pytest.approx(2.0)
    assert timing.latency_ms() == (pytest.approx(2.0), pytest.approx(1.0))


def test_a_round_is_the_ratio_of_sums() -> None:
    shape = ShapeTiming("a", [1.0, 3.0] * MIN_ROUNDS, [1.0, 1.0] * MIN_ROUNDS)
    assert shape.log_ratios == [pytest.approx(math.log(2))] * MIN_ROUNDS


def test_of_few_rounds_each_way_counts_and_a_drift_widens_the_interval() -> None:
    # The machine slows down by 20 % between the slots: A B B A of equal calls.
    drift = [1.0, 1.2, 1.2**2, 1.2**3]
    shape = ShapeTiming("a", [drift[0], drift[3]] * 3, [drift[1], drift[2]] * 3)
    assert shape.log_ratios == [pytest.approx(-math.log(1.2)), pytest.approx(math.log(1.2))] * 3
    timing = Timing([shape], 1.0)
    assert timing.interval().low < 1.0 < timing.interval().high and not timing.verdict()[0]


def test_a_pause_shows_and_ends_the_rounds_early() -> None:
    timing = paired([Contest("x", lambda: time.sleep(0.004), lambda: time.sleep(0.001))], budget_s=5.0)
    assert timing.verdict()[0]
    assert timing.rounds < MAX_ROUNDS
    assert timing.seconds < 5.0


def test_short_calls_are_repeated_and_rounds_counted() -> None:
    calls = [0, 0]

    def old() -> None:
        calls[0] += 1

    def new() -> None:
        calls[1] += 1

    timing = paired([Contest("x", old, new)], budget_s=0.05)
    assert timing.rounds >= MIN_ROUNDS
    assert calls[0] > 1000
    assert len(timing.shapes[0].before_ms) == 2 * timing.rounds


def test_a_large_call_is_let_go_before_the_original_runs() -> None:
    order: list[str] = []
    contest = Contest("x", lambda: order.append("A"), lambda: order.append("B"), lambda: order.append("-"))
    old, new = contest.round(1)
    assert "".join(order) == "-ABBB-A"  # the first B takes the memory again and is not timed
    assert len(old) == len(new) == 2


@pytest.mark.parametrize(("on_gpu", "warm"), [(False, 1), (True, 2)])  # there the second call is recorded
def test_a_call_as_long_as_the_warm_up_is_warmed_up_once(
    on_gpu: bool, warm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing.torch.cuda, "is_initialized", lambda: on_gpu)
    monkeypatch.setattr(timing, "_wait", lambda: None)
    calls = [0, 0]

    def slow(i: int) -> None:
        calls[i] += 1
        time.sleep(0.002)

    found = paired([Contest("x", lambda: slow(0), lambda: slow(1))], budget_s=0.001)
    assert calls == [warm + 2 * found.rounds] * 2


@pytest.mark.parametrize(
    ("before_ms", "rounds"),
    [
        ([113, 114, 112, 113, 113, 113], 2),  # clear of 1 by more than their spread
        ([104, 113, 106, 109, 108, 110], 3),  # all above 1, and no clearer than they spread
        ([87, 88, 86, 87, 87, 87], 2),
    ],
)
def test_slow_calls_that_agree_are_timed_twice(before_ms: list[float], rounds: int) -> None:
    assert _told(before_ms).rounds == rounds


def _told(before_ms: list[float], patience: int = 1) -> Timing:
    """Rounds of 2 ms in a budget of 3, with these times against 100."""

    class Told(Contest):
        def round(self, repeats: int) -> tuple[tuple[float, float], tuple[float, float]]:
            time.sleep(0.002)
            return (times.pop(0), times.pop(0)), (100.0, 100.0)

    times = list(before_ms)
    return paired([Told("x", lambda: time.sleep(0.002), lambda: time.sleep(0.002))], 0.003, patience=patience)


def test_a_gain_that_slow_calls_hide_is_timed_longer() -> None:
    hidden = [98, 97, 118, 119, 121, 118, *[118, 119, 120] * 10]
    short = _told(hidden)
    assert short.rounds == 3 and short.interval().median > 1.05
    assert not short.verdict()[0] and "holds 1.00" in short.verdict()[1]
    long = _told(hidden, patience=3)
    assert MIN_ROUNDS <= long.rounds <= 9 and long.verdict()[0]


def test_no_gain_is_not_timed_longer() -> None:
    assert _told([103, 97, 101, 99, 102, 98] * 10, patience=3).rounds == 3


def test_patience_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_PATIENT_S", 0.0)  # three budgets of 3 ms are left, less than nine rounds of 2 ms
    assert _told([80, 85, 125, 130, 128, 127] * 40, patience=3).rounds < 9


def test_patience_ends() -> None:
    assert _told([80, 85, 125, 130, 128, 127] * 40, patience=3).rounds == 9


def _contests(times: list[tuple[float, float]], calls: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Contest]:
    """Contests on a clock of their own, which the calls move by their milliseconds."""
    clock = [0]

    def call(name: str, ms: float) -> None:
        calls.append(name)
        clock[0] += int(ms * 1e6)

    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: clock[0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0] / 1e9)
    return [Contest("x", partial(call, "A", before), partial(call, "B", after)) for before, after in times]


@pytest.mark.parametrize(
    ("now", "first", "called", "ratio"),
    [
        (1.25, 201.0, "A", 250 / 201),  # the judge's call was enough
        (1.25, 300.0, "AB", 1.25),  # it loaded kernels
        (1.13, 900.0, "AB", 1.13),
        (1.10, 205.0, "AB", None),
        (0.90, 200.0, "AB", None),
    ],
)
def test_an_earlier_gain_shows_again_by_half(
    now: float, first: float, called: str, ratio: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = Timing([_shape("x", [250.0, 252.0, 249.0], [200.0, 201.0, 200.0])], 3.0)
    calls: list[str] = []
    found = borne_out(_contests([(200.0 * now, 200.0)], calls, monkeypatch), earlier, [first], 1.5)
    assert "".join(calls) == called  # slow calls, once each at most
    assert (found and found.again) == (ratio and pytest.approx(ratio))
    if found is not None:
        assert found.shapes == earlier.shapes
        kept, reason = found.verdict()
        assert kept and reason.endswith(f"in 3 rounds of an earlier optimisation, {ratio:.2f}x here")


def test_quick_calls_bear_out_in_a_whole_round(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = Timing([_shape("x", [2.0] * 5, [1.0] * 5)], 0.1)
    calls: list[str] = []
    assert borne_out(_contests([(2.0, 1.0)], calls, monkeypatch), earlier, [1.0], 1.5) is not None
    assert calls[-4:] == ["A", "B", "B", "A"] and len(calls) > 4  # warmed up before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([2.9, 1.4], [1.0, 1.4]),  # a gain in the mean, none of one shape
        ([2.0, 2.0], [1.0, 1.45]),  # less than half of its gain
        ([4.0, 4.0], [2.0, 2.0]),  # as much, at another speed: the times that are told are not these
        ([2.0, 3.1], [1.0, 1.0]),
    ],
)
def test_every_shape_bears_out_its_own_times(
    before: list[float], after: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = Timing([_shape("a", [2.0] * 5, [1.0] * 5), _shape("b", [2.0] * 5, [1.0] * 5)], 0.1)
    now = list(zip(before, after, strict=True))
    assert borne_out(_contests(now, [], monkeypatch), earlier, [1.0, 1.0]) is None
    assert borne_out(_contests([(2.0, 1.0)] * 2, [], monkeypatch), earlier, [1.0, 1.0]) is not None


def test_a_clear_timing_gained_at_every_shape() -> None:
    gain, little = _shape("a", [2.0] * 5, [1.0] * 5), _shape("b", [1.09] * 5, [1.0] * 5)
    assert Timing([gain], 0.1).clear()
    assert not Timing([little], 0.1).clear() and not Timing([gain, little], 0.1).clear()


def test_a_fault_that_torch_sees_first_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(timing.torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(timing.torch.cuda, "synchronize", lost)
    for wait in (timing.timed, timing.measure):
        with pytest.raises(KernelLaunchError, match="illegal memory access"):
            wait(lambda: None)

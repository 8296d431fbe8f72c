# SPDX-License-Identifier: Apache-2.0
"""Verdicts kept between processes: the reference rests only where every bit is as it was."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import torch
from torch import nn

import kernel_pytorch as kpt
from kernel_pytorch import kept_captures, kept_verdicts, ledger, optimize
from kernel_pytorch.plan import Plan
from kernel_pytorch.reference import Reference
from kernel_pytorch.report import OutputError, StepRecord
from kernel_pytorch.timing import Contest, ShapeTiming, Timing

pytestmark = pytest.mark.usefixtures("own_folder")

_GAIN = Timing([ShapeTiming("8x8", [2.0] * 10, [1.0] * 10)], 0.5)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the reference ran, and each kind of timing; every timing finds a gain."""
    counts = {"reference": 0, "timed": 0, "borne out": 0}
    run = Reference.run

    def counted(self: Reference, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        counts["reference"] += 1
        return run(self, inputs)

    def told(name: str) -> Callable[..., Timing]:
        def timing(contests: list[Contest], *_: object, **__: object) -> Timing:
            counts[name] += 1
            return Timing([ShapeTiming(c.shape, [2.0] * 10, [1.0] * 10) for c in contests], 0.1)

        return timing

    monkeypatch.setattr(Reference, "run", counted)
    monkeypatch.setattr(optimize, "paired", told("timed"))
    monkeypatch.setattr(ledger, "borne_out", told("borne out"))
    return counts


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)
        self.register_buffer("offset", torch.arange(8.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x))) + self.offset


def _x(seed: int = 0) -> torch.Tensor:
    return torch.randn(8, 8, generator=torch.Generator().manual_seed(seed))


def _reset(counts: dict[str, int]) -> None:
    counts.update(dict.fromkeys(counts, 0))


def test_the_same_bits_are_not_judged_twice(seen: dict[str, int]) -> None:
    first = kpt.auto_optimize(Net().eval(), _x()).report
    assert seen["reference"] == len(first.error) == 3 and seen["timed"] == 1  # the sample, odd sizes, size 1
    _reset(seen)
    second = kpt.auto_optimize(Net().eval(), _x()).report
    assert seen == {"reference": 0, "timed": 0, "borne out": 1}
    assert second.kept and second.error == first.error
    assert any("3 of 3 samples came out bit for bit" in note for note in second.notes)
    assert any("timed by an earlier optimisation" in note for note in second.notes)


def _ulp(t: torch.Tensor) -> torch.Tensor:
    return torch.nextafter(t, torch.tensor(math.inf))


def _weight(net: Net) -> None:
    net.first.weight.data[3, 4] = _ulp(net.first.weight.data[3, 4])


def _buffer(net: Net) -> None:
    net.offset[0] = 1e-30


@pytest.mark.parametrize("change", [_weight, _buffer])
def test_another_weight_is_judged_anew(seen: dict[str, int], change: Callable[[Net], None]) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    _reset(seen)
    net = Net().eval()
    change(net)
    report = kpt.auto_optimize(net, _x()).report
    assert report.kept and seen["reference"] == 3
    assert any("kept from an earlier capture" in note for note in report.notes)
    assert not any("bit for bit" in note for note in report.notes)
    _reset(seen)
    kpt.auto_optimize(net, _x())  # and what was found then is kept
    assert seen["reference"] == 0


def test_other_inputs_are_judged_anew(seen: dict[str, int]) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    _reset(seen)
    assert kpt.auto_optimize(Net().eval(), _x(1)).report.kept
    assert seen["reference"] == 3


@pytest.mark.parametrize(("factor", "right"), [(1 + 2e-7, True), (1.01, False)])
def test_a_plan_that_makes_other_bits_is_judged_anew(
    seen: dict[str, int], monkeypatch: pytest.MonkeyPatch, factor: float, right: bool
) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    _reset(seen)
    run = Plan.run

    def other(self: Plan, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return [t if self.choices is None else t * factor for t in run(self, tensors)]

    monkeypatch.setattr(Plan, "run", other)
    report = kpt.auto_optimize(Net().eval(), _x()).report
    assert seen["reference"] >= 1
    assert report.kept is right, report.reason
    if not right:
        assert "not right" in report.reason
    assert not any("bit for bit" in note for note in report.notes)


def test_an_original_that_gives_other_bits_is_judged_anew(
    seen: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    _reset(seen)
    linear = torch.nn.functional.linear

    def other(*args: torch.Tensor) -> torch.Tensor:
        return linear(*args) * (1 + 1e-3)

    monkeypatch.setattr(torch.nn.functional, "linear", other)  # a digest of the code does not see it
    net, x = Net().eval(), _x()
    fast = kpt.auto_optimize(net, x)
    assert seen["reference"] > 0
    torch.testing.assert_close(fast(x), net(x))


def test_other_settings_are_timed_anew(seen: dict[str, int], own_folder: Path) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    for change in (lambda: torch.set_float32_matmul_precision("medium"), lambda: None):
        _reset(seen)
        change()
        try:
            kpt.auto_optimize(Net().eval(), _x())
        finally:
            torch.set_float32_matmul_precision("highest")
        assert (seen["timed"], seen["borne out"]) == (1, 0)


def test_a_timing_that_is_not_borne_out_is_taken_anew(
    seen: dict[str, int], own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    _reset(seen)
    monkeypatch.setattr(ledger, "borne_out", lambda *_: None)
    report = kpt.auto_optimize(Net().eval(), _x()).report
    assert seen["timed"] == 1 and report.kept
    assert not any("timed by an earlier optimisation" in note for note in report.notes)
    slow = Timing([ShapeTiming("8x8", [1.0] * 10, [2.0] * 10)], 0.1)
    monkeypatch.setattr(optimize, "paired", lambda *_, **__: slow)
    monkeypatch.setattr(optimize, "leave_one_out", lambda program, plan, *_: (plan, []))
    assert not kpt.auto_optimize(Net().eval(), _x()).report.kept
    assert list(own_folder.glob("*.verdict")) == []  # refuted: no lucky round brings it back


def test_a_small_gain_is_timed_anew(seen: dict[str, int], own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little = Timing([ShapeTiming("8x8", [1.09] * 10, [1.0] * 10)], 0.1)
    monkeypatch.setattr(optimize, "paired", lambda *_, **__: little)
    for _ in range(2):
        report = kpt.auto_optimize(Net().eval(), _x()).report
        assert report.kept and seen["borne out"] == 0
    assert any("bit for bit" in note for note in report.notes)  # its errors stand


def test_settings_are_asked_on_the_cpu() -> None:
    told = kept_verdicts.settings_now(False)
    with torch.device("meta"):
        assert kept_verdicts.settings_now(False) == told


@pytest.mark.parametrize("setting", ["cuda.matmul.fp32_precision", "mkldnn.matmul.fp32_precision"])
def test_settings_that_make_old_getters_raise(seen: dict[str, int], setting: str) -> None:
    holder, _, name = setting.rpartition(".")
    module = operator.attrgetter(holder)(torch.backends)
    kpt.auto_optimize(Net().eval(), _x())
    before = getattr(module, name)
    told = kept_verdicts.settings_now(False)
    try:
        setattr(module, name, "tf32" if "cuda" in setting else "bf16")
        assert kept_verdicts.settings_now(False) != told
        assert kpt.auto_optimize(Net().eval(), _x()).report.kept
        assert seen["timed"] == 2
    finally:
        setattr(module, name, before)


def test_a_reference_that_fails_when_it_is_asked_is_a_reason(
    seen: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kpt.auto_optimize(Net().eval(), _x())

    def fails(*_: object) -> list[torch.Tensor]:
        raise kpt.KernelPyTorchError("[reference] got lost")

    run = Plan.run
    monkeypatch.setattr(Plan, "run", lambda self, tensors: [t * (1 + 2e-7) for t in run(self, tensors)])
    monkeypatch.setattr(Reference, "run", fails)
    report = kpt.auto_optimize(Net().eval(), _x()).report
    assert not report.kept and "could not be judged: [reference] got lost" in report.reason


def test_after_another_search_nothing_is_said_of_the_first_plan(
    seen: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    monkeypatch.setattr(ledger, "borne_out", lambda *_: None)
    timings = [Timing([ShapeTiming("8x8", [1.0] * 10, [2.0] * 10)], 0.1), _GAIN]
    monkeypatch.setattr(optimize, "paired", lambda *_, **__: timings.pop(0))

    def another(program: object, plan: Plan, *_: object) -> tuple[Plan, list]:
        other = optimize.compile_plan(program, plan.choices.without(disabled=frozenset(["fold"])))
        return other, [StepRecord("leave one out: fold", "", 1, True, "faster without")]

    monkeypatch.setattr(optimize, "leave_one_out", another)
    report = kpt.auto_optimize(Net().eval(), _x()).report
    assert report.kept and timings == []
    assert not any("bit for bit" in note for note in report.notes)


def test_a_plan_that_is_not_kept_leaves_nothing(seen: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Timing([ShapeTiming("8x8", [1.0] * 10, [2.0] * 10)], 0.1)
    monkeypatch.setattr(optimize, "paired", lambda *_, **__: slow)
    monkeypatch.setattr(optimize, "leave_one_out", lambda program, plan, *_: (plan, []))
    assert not kpt.auto_optimize(Net().eval(), _x()).report.kept
    _reset(seen)
    kpt.auto_optimize(Net().eval(), _x())
    assert seen["reference"] == 3


def _set(*path: str, to: object) -> Callable[[dict], str]:
    def damage(data: dict) -> str:
        at = data
        for name in path[:-1]:
            at = at[next(iter(at))] if name == "*" else at[name]
        at[path[-1]] = to
        return json.dumps(data)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: "",
        lambda data: json.dumps(data)[:-9],
        lambda data: "[]",
        _set("format", to=0),
        _set("timing", "shapes", to=[]),
        _set("cases", to=[]),
        _set("cases", "*", "distances", to=[[1.0]]),
        _set("cases", "*", "errors", to=[]),
        _set("odd_share", to="x"),
        _set("odd_share", to=math.inf),
        _set("timing", "shapes", to=[{"shape": "8x8", "before_ms": [1e300] * 4, "after_ms": [1e-320] * 4}]),
        lambda data: "[" * 100_000,
    ],
)
def test_a_damaged_file_is_made_anew(seen: dict[str, int], own_folder: Path, damage: Callable[[dict], str]) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    (file,) = own_folder.glob("*.verdict")
    good = json.loads(file.read_text())
    file.write_text(damage(json.loads(file.read_text())))
    _reset(seen)
    report = kpt.auto_optimize(Net().eval(), _x()).report
    assert report.kept and seen["reference"] == 3 and seen["timed"] == 1
    assert json.loads(file.read_text())["cases"] == good["cases"]


_ODD = (None, True, -1, 0, 1e308, "x", "", [], {}, [1], [[1]], {"a": 1}, "1e-7", 1 << 70)


def _paths(at: object, path: tuple = ()) -> Iterator[tuple]:
    yield path
    for key, value in at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ():
        yield from _paths(value, (*path, key))


def test_no_file_makes_load_raise(seen: dict[str, int], own_folder: Path) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    (file,) = own_folder.glob("*.verdict")
    good = file.read_text()
    paths = [p for p in _paths(json.loads(good)) if p]
    random = Random(0)
    texts = [json.dumps(_put(json.loads(good), path, odd)) for path in paths for odd in random.sample(_ODD, 4)]
    for _ in range(300):
        at, length = random.randrange(len(good)), random.randrange(1, 9)
        texts.append(good[:at] + "".join(random.choices('0e-"{}[],:', k=length)) + good[at + length :])
    for text in texts:
        file.write_text(text)
        found = kept_verdicts.load(file)
        if found is not None:  # what is taken can be used and said
            assert all(e.ok for c in found.cases.values() for e in c.errors), text
            found.timing.verdict(), found.timing.clear(), str([c.errors for c in found.cases.values()])


def _put(data: dict, path: tuple, value: object) -> dict:
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return data


def test_a_verdict_that_says_not_right_is_no_verdict(seen: dict[str, int], own_folder: Path) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    (file,) = own_folder.glob("*.verdict")
    data = json.loads(file.read_text())
    error = next(iter(data["cases"].values()))["errors"][0]
    for field, wrong in (("ok", False), ("original", "1e-7"), ("reason", 1)):
        right, error[field] = error[field], wrong
        file.write_text(json.dumps(data))
        assert kept_verdicts.load(file) is None
        error[field] = right
    file.write_text(json.dumps(data))
    assert kept_verdicts.load(file) is not None


def test_a_verdict_goes_with_its_capture(seen: dict[str, int], own_folder: Path) -> None:
    kpt.auto_optimize(Net().eval(), _x())
    (capture,) = own_folder.glob("*.json")
    assert list(own_folder.glob("*.verdict"))
    kept_captures.forget(capture.stem)
    assert list(own_folder.iterdir()) == []


def test_what_is_stored_is_what_is_loaded(own_folder: Path) -> None:
    error = OutputError("y", "8x8", 1e-7, 2e-7, 1e-6, 1.0, True, "")
    case = kept_verdicts.KeptCase([[1e-7, 1.0, 1e-6, 0.0, 64.0]], "bits", [error])
    kept = kept_verdicts.Verdicts(8, {"a": case}, "steps", [1, "x", [True]], _GAIN, kept_verdicts.today())
    (own_folder / "k.json").write_text("{}")
    place = kept_verdicts.place_of("k", torch.device("cpu"), "balanced")
    kept_verdicts.store(place, "k", kept)
    assert kept_verdicts.load(place) == kept
    kept.cases["a"].distances[0][0] = math.inf  # no verdict to keep
    kept_verdicts.store(kept_verdicts.place_of("k", torch.device("cpu"), "aggressive"), "k", kept)
    assert list(own_folder.glob("*aggressive*")) == []


def test_models_of_two_samples_and_outputs(seen: dict[str, int]) -> None:
    class Two(Net):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return super().forward(x), x.sum()

    samples = [_x(), _x(1), _x()[:5]]  # two of one name
    first = kpt.auto_optimize(Two().eval(), samples).report
    _reset(seen)
    second = kpt.auto_optimize(Two().eval(), samples).report
    assert seen["reference"] == 0 and second.error == first.error

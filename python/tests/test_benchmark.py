# SPDX-License-Identifier: Apache-2.0
"""The runner on a toy model: what is recorded of systems that work, fail, are wrong or are not here."""

from __future__ import annotations

import json
import statistics
import time
import timeit
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import sdpa_flop_count

from kernel_pytorch import InputError, OptimizationError, cli
from kernel_pytorch.benchmark import clock, records, reference, runner, systems
from kernel_pytorch.benchmark.clock import CpuClock, WarmUp
from kernel_pytorch.benchmark.records import FAILED, MISSING, OK, WRONG, Record
from kernel_pytorch.benchmark.reference import Ceiling, Least
from kernel_pytorch.benchmark.rounds import rounds
from kernel_pytorch.benchmark.runner import Settings, run_row, run_suite
from kernel_pytorch.benchmark.suites import Row, suite
from kernel_pytorch.benchmark.systems import Built, System, Work

_TOY = """import time, torch
class Sleeper(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(16, 16)
    def forward(self, x):
        time.sleep(0.004)
        return self.linear(x)
def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.GELU()).eval(), torch.randn(4, 16)
def sleeper():
    return Sleeper().eval(), torch.randn(4, 16)
"""


class Silent:
    """A display that remembers the stages."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str]] = []

    def start(self, row: Row, systems: list[str]) -> None: ...
    def sampled(self, samples: dict[str, list[float]]) -> None: ...
    def done(self, row: Row, records: list[Record]) -> None: ...
    def stage(self, system: str, text: str) -> None:
        self.stages.append((system, text))


@pytest.fixture(autouse=True)
def low_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one costs seconds of products and copies."""
    monkeypatch.setattr(runner, "ceiling", lambda *_: Ceiling(0.1, 10.0))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "benchmark_toy_for_test.py").write_text(_TOY)
    monkeypatch.chdir(tmp_path)
    return "benchmark_toy_for_test"


def fake(name: str, build: Callable[[Work], Built], missing: str | None = None) -> System:
    rival = SimpleNamespace(missing=lambda variant, work: missing, build=lambda variant, work: build(work))
    return System(name, "", rival)


def eager() -> System:
    return fake("eager", lambda work: Built(work.call))


SETTINGS = Settings("cpu", torch.get_num_threads(), runs=3, budget_s=0.1, warm_up_calls=8)


def measure(toy: str, *chosen: System, function: str = "build", settings: Settings = SETTINGS) -> dict[str, Record]:
    row = Row("toy 4x16", f"{toy}:{function}", ())
    return {r.system: r for r in run_row("model", row, list(chosen), settings, Silent())}


# ---- records -------------------------------------------------------------------------------------------------------


def test_a_record_says_everything_and_survives_json(toy: str, tmp_path: Path) -> None:
    record = measure(toy, eager())["eager"]
    assert record.status == OK
    assert (record.rounds, len(record.samples_ms)) == (3, 3)
    assert record.low_ms <= record.median_ms <= record.high_ms
    assert record.reference == "fp64"
    assert 0 < record.error < 1e-6
    assert record.cold_s > 0
    assert record.flops == 2 * 4 * 16 * 16
    assert record.bytes == 4 * (16 * 16 + 16 + 2 * 4 * 16)
    assert record.percent_of_ceiling == pytest.approx(100 * record.ceiling_ms / record.median_ms, rel=0.01)
    assert record.machine["threads"] == torch.get_num_threads()
    assert "load" in record.clocks["before"]
    assert 0 <= record.clocks["others"] <= 1.01
    assert record.versions["torch"] == torch.__version__
    path = tmp_path / "out" / "x.jsonl"
    records.append(path, [record])
    records.append(path, [record])
    assert records.read(path) == [record, record]
    assert set(json.loads(path.read_text().splitlines()[0])) == {f.name for f in fields(Record)}
    assert records.latest(records.read(path)) == [record]


def test_a_line_of_another_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"schema": 99}\n')
    with pytest.raises(ValueError, match=r"x.jsonl:1: got schema 99"):
        records.read(path)


def test_a_rival_that_is_not_here_says_why(toy: str) -> None:
    found = measure(toy, eager(), fake("absent", lambda work: Built(work.call), missing="absent is not installed"))
    assert (found["absent"].status, found["absent"].reason) == (MISSING, "absent is not installed")
    assert found["absent"].median_ms is None
    assert found["eager"].timed


def test_a_failing_rival_shows_its_error_and_the_others_go_on(toy: str) -> None:
    def broken(work: Work) -> Built:
        raise ZeroDivisionError("no such\n operator")

    def late(work: Work) -> Built:
        return Built(lambda: torch.zeros(4).view(5))

    found = measure(toy, fake("broken", broken), fake("late", late), eager())
    assert (found["broken"].status, found["broken"].reason) == (FAILED, "ZeroDivisionError: no such operator")
    assert found["late"].status == FAILED
    assert "invalid for input of size 4" in found["late"].reason
    assert found["eager"].timed


@pytest.mark.parametrize("good_calls", [1, 12])
def test_a_rival_that_fails_later_does_not_stop_the_others(toy: str, good_calls: int) -> None:
    """After its first call, in the warm-up; and in the rounds."""

    def tired(work: Work) -> Built:
        left = iter(range(good_calls))

        def call() -> Any:
            time.sleep(0.02)  # long enough that the warm-up and a round make few calls
            if next(left, None) is None:
                raise MemoryError("no more")
            return work.call()

        return Built(call)

    found = measure(toy, eager(), fake("tired", tired))
    assert (found["tired"].status, found["tired"].reason) == (FAILED, "MemoryError: no more")
    assert found["tired"].median_ms is None
    assert (found["eager"].status, found["eager"].rounds) == (OK, 3)


def test_a_fault_of_our_own_is_not_charged_to_a_rival(toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise OptimizationError("[native] no libkpt_torch.so")

    monkeypatch.setattr("kernel_pytorch.benchmark.reference.distance", gone)
    with pytest.raises(OptimizationError, match="libkpt_torch"):
        measure(toy, eager())


def test_a_wrong_rival_is_timed_and_called_wrong(toy: str) -> None:
    def off(work: Work) -> Built:
        return Built(lambda: work.call() * 1.2)

    def shapeless(work: Work) -> Built:
        return Built(lambda: work.call()[:2])

    found = measure(toy, eager(), fake("off", off), fake("shapeless", shapeless))
    assert found["off"].status == WRONG
    assert found["off"].error == pytest.approx(0.2, rel=1e-4)
    assert found["off"].timed
    assert found["shapeless"].status == WRONG
    assert found["shapeless"].error is None


def test_a_model_that_cannot_be_made_fails_for_every_system(toy: str) -> None:
    found = measure(toy, eager(), function="gone")
    assert found["eager"].status == FAILED
    assert "no callable 'gone'" in found["eager"].reason


def test_gpu_rows_are_not_here_on_a_cpu() -> None:
    row = next(r for r in suite("encoders").rows if r.name == "BERT-large 32x128")
    found = run_row("encoders", row, [eager()], SETTINGS, Silent())
    assert [(r.status, r.reason) for r in found] == [(MISSING, "no GPU")]


def test_training_of_ours_is_not_built() -> None:
    row = next(r for r in suite("train").rows if r.devices == ("cpu",))
    found = run_row("train", row, systems.select(["eager", "openvino", "ours:*"]), SETTINGS, Silent())
    by_name = {r.system: r for r in found}
    assert by_name["ours:conservative"].reason == "training is not built yet"
    assert by_name["eager"].status == OK, by_name["eager"].reason
    assert by_name["openvino"].status == MISSING


def test_the_warm_load_is_measured_where_there_is_one(toy: str) -> None:
    built: list[str] = []

    def make(kind: str, work: Work) -> Built:
        built.append(kind)
        return Built(work.call, reload=lambda: make("warm", work), notes=[kind])

    found = measure(toy, fake("cached", lambda work: make("cold", work)), eager())
    assert built == ["cold", "warm"]
    assert found["cached"].warm_s is not None
    assert found["cached"].notes[:2] == ["cold", "warm"]
    assert found["eager"].warm_s is None


def test_padding_is_left_out_of_the_error() -> None:
    row = Row("MiniLM 2 sentences", "minilm_sentences", (2,))

    def junk_in_padding(work: Work) -> Built:
        mask = work.sample.kwargs["attention_mask"].unsqueeze(-1)

        def call() -> Any:
            out = work.call()
            return {"hidden": torch.where(mask.bool(), out.last_hidden_state, 1e3), "pooled": out.pooler_output}

        return Built(call)

    found = run_row("ragged", row, [fake("junk", junk_in_padding)], SETTINGS, Silent())
    assert found[0].status == OK, found[0].reason


def test_finished_rows_are_saved_before_the_next_starts(toy: str) -> None:
    made = runner.rows_of_model(f"{toy}:build", ["4x16", "2x16"], [], "fp32")
    saved: list[str] = []

    class Watch(Silent):
        def start(self, row: Row, systems: list[str]) -> None:
            saved.append(f"start {row.shape_text()}")

    run_suite(made, [eager()], SETTINGS, Watch(), lambda found: saved.append(f"saved {found[0].shape}"))
    assert saved == ["start 4x16", "saved 4x16", "start 2x16", "saved 2x16"]


# ---- time ----------------------------------------------------------------------------------------------------------


class Ticks:
    """A clock that only moves when a system runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.order: list[str] = []
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.now)

    def call(self, name: str, ms: float) -> Callable[[], None]:
        def run() -> None:
            self.order.append(name)
            self.now += int(ms * 1e6)

        return run


def test_rounds_run_there_and_back_and_medians_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Ticks(monkeypatch)
    calls = {"a": ticks.call("a", 30.0), "b": ticks.call("b", 40.0), "c": ticks.call("c", 50.0)}
    warm = {name: WarmUp(30.0, 1, True) for name in calls}
    samples = rounds(calls, CpuClock(), warm, count=2)
    assert samples == {"a": [30.0, 30.0], "b": [40.0, 40.0], "c": [50.0, 50.0]}
    assert "".join(ticks.order) == "aabbccccbbaa" * 2  # short calls run once untimed first


def test_short_calls_are_primed_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Ticks(monkeypatch)
    samples = rounds({"a": ticks.call("a", 0.5)}, CpuClock(), {"a": WarmUp(0.5, 1, True)}, count=1)
    assert samples == {"a": [0.5]}
    assert len(ticks.order) == 2 * (1 + clock.SLOT_MS / 0.5)


def test_warm_up_goes_on_while_times_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Ticks(monkeypatch)
    times = iter([100.0] * 4 + [50.0] * 3 + [25.0] * 3 + [24.9] * 3 + [10.0] * 99)

    def call() -> None:
        ticks.now += int(next(times) * 1e6)

    warm = clock.warm_up(CpuClock(), call, budget_s=60.0, most_calls=400)
    assert warm == WarmUp(pytest.approx(24.9), 13, True)
    cut = clock.warm_up(CpuClock(), ticks.call("x", 5.0), budget_s=60.0, most_calls=3)
    assert not cut.steady


def test_medians_agree_with_an_independent_timer(toy: str) -> None:
    settings = Settings("cpu", torch.get_num_threads(), runs=15)
    record = measure(toy, eager(), function="sleeper", settings=settings)["eager"]
    import benchmark_toy_for_test

    model, x = benchmark_toy_for_test.sleeper()
    with torch.inference_mode():
        independent = timeit.repeat(lambda: model(x), number=2, repeat=15)
    median = statistics.median(independent) / 2 * 1e3
    # The pause is 4 ms; a tenth of it is left to the scheduler of a machine that others use.
    assert record.low_ms - 0.4 <= median <= record.high_ms + 0.4


def test_what_bounds_a_row() -> None:
    top = Ceiling(tflops=1.0, gbs=100.0)
    assert top.bound(Least(flops=2 * 10**9, bytes=10**6)) == ("compute", pytest.approx(2.0))
    assert top.bound(Least(flops=0, bytes=10**8)) == ("memory", pytest.approx(1.0))


# ---- the command ---------------------------------------------------------------------------------------------------


def test_the_command_writes_all_three_files(toy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["benchmark", "--model", f"{toy}:build", "--input-shape", "4x16", "--batch-sizes", "2", "8"]
    arguments += ["--systems", "eager", "ours:conservative", "--runs", "3", "--output", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("geomean vs best rival: ")
    assert " over 2 rows; worst row: " in out.splitlines()[-1]
    (folder,) = (tmp_path / "out").iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["model.csv", "model.html", "model.jsonl"]
    found = records.read(folder / "model.jsonl")
    assert [(r.shape, r.system) for r in found[:2]] == [("2x16", "eager"), ("2x16", "ours:conservative")]
    assert found[1].command.startswith("kernelpytorch benchmark --model benchmark_toy_for_test:build")
    assert len((folder / "model.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "quick", "--only", "nothing"], "--only 'nothing'"),
        (["--runs", "2"], "--runs 2"),
        (["--model", "x:y", "--suite", "quick"], "--model and --suite"),
        (["--systems", "nobody"], "the system 'nobody'"),
    ],
)
def test_wrong_options_say_so(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_cuda_without_a_gpu_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    from kernel_pytorch.benchmark.cli import run

    with pytest.raises(InputError, match="--device cuda without a GPU"):
        parser = cli.build_parser()
        run(parser.parse_args(["benchmark", "--device", "cuda"]))


@pytest.mark.parametrize("heads, lengths", [((4, 4), (7, 9)), ((4, 2), (8, 8)), ((6, 1), (1, 5))])
def test_products_of_attention_are_counted_by_the_querys_heads(heads: tuple, lengths: tuple) -> None:
    query, key = (2, heads[0], lengths[0], 16), (2, heads[1], lengths[1], 16)
    value = (*key[:-1], 24)
    counted = reference._attention_flops(query, key, value)
    spread = [(2, heads[0], *shape[2:]) for shape in (key, value)]
    assert counted == sdpa_flop_count(query, *spread)
    assert counted == 2 * 2 * heads[0] * lengths[0] * lengths[1] * (16 + 24)

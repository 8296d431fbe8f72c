# SPDX-License-Identifier: Apache-2.0
"""What the runner does for a GPU, as far as that shows without one: limits, headline, files made by several calls."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kernel_pytorch import cli
from kernel_pytorch.benchmark import facts, records, runner, systems
from kernel_pytorch.benchmark.limit import Deadline, RowLimitError
from kernel_pytorch.benchmark.records import MISSING, OK, Record
from kernel_pytorch.benchmark.reference import Ceiling
from kernel_pytorch.benchmark.runner import Settings, command, run_row
from kernel_pytorch.benchmark.suites import Row
from kernel_pytorch.benchmark.summary import lines, ratios
from kernel_pytorch.benchmark.systems import Built, System

SETTINGS = Settings("cpu", torch.get_num_threads(), runs=3, budget_s=0.1, warm_up_calls=8)
ROW = Row("MLP 4", "mlp", (4,))


class Silent:
    def start(self, *_: object) -> None: ...
    def stage(self, *_: object) -> None: ...
    def sampled(self, *_: object) -> None: ...
    def done(self, *_: object) -> None: ...


@pytest.fixture(autouse=True)
def low_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ceiling", lambda *_: Ceiling(0.1, 10.0))


def fake(name: str, build: Any) -> System:
    rival = SimpleNamespace(missing=lambda variant, work: None, build=lambda variant, work: build(work))
    return System(name, "", rival)


def test_a_deadline_ends_what_runs_too_long() -> None:
    deadline = Deadline(0.1)
    start = time.perf_counter()
    with pytest.raises(RowLimitError, match=r"limit of 0\.1 s"), deadline:
        while True:
            pass
    assert time.perf_counter() - start < 1
    with pytest.raises(RowLimitError), deadline:  # spent: nothing starts any more
        raise AssertionError("started")
    with Deadline(0):
        time.sleep(0.01)


def test_with_a_limit_ours_is_built_before_the_rivals_and_late_ones_say_so() -> None:
    order = []

    def quick(name: str) -> System:
        def build(work: Any) -> Built:
            order.append(name)
            return Built(work.call)

        return fake(name, build)

    def endless(work: Any) -> Built:
        order.append("slow")
        try:
            while True:
                time.sleep(0.001)
        except Exception as error:
            raise ValueError("the compiler failed") from error

    chosen = [quick("eager"), fake("slow", endless), quick("never"), quick("ours:balanced")]
    found = run_row("gpu", ROW, chosen, replace(SETTINGS, limit_s=20.0), Silent())
    assert order == ["eager", "ours:balanced", "slow"]
    assert [r.system for r in found] == ["eager", "slow", "never", "ours:balanced"]
    assert [r.status for r in found] == [OK, MISSING, MISSING, OK]
    assert all("limit of 20 s" in r.reason for r in found[1:3])
    assert found[3].timed


def test_a_result_that_the_next_call_overwrites_is_judged_by_what_it_was() -> None:
    def graph(work: Any) -> Built:
        place = work.call().clone()
        calls = []

        def call() -> torch.Tensor:
            calls.append(1)
            return place.copy_(work.call()) if len(calls) == 1 else place.zero_()

        return Built(call, reload=lambda: (call(), Built(work.call))[1])

    found = run_row("gpu", ROW, [fake("eager", lambda w: Built(w.call)), fake("graph", graph)], SETTINGS, Silent())
    assert found[1].status == OK, found[1].reason


def test_decoding_against_a_static_cache_is_a_row() -> None:
    """Its cache has to follow the weights into f64, and calls have to repeat."""
    row = Row("decode", "llama_small_decode", (2, 24))
    found = run_row("decoders", row, [fake("eager", lambda w: Built(w.call))], SETTINGS, Silent())
    assert (found[0].status, found[0].reference) == (OK, "fp64"), found[0].reason
    assert found[0].error < 1e-5


def _record(row: str, system: str, ms: float, device: str = "cuda") -> Record:
    made = Record("gpu", row, system, device=device, error=1e-3, machine={"gpu": "X"}, date="2026-01-01T00:00:00Z")
    made.samples_ms, made.median_ms = [ms, ms * 1.01, ms * 0.99], ms
    made.low_ms, made.high_ms = ms * 0.99, ms * 1.01
    return made


def test_on_a_gpu_the_default_level_stands_for_ours() -> None:
    row = [_record("a", "eager", 3.0), _record("a", "ours:conservative", 2.9), _record("a", "ours:balanced", 1.5)]
    (ratio,) = ratios(row)
    assert ratio.median == pytest.approx(2.0)
    assert lines(row)[-1].startswith("geomean vs best rival: 2.00 ")
    assert lines(row)[0].startswith("ours:conservative: geomean vs best rival: 1.03 ")
    (ratio,) = ratios([replace(r, device="cpu") for r in row])
    assert ratio.median == pytest.approx(3.0 / 2.9)


def test_the_command_of_a_number_names_the_gpu() -> None:
    (compiled,) = systems.select(["compile:max-autotune"])
    assert command("gpu", Row("ViT-L b1", "vit_large", (1, 224)), compiled, "cuda") == (
        "kernelpytorch benchmark --suite gpu --only 'ViT-L b1' --device cuda "
        "--systems eager compile:max-autotune ours:balanced"
    )


def test_several_calls_make_one_file_and_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(row: str) -> str:
        arguments = ["benchmark", "--suite", "quick", "--rows", row, "--systems", "eager", "ours:conservative"]
        arguments += ["--runs", "3", "--output", str(tmp_path), "--no-history", "--no-energy", "--commit", "abc1234"]
        assert cli.main(arguments) == 0
        return capsys.readouterr().out

    try:
        assert "with rows of earlier calls" not in call("MLP 32x256")
        second = call("CNN 8x64x64")
    finally:
        facts._told.clear()
    assert "with rows of earlier calls: geomean vs best rival: " in second
    assert " over 2 rows" in second
    (folder,) = tmp_path.iterdir()
    found = records.read(folder / "quick.jsonl")
    assert [r.row for r in found[::2]] == ["MLP 32x256", "CNN 8x64x64"]
    assert {r.commit for r in found} == {"abc1234"}
    assert {r.energy_mj for r in found} == {"not here: not asked for"}
    assert (folder / "quick.csv").read_text().count("\n") == 5


def test_a_package_beside_its_tree_finds_the_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "ROOT", tmp_path)
    (tmp_path / "tree" / "benchmarks" / "rivals").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "tree")
    assert facts.benchmarks_folder() == tmp_path / "tree" / "benchmarks"

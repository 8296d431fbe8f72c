# SPDX-License-Identifier: Apache-2.0
"""benchmarks/test_gpu.py: what it makes of outputs, and that it claims nothing where there is no GPU."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from kernel_pytorch.benchmark import runner, systems
from kernel_pytorch.benchmark.facts import benchmarks_folder
from kernel_pytorch.benchmark.records import FAILED, OK, Record


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kpt_test_gpu", benchmarks_folder() / "test_gpu.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["kpt_test_gpu"] = module
    spec.loader.exec_module(module)
    return module


_PASSED = "[ RUN      ] X\n[       OK ] X (3 ms)\n[  PASSED  ] 1 test.\n"
_FAILURE = "a/b_test.cpp:12: Failure\nExpected equality of these values:\n  check(*k, j)\n    Which is: 3 wrong\n\n"


def test_what_the_kernels_said(script: ModuleType) -> None:
    assert script.read_gtest(_PASSED, 0) == ("ok", [])
    status, faults = script.read_gtest(_FAILURE + "[  FAILED  ] 1 test\n", 1)
    assert (status, faults) == ("failed", ["Expected equality of these values: check(*k, j) Which is: 3 wrong"])
    assert script.read_gtest(_PASSED[:20], 139)[0] == "failed"  # it crashed
    assert script.read_gtest("[==========] Running 0 tests\n[  PASSED  ] 0 tests.\n", 0) == ("failed", ["no test ran"])
    assert script.read_gtest(_FAILURE, None)[0] == script.LEFT
    skipped = "not checked: no NVIDIA driver\n[  SKIPPED ] X\n[  PASSED  ] 0 tests.\n"
    assert script.read_gtest(skipped, 0) == ("not checked", ["not checked: no NVIDIA driver"])


def test_what_the_sanitizer_said(script: ModuleType) -> None:
    clean = "========= COMPUTE-SANITIZER\n" + _PASSED + "========= ERROR SUMMARY: 0 errors\n"
    assert script.read_sanitizer(clean, 0) == ("ok", [])
    racy = _PASSED + "========= Error: Race reported between Write and Read\n========= RACECHECK SUMMARY: 1 hazard\n"
    assert script.read_sanitizer(racy, 9)[0] == "failed"
    wrong = "========= Invalid __global__ read of size 4\n" + _PASSED + "========= ERROR SUMMARY: 7 errors\n"
    status, found = script.read_sanitizer(wrong, 9)
    assert status == "failed"
    assert found == ["7 findings", "Invalid __global__ read of size 4"]
    assert script.read_sanitizer(_PASSED, 0)[0] == "failed"  # it did not look


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, "ok"),
        ({"ratio": [0.99, 0.97, 0.985]}, "ok"),  # the interval holds 0.98
        ({"ratio": [0.9, 0.88, 0.95]}, "failed"),
        ({"error": 3e-3}, "failed"),
        ({"status": "wrong"}, "failed"),
        ({"eager_status": "failed"}, "failed"),
    ],
)
def test_when_a_model_is_good(script: ModuleType, change: dict, status: str) -> None:
    found = {"status": "ok", "eager_status": "ok", "error": 1e-3, "eager_error": 1e-3, "ratio": [1.2, 1.1, 1.3]}
    assert script.verdict({**found, **change}) == status


def test_the_child_measures_eager_and_ours(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(name: str, row: object, chosen: list, *_: object) -> list[Record]:
        assert [s.name for s in chosen] == ["eager", "ours:balanced"]
        made = [Record("models", "x", s.name, status=OK, error=1e-3) for s in chosen]
        for r, ms in zip(made, (2.0, 1.0), strict=True):
            r.samples_ms, r.median_ms = [ms] * 3, ms
        return made

    monkeypatch.setattr(runner, "run_row", row)
    script.measure("mlp 32")
    line = json.loads(capsys.readouterr().out)
    assert line["ratio"] == [2.0, 2.0, 2.0]
    assert script.verdict(line) == "ok"


def test_the_models_are_all_there_is_and_can_be_made(script: ModuleType) -> None:
    rows = script.model_rows()
    zoo = systems.zoo()
    families = {model for model, _ in rows.values()}
    assert {"minilm", "bert_large", "resnet50", "llama_8b", "llama_8b_decode", "lstm", "roberta", "swin"} <= families
    from kpt_benchmark_models.architectures import ARCHITECTURES

    assert len(ARCHITECTURES) >= 20
    for name, (entry, shape) in ARCHITECTURES.items():
        with torch.device("meta"):
            assert sum(p.numel() for p in entry.make().parameters()) > 1_000_000, name
        assert entry.inputs(*shape)
        assert zoo.entry(name) is entry


def test_each_planted_fault_is_a_program(script: ModuleType) -> None:
    for name, program in script._FAULTS.items():
        ast.parse(script._HEAD + program)
        assert 'print("right"' in program, name


_PRINTS = "import sys, json; print('RESULT' + json.dumps({'n': int(sys.argv[1])})); raise SystemExit(int(sys.argv[2]))"


@pytest.mark.parametrize(
    ("text", "arguments", "status"),
    [
        (_PRINTS, ["1", "0"], "ok"),
        (_PRINTS, ["2", "0"], "failed"),
        (_PRINTS, ["1", "3"], "failed"),  # it ended badly, whatever it printed
        ("print('no result')", [], "failed"),
        ("import time; time.sleep(60)", [], "left: out of time"),
    ],
)
def test_what_a_script_printed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, arguments: list[str], status: str
) -> None:
    monkeypatch.setattr(script, "PROGRAMS", tmp_path)
    (tmp_path / "one.py").write_text(text, encoding="utf-8")
    job = script.Job(tmp_path, tmp_path / "out.jsonl", {}, 2.0)
    left = 20.0 if status != script.LEFT else 1.0
    script.script(job, "memory", "x", ["one", *arguments], left, lambda found: found["n"] == 1)
    (line,) = job.found
    assert (line["part"], line["name"], line["status"]) == ("memory", "x", status)


_FILLS = """
import json, os, pathlib, sys
cache = pathlib.Path(os.environ["KPT_CACHE_DIR"])
first = not cache.exists()
if sys.argv[1] == "gpt2_medium":
    raise SystemExit("no cache today")
cache.mkdir(exist_ok=True)
print("RESULT" + json.dumps({"first_result_s": 9.0 if first else 1.5 if sys.argv[1] == "minilm" else 2.5}))
"""


def test_warm_is_a_second_process_with_the_cache_of_the_first(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "PROGRAMS", tmp_path)
    (tmp_path / "warm.py").write_text(_FILLS, encoding="utf-8")
    job = script.Job(tmp_path, tmp_path / "out.jsonl", {}, 60.0)
    script.warm(job, ["MiniLM 1x128", "BERT-base 1x128", "GPT-2 medium 1x128"])
    found = {line["name"]: (line["status"], line.get("first_result_s"), line.get("reason")) for line in job.found}
    assert found == {
        "MiniLM 1x128": ("ok", 1.5, None),
        "BERT-base 1x128": ("failed", 2.5, None),
        "GPT-2 medium 1x128": ("failed", None, "the first process: no cache today"),
    }


def test_operators_are_read_from_the_sources(script: ModuleType) -> None:
    assert {"aten.linear", "kpt.attention", "aten.softmax.int"} <= set(script.operators())


def test_what_is_named_is_an_operator_or_a_test(script: ModuleType, tmp_path: Path) -> None:
    cases, test = script.tasks(tmp_path / "program", ["aten.linear", "WideGemm.OnAGpuAgrees"], "1/1")
    assert cases.environment() == {"KPT_TEST_OPS": "aten.linear"}
    assert test.environment() == {}
    assert test.arguments(tmp_path)[1] == "--gtest_filter=WideGemm.OnAGpuAgrees"


def test_gpu_tests_of_both_programs_are_found(script: ModuleType, tmp_path: Path) -> None:
    kernels, graphs = tmp_path / "kernels/kpt_kernels_test", tmp_path / "cuda/kpt_cuda_test"
    for path, tests in ((kernels, "A.\n  OnAGpuOne\n  Other\nB.\n  OnAGpuTwo"), (graphs, "G.\n  OnAGpuCopies")):
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\necho '{tests}'\n")
        path.chmod(0o755)
    found = [task for task in script.tasks(kernels, [], "1/1") if "OnAGpu" in task.name]
    assert [task.name for task in found] == ["A.OnAGpuOne", "B.OnAGpuTwo", "G.OnAGpuCopies"]
    assert [task.arguments(kernels)[0] for task in found] == [str(kernels), str(kernels), str(graphs)]
    named = script.tasks(kernels, ["aten.linear", "A.OnAGpuOne", "G.OnAGpuCopies"], "1/1")
    assert [task.arguments(kernels)[0] for task in named] == [str(kernels), str(kernels), str(graphs)]
    graphs.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(SystemExit, match="does not list its tests"):
        script.tasks(kernels, [], "1/1")


def test_a_child_that_takes_too_long_is_stopped(script: ModuleType) -> None:
    code, text, seconds = script.run([sys.executable, "-c", "import time; print('a', flush=True); time.sleep(60)"], 2)
    assert (code, text.strip()) == (None, "a")
    assert seconds < 20
    assert script.run([sys.executable, "-c", "print('b'); raise SystemExit(3)"], 60)[:2] == (3, "b\n")


def test_a_part_whose_tool_is_missing_claims_nothing(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = script.Job(tmp_path, tmp_path / "out.jsonl", {"commit": "abc"}, 10.0)
    script.conformance(job, [])
    script.sanitizer(job, None, [])
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["not checked", "not checked"]
    assert {line["commit"] for line in lines} == {"abc"}
    assert script.summary(job.found, job.output) == 0
    job.tell("models", "x", FAILED)
    assert script.summary(job.found, job.output) == 1
    assert "failed: models x" in capsys.readouterr().out


def test_shards_are_all_of_it_together(script: ModuleType) -> None:
    names = list("abcdefg")
    parts = [script.share(names, f"{k}/3") for k in (1, 2, 3)]
    assert sorted(sum(parts, [])) == names
    assert parts[1] == ["b", "e"]
    for wrong in ("0/3", "4/3", "x"):
        with pytest.raises(SystemExit, match="want K/N"):
            script.share(names, wrong)


def test_out_of_time_is_said_for_each_model_that_is_left(script: ModuleType, tmp_path: Path) -> None:
    job = script.Job(tmp_path, tmp_path / "out.jsonl", {}, 0.0)
    script.models(job, ["mlp 32", "swin"], False, 1)
    assert [(line["name"], line["status"]) for line in job.found] == [("mlp 32", script.LEFT), ("swin", script.LEFT)]


def test_the_page_of_a_device_shows_what_was_looked_at(script: ModuleType, tmp_path: Path) -> None:
    sys.path.insert(0, str(benchmarks_folder().parent / "tools"))
    import make_results

    where = tmp_path / "nvidia-h200" / "test_gpu.jsonl"
    job = script.Job(tmp_path, where, {"commit": "abc", "machine": {"driver": "580.1"}}, 10.0)
    job.tell("conformance", "all", FAILED, first=["old"])
    job.tell("conformance", "all", OK)
    job.tell("sanitizer", "memcheck aten.linear", FAILED, first=["7 findings", "Invalid read"])
    job.tell("host", "BERT-base 1x128", OK, call_us=7.89, other_memory_us=8.77, replay_of_eager_us=16.9)
    job.tell("host", "ViT-L b1", script.LEFT)
    job.tell("warm", "ViT-L b1", OK, 9.0, first_result_s=1.625, remark="a | b")
    good = {"ratio": [1.5, 1.4, 1.6], "eager_ms": 3.0, "ours_ms": 2.0, "error": 1e-3, "eager_error": 2e-3}
    job.tell("models", "swin", OK, **good, ready_s=3.3, launches=[200, 90])
    job.tell("models", "opt", FAILED, reason="it |broke|")
    row = {"case": "softmax", "sizes": "[8, 9]", "us": 2.5, "gbs": 3000.0, "copy_gbs": 4000.0, "percent": 75.0}
    device = {"gpu": "NVIDIA H200", "driver": 13000, "commit": "abc"}
    lines = [row | device, {"case": "gelu", "error": "no kernel"} | device | {"copy_gbs": 4000.0}]
    where.with_name("rows.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (text,) = make_results.pages(tmp_path).values()
    assert "| softmax | [8, 9] | 2.5 | 3000 | 75 % |" in text
    assert "| BERT-base 1x128 | 7.9 | 8.8 | 16.9 | abc |  |" in text
    assert "| ViT-L b1 | 1.62 | abc | a \\| b |" in text
    assert text.count("| ViT-L b1 |") == 1
    assert "| gelu |  | | | no kernel |" in text
    assert "Commit abc; driver 580.1." in text
    assert "| conformance | 1 ok |" in text
    assert "| models | 1 ok, 1 failed |" in text
    assert "- sanitizer memcheck aten.linear: failed: 7 findings; Invalid read" in text
    assert "| swin | 3.000 | 2.000 | 1.50 [1.40, 1.60] | 1.0e-03 (2.0e-03) | 3.3 | 200 to 90 |  |" in text
    assert "| opt | | | | | | | failed: it \\|broke\\| |" in text
    assert text.index("| opt |") < text.index("| swin |")  # what is amiss first


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_claimed(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"
    assert script.main(["--output", str(output)]) == 0
    assert capsys.readouterr().out == "not checked: no NVIDIA driver\n"
    assert not output.exists()


def test_findings_inside_cudnn_are_told_but_not_ours(script: ModuleType) -> None:
    race = "========= Error: Race reported between Read access at {}+0x2e0\n"
    tail = "========= RACECHECK SUMMARY: 42 hazards\n"
    cudnn = _PASSED + race.format("cudnn_generated_fort_native_sdpa_sm90") + tail
    status, found = script.read_sanitizer(cudnn, 9)
    assert status == "ok" and found[0] == "42 findings, all inside cuDNN's own kernels"
    both = _PASSED + race.format("cudnn_generated_fort_native_sdpa_sm90") + race.format("attention") + tail
    assert script.read_sanitizer(both, 9)[0] == "failed"
    warned = _PASSED + race.format("cudnn_generated_fort_native_sdpa_sm90")
    warned += race.replace("Error", "Warning").format("attention") * 2 + tail
    assert script.read_sanitizer(warned, 9) == (
        "failed",
        [
            "42 findings",
            "Error: Race reported between Read access at cudnn_generated_fort_native_sdpa_sm90",
            "Warning: Race reported between Read access at attention",
        ],
    )
    nothing = _PASSED + "========= Error: Target application terminated before first instrumented API call\n"
    assert script.read_sanitizer(nothing, 255) == ("not checked", ["it launches nothing"])


def test_a_model_that_fails_among_others_is_looked_at_alone(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(script.model_rows())[:3]
    asked = []

    def one_model(name: str, seconds: float, cache: str, turn: str) -> tuple[str, float, dict]:
        asked.append((name, bool(turn)))
        return (FAILED if name == names[1] and not turn else OK), 1.0, {}

    monkeypatch.setattr(script, "one_model", one_model)
    job = script.Job(tmp_path, tmp_path / "out.jsonl", {}, 100.0, jobs=2)
    script.models(job, names, False, 3)
    assert sorted(asked) == sorted([(name, False) for name in names] + [(names[1], True)])
    found = {line["name"]: line for line in job.found}
    assert {name: line["status"] for name, line in found.items()} == dict.fromkeys(names, OK)
    assert found[names[0]]["together"] == 3 and "together" not in found[names[1]]
    assert job.limit == 100.0  # the parts that follow have all of theirs

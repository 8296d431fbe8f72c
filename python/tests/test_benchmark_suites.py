# SPDX-License-Identifier: Apache-2.0
"""The suites are data: names, aliases, and that every row can be built."""

from __future__ import annotations

import pytest
import torch

from kernel_pytorch import InputError, cli
from kernel_pytorch.benchmark import systems
from kernel_pytorch.benchmark.reference import Truth
from kernel_pytorch.benchmark.suites import ALIASES, SUITES, Suite, on_device, suite

# The rows that the design measures other software by. Their names are how they are found again.
_WHOLE_MODELS = {
    "encoders": (
        "BERT-large 32x128",
        "BERT-large 32x512",
        "MiniLM 1x16",
        "MiniLM 1x128",
        "MiniLM 8x128",
        "MiniLM 32x128",
    ),
    "decoders": (
        "GPT-2 medium 8x1024",
        "Llama-3-8B shape, prefill 4x2048",
        "Llama-3-8B shape, decode b16, 2048 cached",
    ),
    "vision": ("ViT-L/16 b32", "ResNet-50 b64"),
    "latency": ("MiniLM 1x128", "BERT-base 1x128", "ViT-L b1", "ResNet-50 b1", "GPT-2 medium 1x128"),
    "train": ("train step GPT-2 medium 8x1024, AdamW", "train step Llama-1B shape 4x2048, bf16"),
}


@pytest.mark.parametrize("name", _WHOLE_MODELS)
def test_whole_model_rows_are_in_by_name(name: str) -> None:
    rows = [row.name for row in suite(name).rows]
    assert set(_WHOLE_MODELS[name]) <= set(rows)
    assert len(set(rows)) == len(rows)


def test_the_suites_and_their_aliases() -> None:
    assert list(SUITES) == ["quick", "encoders", "decoders", "vision", "latency", "ragged", "train", "gpu", "kernels"]
    assert suite("transformers").rows == suite("encoders").rows + suite("decoders").rows
    assert suite("optimization").rows[-1] == suite("vision").rows[-1]
    with pytest.raises(InputError, match="got the suite 'fast', want one that exists, try quick"):
        suite("fast")


def test_the_rows_that_judge_the_gpu() -> None:
    assert {(row.name, row.dtype, row.devices) for row in suite("gpu").rows} == {
        (name, "bf16", ("cuda",))
        for name in (
            "BERT-large 32x128",
            "BERT-large 32x512",
            "GPT-2 medium 8x1024",
            "Llama-3-8B shape, prefill 4x2048",
            "Llama-3-8B shape, decode b16, 2048 cached",
            "ViT-L/16 b32",
            "ResNet-50 b64",
            "MiniLM 1x128",
            "BERT-base 1x128",
            "ViT-L b1",
            "ResNet-50 b1",
            "GPT-2 medium 1x128",
        )
    }
    assert {s.name for s in systems.select(suite("gpu").systems)} == {
        "eager",
        "compile",
        "compile:reduce-overhead",
        "compile:max-autotune",
        "ours:balanced",
    }


def test_rows_for_both_devices_are_bf16_on_a_gpu() -> None:
    assert {row.dtype for row in on_device(suite("latency"), "cuda").rows} == {"fp32", "bf16"}  # 1x16 is for CPUs
    assert {row.dtype for row in on_device(suite("latency"), "cpu").rows} == {"fp32"}


def _all_rows() -> list[tuple[str, str]]:
    return sorted({(row.model, row.kind) for s in SUITES.values() for row in s.rows})


@pytest.mark.parametrize(("model", "kind"), _all_rows())
def test_every_row_names_a_model_of_the_zoo(model: str, kind: str) -> None:
    zoo = systems.zoo()
    assert (model in zoo.ENTRIES) == (kind != "kernel")
    assert callable(zoo.entry(model).make)


def test_inputs_are_random_with_fixed_seeds_and_never_zeros() -> None:
    zoo = systems.zoo()
    for name, shape in (("cnn", (2, 64)), ("mlp", (4,)), ("swiglu", (8, 16)), ("attention", (1, 2, 8, 4))):
        (_, first), (_, second) = zoo.build(name, shape), zoo.build(name, shape)
        for a, b in zip(first, second, strict=True):
            assert a.equal(b)
            assert a.std() > 0.8
    assert not zoo.entry("swiglu").inputs(8, 16)[0].equal(zoo.entry("swiglu").inputs(8, 16)[1])


def test_sentences_are_ragged() -> None:
    inputs = systems.zoo().entry("minilm_sentences").inputs(8)
    lengths = inputs["attention_mask"].sum(1)
    assert inputs["input_ids"].shape[0] == 8
    assert lengths.max() == inputs["input_ids"].shape[1]
    assert lengths.min() < lengths.max()


def test_quick_compares_with_three_rivals_at_least() -> None:
    chosen = [s.name for s in systems.select(suite("quick").systems)]
    assert chosen == ["eager", "compile", "onnxruntime", "openvino", "ours:conservative"]


def test_systems_are_found_in_their_folders() -> None:
    names = list(systems.systems())
    assert names[0] == "eager"
    assert names[-3:] == ["ours:conservative", "ours:balanced", "ours:aggressive"]
    assert {"compile:max-autotune", "onnxruntime:int8", "openvino:bf16", "torchao:fp8"} <= set(names)
    assert [s.name for s in systems.select(["onnxruntime:*"])] == [n for n in names if n.startswith("onnxruntime")]
    with pytest.raises(InputError, match="got the system 'tensorrt'"):
        systems.select(["tensorrt"])


def test_the_list_shows_suites_rows_and_systems(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark", "--list"]) == 0
    out = capsys.readouterr().out
    assert "  BERT-large 32x128  (bf16, cuda)" in out
    assert "transformers = encoders + decoders" in out
    assert isinstance(SUITES["quick"], Suite)
    assert set(ALIASES) == {"transformers", "optimization"}


def test_the_bound_of_a_result_follows_the_models_own_rounding() -> None:
    outputs = [torch.ones(4, dtype=torch.float64)]
    assert Truth(outputs, "fp64", None).bounds == (0.05, 0.999)
    assert Truth(outputs, "fp64", None, (0.01, 0.99995)).bounds == (0.05, 0.999)
    error, cosine = Truth(outputs, "fp64", None, (0.056, 0.9984)).bounds
    assert error == pytest.approx(0.112) and cosine == pytest.approx(0.9936)
    assert Truth(outputs, "fp64", None, (float("inf"), 0.0)).bounds == (0.05, 0.999)  # of a model without an answer

# SPDX-License-Identifier: Apache-2.0
"""Small models of every family, optimised without a stopwatch: tests assert results, never speed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

os.environ["KPT_KEEP_CAPTURES"] = "0"  # each test captures; test_kept_captures.py switches it on

import kernel_pytorch as kpt
from kernel_pytorch import _native, kept_captures
from kernel_pytorch.timing import Interval, Timing


@dataclass
class Family:
    """A model and how it is called."""

    model: nn.Module
    sample: Any

    def call(self, model: nn.Module) -> Any:
        if isinstance(self.sample, dict):
            return model(**self.sample)
        return model(*self.sample) if isinstance(self.sample, tuple) else model(self.sample)


def _mlp() -> Family:
    return Family(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 8)), torch.randn(6, 32))


def _cnn() -> Family:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    with torch.no_grad():
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2.0)
    return Family(model, torch.randn(4, 3, 16, 16))


class _Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(50, 16), nn.LSTM(16, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embed(ids))[0])


def _lstm() -> Family:
    return Family(_Tagger(), torch.randint(0, 50, (4, 9)))


def _text(model: nn.Module, vocabulary: int = 99) -> Family:
    ids = torch.randint(1, vocabulary, (4, 12))
    return Family(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})


def _bert() -> Family:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    return _text(BertModel(BertConfig(vocab_size=99, max_position_embeddings=64, **sizes)))


def _gpt2() -> Family:
    from transformers import GPT2Config, GPT2LMHeadModel

    return _text(
        GPT2LMHeadModel(GPT2Config(vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=4, use_cache=False))
    )


def _llama() -> Family:
    from transformers import LlamaConfig, LlamaModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return _text(LlamaModel(LlamaConfig(vocab_size=99, intermediate_size=48, use_cache=False, **sizes)))


def _vit() -> Family:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    return Family(
        ViTModel(ViTConfig(image_size=32, patch_size=8, **sizes)), {"pixel_values": torch.randn(3, 3, 32, 32)}
    )


def _resnet() -> Family:
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    return Family(ResNetModel(config), {"pixel_values": torch.randn(2, 3, 32, 32)})


FAMILIES: dict[str, Callable[[], Family]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "lstm": _lstm,
    "bert": _bert,
    "gpt2": _gpt2,
    "llama": _llama,
    "vit": _vit,
    "resnet": _resnet,
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_history(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test writes into the user's history."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg-data"))


@pytest.fixture
def experts() -> nn.Module:
    """A small mixture of experts, for input_ids below 99."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 99}
    config = transformers.MixtralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4)
    torch.manual_seed(0)
    return transformers.MixtralForCausalLM(config).eval()


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Captures are kept, in a folder of the test's own."""
    monkeypatch.setattr(kept_captures, "folder", lambda: tmp_path)
    _native.set_setting("keep_captures", "1")
    yield tmp_path
    _native.set_setting("keep_captures", "0")


@pytest.fixture
def family(request: pytest.FixtureRequest) -> Family:
    """The family named by an indirect parameter, in eval mode."""
    made = FAMILIES[request.param]()
    made.model.eval()
    return made


@pytest.fixture
def any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every right plan counts as faster: what is tested is the plan, and these models are too small to gain."""
    monkeypatch.setattr(Timing, "verdict", lambda self: (True, f"taken untimed in {self.rounds} rounds"))
    monkeypatch.setattr("kernel_pytorch.optimize.TIMING_BUDGET_S", 0.02)


@pytest.fixture
def mlp(any_speed: None) -> tuple[nn.Module, kpt.OptimizedModule]:
    """A small model and its plan."""
    made = _mlp()
    made.model.eval()
    fast = kpt.auto_optimize(made.model, made.sample)
    assert fast.report.kept, fast.report.reason
    return made.model, fast


@pytest.fixture
def plant() -> Iterator[Callable[[str], None]]:
    """Plants a fault into the engine by name; taken out again after the test. Faults live in a library of their own."""
    library = ctypes.CDLL(str(_native.find_library().parent / "libkpt_faults.so"))
    planted: list[str] = []

    def put(name: str) -> None:
        assert library.kpt_plant(name.encode()) == 0, f"no fault named {name}"
        planted.append(name)

    yield put
    for name in planted:
        library.kpt_unplant(name.encode())


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, and so what is optimised meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def close(new: Any, old: Any, tolerance: float = 1e-5) -> bool:
    """Relative RMSE of two tensors below the tolerance of f32 models of a few layers."""
    new, old = new.detach().double(), old.detach().double()
    return bool(((new - old).square().mean().sqrt() <= tolerance * old.square().mean().sqrt() + 1e-12).item())


__all__ = ["FAMILIES", "Family", "Interval", "close"]

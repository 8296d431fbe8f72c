# SPDX-License-Identifier: Apache-2.0
"""Models by name: packaged, callable, .pt2; files cut short or unsafe."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import kernel_pytorch as kpt
from kernel_pytorch import models


@pytest.fixture
def pt2(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(nn.Linear(8, 4), (torch.randn(3, 8),)), path)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.randn(16, 16), "b": torch.arange(5)}, path)
    return path


def test_packaged_model() -> None:
    loaded = models.load("all-MiniLM-L6-v2", [(2, 16)])
    assert loaded.samples[0].describe() == "input_ids 2x16, attention_mask 2x16"
    assert not loaded.model.training
    assert sum(p.numel() for p in loaded.model.parameters()) == 22_713_216


def test_callable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_for_test.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Linear(8, 4), torch.ones(2, 8)\ndef wrong():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    loaded = models.load("mine_for_test:build")
    assert isinstance(loaded.model, nn.Linear)
    assert loaded.samples[0].args[0].shape == (2, 8)
    assert models.load("mine_for_test:build", [(5, 8)]).samples[0].args[0].shape == (5, 8)
    with pytest.raises(kpt.InputError, match="returned int"):
        models.load("mine_for_test:wrong")
    with pytest.raises(kpt.InputError, match="no callable 'missing'"):
        models.load("mine_for_test:missing")
    with pytest.raises(kpt.InputError, match="No module named 'no_such_module_here'"):
        models.load("no_such_module_here:f")


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "x.pkl", "x.ckpt"])
def test_pickles_are_refused_unopened(name: str) -> None:
    with pytest.raises(kpt.InputError, match="a pickle: reading it runs code"):
        models.load(name)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(kpt.InputError, match="all-MiniLM-L6-v2"):
        models.load("bert")


def test_pt2(pt2: Path) -> None:
    loaded = models.load(str(pt2))
    x = loaded.samples[0].args[0]
    assert x.shape == (3, 8)
    assert loaded.model(x).shape == (3, 4)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_pt2_cut_short(pt2: Path, share: float) -> None:
    data = pt2.read_bytes()
    pt2.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(kpt.InputError, match="want a whole"):
        models.load(str(pt2))


def test_pt2_with_a_damaged_byte(pt2: Path) -> None:
    with zipfile.ZipFile(pt2) as archive:
        info = next(i for i in archive.infolist() if "weights/weight_0" in i.filename)
    data = bytearray(pt2.read_bytes())
    data[info.header_offset + len(info.FileHeader()) + 40] ^= 0xFF
    pt2.write_bytes(data)
    with pytest.raises(kpt.InputError, match="damaged|whole"):
        models.load(str(pt2))


def _rewrite(path: Path, change: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(entries)).partition("/")[0]
    entries |= {f"{root}/{name}": data for name, data in change.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def test_pt2_that_holds_pickled_weights(pt2: Path) -> None:
    config = {
        "config": {"weight": {"path_name": "weight_0", "is_param": True, "use_pickle": True, "tensor_meta": None}}
    }
    _rewrite(pt2, {"data/weights/model_weights_config.json": json.dumps(config).encode()})
    with pytest.raises(kpt.InputError, match="weight is pickled"):
        models.load(str(pt2))


def test_pt2_whose_sample_inputs_would_run_code(pt2: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "it_ran",))

    torch.save(Evil(), tmp_path / "evil.pt")
    _rewrite(pt2, {"data/sample_inputs/model.pt": (tmp_path / "evil.pt").read_bytes()})
    with pytest.raises(kpt.InputError, match="more than tensors"):
        models.load(str(pt2))
    assert not (tmp_path / "it_ran").exists()


def test_whole_safetensors(weights: Path) -> None:
    models.check_safetensors(weights)


@pytest.mark.parametrize("keep", [0, 7, 8, 60, -1, -100])
def test_safetensors_cut_short(weights: Path, keep: int) -> None:
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(kpt.InputError, match="bytes"):
        models.check_safetensors(weights)


@pytest.mark.parametrize("length", [0, 1, 7, 10**6, 100_000_001, 1 << 40, (1 << 64) - 1])
def test_safetensors_whose_header_length_lies(weights: Path, length: int) -> None:
    weights.write_bytes(struct.pack("<Q", length) + weights.read_bytes()[8:])
    tracemalloc.start()
    with pytest.raises(kpt.InputError, match="header.* try fetching it again"):
        models.check_safetensors(weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20  # nothing of the size that the header claims


def test_safetensors_that_claims_more_than_the_file(weights: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    weights.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    with pytest.raises(kpt.InputError, match=f"want {8 + len(header) + (1 << 42)} bytes"):
        models.check_safetensors(weights)


def test_safetensors_with_a_damaged_header(weights: Path) -> None:
    data = bytearray(weights.read_bytes())
    data[8] = ord("x")
    weights.write_bytes(data)
    with pytest.raises(kpt.InputError, match="damaged header"):
        models.check_safetensors(weights)


@pytest.mark.parametrize(("text", "want"), [("8x128", (8, 128)), ("8,128", (8, 128)), ("7", (7,))])
def test_shapes(text: str, want: tuple[int, ...]) -> None:
    assert models.parse_shape(text) == want


@pytest.mark.parametrize("text", ["", "8x", "axb", "-1x3", "8.5"])
def test_wrong_shapes(text: str) -> None:
    with pytest.raises(kpt.InputError, match="want sizes such as 8x128"):
        models.parse_shape(text)

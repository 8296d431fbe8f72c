# SPDX-License-Identifier: Apache-2.0
"""`.pt2` files that would run code when torch.export.load reads them: refused, and nothing ran. Cut files likewise."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.utils._pytree as pytree
from torch import nn

import kernel_pytorch as kpt
from kernel_pytorch import models, pt2
from kernel_pytorch.capture import capture_pt2


class Head(nn.Module):
    """Sizes with arithmetic, a constant, keyword arguments, a dict of results: all that a program's JSON can say."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)
        self.register_buffer("shift", torch.arange(4.0))

    def forward(self, x: torch.Tensor, *, mask: torch.Tensor) -> dict:
        y = self.linear(x) + torch.tensor([1.0, 2.0, 3.0, 4.0]) * self.shift
        return {"y": y * mask, "flat": torch.cat([y, y]).reshape(-1), "sum": torch.einsum("bi,bi->b", y, mask)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    batch = torch.export.Dim("batch", min=2, max=64)
    args, kwargs = (torch.randn(3, 8),), {"mask": torch.ones(3, 4)}
    shapes = {"x": {0: batch}, "mask": {0: batch}}
    torch.export.save(torch.export.export(Head().eval(), args, kwargs, dynamic_shapes=shapes), tmp_path / "head.pt2")
    return tmp_path / "head.pt2"


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The file that a payload writes."""
    return tmp_path / "it_ran"


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED) -> None:
    """Stores the archive again; `change` edits its records, named without the archive's own folder."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(f"{root}/{name}", data)


def rewrite_text(path: Path, old: str, new: str) -> None:
    """Replaces a JSON string of the program everywhere."""

    def change(records: dict[str, bytes]) -> None:
        text = records["models/model.json"].decode()
        quoted = json.dumps(old)
        assert quoted in text
        records["models/model.json"] = text.replace(quoted, json.dumps(new)).encode()

    rewrite(path, change)


class Writes:
    """Unpickling it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


def pickle_of(target: Path, folder: Path) -> bytes:
    torch.save(Writes(target), folder / "payload.bin")
    return (folder / "payload.bin").read_bytes()


def refused(path: Path, ran: Path, match: str) -> None:
    for load in (capture_pt2, lambda p: models.load(str(p)), pt2.open_program):
        with pytest.raises(kpt.InputError, match=match):
            load(path)
        assert not ran.exists()


def test_plain_program_is_taken(saved: Path) -> None:
    assert "kpt.linear" in capture_pt2(saved).text or "aten.linear" in capture_pt2(saved).text
    loaded = models.load(str(saved))
    assert loaded.model(torch.randn(5, 8), mask=torch.ones(5, 4))["flat"].shape == (40,)


class Arithmetic(nn.Module):
    """Sizes that torch writes with Mod, FloorDiv and Max, and guards on them."""

    def forward(self, x: torch.Tensor) -> tuple:
        padded = nn.functional.pad(x, (0, (-x.shape[1]) % 4))
        return padded.reshape(x.shape[0], -1, 4).mean(1), x[:, : max(x.shape[1] // 2, 1)]


def bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertModel(BertConfig(vocab_size=50, **sizes)).eval()


def image_net() -> nn.Module:
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    return nn.Sequential(
        convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 2)
    ).eval()


@pytest.mark.parametrize(
    ("make", "sample"),
    [
        (Arithmetic, lambda: torch.randn(3, 10)),
        (bert, lambda: torch.ones(2, 7, dtype=torch.long)),
        (image_net, lambda: torch.randn(2, 3, 8, 8)),
        (lambda: nn.LSTM(4, 8, batch_first=True).eval(), lambda: torch.randn(2, 5, 4)),
    ],
)
def test_programs_of_every_kind_are_taken(tmp_path: Path, make: Callable, sample: Callable) -> None:
    model, x = make(), sample()
    auto = torch.export.Dim.AUTO
    sizes = ({0: auto, 1: auto},) if x.dim() == 2 else None
    torch.export.save(torch.export.export(model, (x,), dynamic_shapes=sizes, strict=False), tmp_path / "m.pt2")
    with torch.no_grad():
        got, want = pt2.open_program(tmp_path / "m.pt2").module()(x), model(x)
    torch.testing.assert_close(pytree.tree_leaves(got), pytree.tree_leaves(want))


@pytest.mark.parametrize("name", ["data/weights/model.pt", "data/constants/model.pt", "data/sample_inputs/model.pt"])
def test_pickled_records(saved: Path, ran: Path, tmp_path: Path, name: str) -> None:
    payload = pickle_of(ran, tmp_path)
    rewrite(saved, lambda records: records.update({name: payload}))
    refused(saved, ran, "pickle|more than tensors")
    with pytest.raises(kpt.KernelPyTorchError):
        pt2.open_program(saved, allow_pickle=True)  # asked for: torch unpickles it, and then finds no tensors in it
    assert ran.exists()


@pytest.mark.parametrize("folder", ["weights", "constants"])
def test_pickled_weights_of_the_table(saved: Path, ran: Path, tmp_path: Path, folder: str) -> None:
    payload = pickle_of(ran, tmp_path)

    def change(records: dict[str, bytes]) -> None:
        table = {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        records[f"data/{folder}/model_{folder}_config.json"] = json.dumps({"config": {"shift": table}}).encode()
        records[f"data/{folder}/tensor_0"] = payload

    rewrite(saved, change)
    refused(saved, ran, "shift is pickled")
    with pytest.raises(kpt.KernelPyTorchError):
        pt2.open_program(saved, allow_pickle=True)
    assert ran.exists()


def test_pickled_object(saved: Path, ran: Path, tmp_path: Path) -> None:
    payload = pickle_of(ran, tmp_path)
    rewrite(saved, lambda records: records.update({"data/constants/custom_obj_0": payload}))
    refused(saved, ran, "custom_obj_0: loading it runs code")


def test_compiled_code(saved: Path, ran: Path) -> None:
    rewrite(saved, lambda records: records.update({"data/aotinductor/model/m.so": b"\x7fELF"}))
    refused(saved, ran, "compiled code")


def test_source_in_a_size(saved: Path, ran: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        text = archive.read("head/models/model.json").decode()
    size = json.loads(text.partition('"expr_str": ')[2].partition("}")[0].rpartition(', "hint"')[0] or '""')
    rewrite_text(saved, size, f"__import__('pathlib').Path('{ran}').touch()")
    refused(saved, ran, "models/model.json holds .*__import__")
    with pytest.raises(kpt.KernelPyTorchError):
        pt2.open_program(saved, allow_pickle=True)
    assert ran.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("guards_code", ["L['x'].size()[0] == open('it_ran', 'w')"]),
        ("guards_code", ["[c for c in ().__class__.__base__.__subclasses__()]"]),
        ("in_spec", '[1, {"type": "builtins.list", "context": "{\\"__enum__\\": true}", "children_spec": []}]'),
    ],
)
def test_source_elsewhere(saved: Path, ran: Path, key: str, value: object) -> None:
    def change(records: dict[str, bytes]) -> None:
        program = json.loads(records["models/model.json"])
        place = program if key in program else program["graph_module"]["module_call_graph"][0]["signature"]
        assert key in place
        place[key] = value
        records["models/model.json"] = json.dumps(program).encode()

    rewrite(saved, change)
    refused(saved, ran, "models/model.json holds")


@pytest.mark.parametrize(
    "operator",
    ["torch.serialization.os.system", "torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "torch.load"],
)
def test_operator_that_is_none(saved: Path, ran: Path, operator: str) -> None:
    rewrite_text(saved, "torch.ops.aten.linear.default", operator)
    refused(saved, ran, "holds .*" + operator.rpartition(".")[2])


@pytest.mark.parametrize("name", ["x, *a, b=print(1)", "x) or (1"])
def test_source_in_a_name(saved: Path, ran: Path, name: str) -> None:
    rewrite_text(saved, "x", name)
    refused(saved, ran, "model.json holds")


def test_user_keys_pick_no_rule() -> None:
    hidden = {"as_string_to_argument": {"metadata": {"as_operator": "torch.os.system"}}}
    assert list(pt2._faults(hidden, ""))
    assert not list(pt2._faults({"as_string_to_argument": {"metadata": {"as_int": 3}}}, ""))


def test_compressed_records(saved: Path, ran: Path) -> None:
    def change(records: dict[str, bytes]) -> None:
        records["data/weights/weight_0"] = bytes(64 << 20)  # a few kB in the file

    rewrite(saved, change, zipfile.ZIP_DEFLATED)
    assert saved.stat().st_size < 1 << 20
    refused(saved, ran, "is compressed, want records as torch stores them")


def test_two_records_of_one_name(saved: Path, ran: Path) -> None:
    rewrite(saved, lambda records: records.update({"Models/model.json": b"{}"}))
    refused(saved, ran, "two records")


def test_weight_record_cut_short(saved: Path, ran: Path) -> None:
    def change(records: dict[str, bytes]) -> None:
        name = max((n for n in records if "weights/weight_" in n), key=lambda n: len(records[n]))
        records[name] = records[name][:8]

    rewrite(saved, change)
    refused(saved, ran, "linear.weight in 8 bytes, want 32 elements")


def test_weight_that_claims_too_much(saved: Path, ran: Path) -> None:
    def change(records: dict[str, bytes]) -> None:
        table = json.loads(records["data/weights/model_weights_config.json"])
        table["config"]["linear.weight"]["tensor_meta"]["sizes"] = [{"as_int": 1 << 40}, {"as_int": 8}]
        records["data/weights/model_weights_config.json"] = json.dumps(table).encode()

    rewrite(saved, change)
    refused(saved, ran, "want 8796093022208 elements")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_cut_short(saved: Path, ran: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    refused(saved, ran, "want a whole")


def test_no_json(saved: Path, ran: Path) -> None:
    rewrite(saved, lambda records: records.update({"models/model.json": b"{"}))
    refused(saved, ran, "want JSON")

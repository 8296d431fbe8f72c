# SPDX-License-Identifier: Apache-2.0
"""Captures kept between processes: found again for the same model, never for another, and never believed unseen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import kernel_pytorch as kpt
from conftest import close
from kernel_pytorch import _native, capture_key, kept_captures, machine
from kernel_pytorch.program import Program
from kernel_pytorch.samples import normalise

pytestmark = pytest.mark.usefixtures("own_folder")

_SOURCE = """
import torch
from torch import nn
from kernel_pytorch import kept_captures
from kernel_pytorch.samples import normalise

class Net(nn.Module):
    def __init__(self, scale=2.0):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)
        self.scale = scale
        self.offset = torch.arange(8.0)
    def forward(self, x):
        return {"y": self.second(torch.relu(self.first(x))) * self.scale + self.offset, "none": None}
"""


class Net(nn.Module):
    def __init__(self, scale: float = 2.0):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)
        self.scale = scale
        self.offset = torch.arange(8.0)

    def forward(self, x: torch.Tensor) -> dict:
        return {"y": self.second(torch.relu(self.first(x))) * self.scale + self.offset, "none": None}


def _x(rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, 8)


def _key(model: nn.Module, x: torch.Tensor | None = None, dynamic: object = "auto") -> str | None:
    return kept_captures.key_of(model, normalise(model, _x() if x is None else x), dynamic)


def _must_not_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise AssertionError("captured anew")

    monkeypatch.setattr(Program, "capture", no)


def _agrees(fast: nn.Module, model: nn.Module, rows: int) -> None:
    x = _x(rows)
    torch.testing.assert_close(fast(x)["y"], model(x)["y"])
    assert fast(x)["none"] is None


def test_a_second_model_of_the_same_class_is_not_captured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = kpt.auto_optimize(Net().eval(), _x())
    assert not any("kept from an earlier capture" in note for note in first.report.notes)
    _must_not_capture(monkeypatch)
    model = Net().eval()  # other weights
    fast = kpt.auto_optimize(model, _x())
    assert any("kept from an earlier capture" in note for note in fast.report.notes)
    assert fast.report.shapes == first.report.shapes
    assert fast.report.kept, fast.report.reason
    assert fast.graph == first.graph
    _agrees(fast, model, 4)
    _agrees(fast, model, 7)


def test_another_process_has_the_same_key(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(_SOURCE)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport net, torch\nfrom net import *\n"
        "m = Net().eval()\nprint(kept_captures.key_of(m, normalise(m, torch.ones(4, 8)), 'auto'))"
    )

    def key() -> str:
        environment = {**os.environ, "KPT_KEEP_CAPTURES": "1"}
        return subprocess.check_output([sys.executable, "-c", program], text=True, env=environment).strip()

    keys = [key(), key()]
    assert len(keys[0]) == 64 and keys[0] == keys[1]
    file.write_text(_SOURCE.replace("torch.relu", "torch.tanh"))
    assert key() not in keys


def test_a_transformers_model_has_the_same_key_in_another_process() -> None:
    pytest.importorskip("transformers")
    program = (
        "import torch, transformers\nfrom kernel_pytorch import kept_captures\n"
        "from kernel_pytorch.samples import normalise\n"
        "c = transformers.GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=32, n_positions=16)\n"
        "m = transformers.GPT2LMHeadModel(c).eval()\n"
        "print(kept_captures.key_of(m, normalise(m, {'input_ids': torch.arange(8)[None]}), 'auto'))"
    )
    environment = {**os.environ, "KPT_KEEP_CAPTURES": "1"}
    keys = [
        subprocess.check_output([sys.executable, "-c", program], text=True, env=environment).split()[-1]
        for _ in range(2)
    ]
    assert len(keys[0]) == 64 and keys[0] == keys[1]


def _other_bias(model: nn.Module) -> None:
    model.second = nn.Linear(16, 8, bias=False)


def _shared(model: nn.Module) -> None:
    model.second.bias = nn.Parameter(model.first.bias[:8].clone())
    model.second.weight = nn.Parameter(model.first.weight.detach().reshape(8, 16))
    model.first.weight = nn.Parameter(model.second.weight.detach().reshape(16, 8))


def _forward(model: nn.Module) -> None:
    model.forward = lambda x: {"y": x, "none": None}


def _set(name: str, value: object) -> Callable[[nn.Module], None]:
    return lambda model: setattr(model, name, value)


@pytest.mark.parametrize(
    "change",
    [
        _set("scale", 3.0),
        _set("scale", 2),
        _set("more", {"a": [1, (2.0, None)]}),
        _set("act", torch.relu),
        _set("act", nn.functional.gelu),
        _set("offset", torch.arange(8.0) + 1),
        _other_bias,
        _forward,
        lambda model: model.double(),
        lambda model: model.first.train(),
    ],
)
def test_another_model_has_another_key(change: Callable[[nn.Module], None]) -> None:
    model = Net().eval()
    before = _key(model)
    assert before is not None and before == _key(Net().eval())
    change(model)
    assert _key(model, _x().to(model.first.weight.dtype)) not in (before, None)


def test_the_root_in_training_mode_has_the_key_of_eval_mode() -> None:
    assert _key(Net()) == _key(Net().eval()) is not None


def test_tied_weights_are_another_model_than_equal_ones() -> None:
    tied, apart = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]), nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    tied[1].weight = tied[0].weight
    sample = normalise(nn.Identity(), torch.ones(2, 4))
    assert kept_captures.key_of(tied, sample, "auto") != kept_captures.key_of(apart, sample, "auto")


def test_another_sample_or_option_has_another_key() -> None:
    model = Net().eval()
    keys = {
        _key(model),
        _key(model, _x(5)),
        _key(model, _x(8).t()),
        _key(model, dynamic=False),
        _key(model, _x().double()),
    }
    assert len(keys) == 5 and None not in keys


def test_a_replaced_method_of_the_class_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _key(Net().eval())
    monkeypatch.setattr(Net, "forward", lambda self, x: {"y": self.first(x), "none": None})
    assert _key(Net().eval()) not in (before, None)


def test_what_cannot_be_described_is_captured_each_time() -> None:
    hooked = Net().eval()
    hooked.register_forward_hook(lambda *_: None)
    assert _key(hooked) is None
    handle = Net().eval()
    handle.source = iter([1])
    assert _key(handle) is None
    outside = Net().eval()
    outside.__dict__["hidden"] = nn.Linear(2, 2)
    assert _key(outside) is None
    _native.set_setting("keep_captures", "0")
    assert _key(Net().eval()) is None


class _Holder:
    """Beside the module's own state, as static caches of transformers are."""

    def __init__(self, rows: torch.Tensor):
        self.rows = rows


class _Table(nn.Module):
    """A buffer that is read through an object; a trace takes that for a constant."""

    def __init__(self, last: float = 0.0, hold: Callable[[torch.Tensor], torch.Tensor] = lambda rows: rows):
        super().__init__()
        self.register_buffer("rows", torch.arange(64.0).reshape(16, 4).clone())
        self.rows[-1] = last
        self.holder = _Holder(hold(self.rows))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.holder.rows[ids] / 64) * 2


def test_what_an_object_holds_of_the_model_is_read_where_it_lies(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.arange(8).reshape(2, 4)
    kpt.auto_optimize(_Table().eval(), ids)
    assert len(list(own_folder.glob("*.json"))) == 1
    _must_not_capture(monkeypatch)
    model = _Table().eval()
    fast = kpt.auto_optimize(model, ids)
    assert any("kept from an earlier capture" in note for note in fast.report.notes)
    for _ in range(2):
        torch.testing.assert_close(fast(ids), model(ids))
        model.rows[:4] += 1


class _Cache(nn.Module):
    """Writes what it is called with into a buffer that an object holds as well, as decoders do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(16, 8))
        self.register_buffer("place", torch.tensor([3]))
        self.holder, self.linear = _Holder(self.rows), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.index_copy_(0, self.place, x)
        return self.linear(self.rows)


def test_what_a_call_writes_does_not_make_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    kpt.auto_optimize(_Cache().eval(), _x(1), dynamic_shapes=False)
    _must_not_capture(monkeypatch)
    model, x = _Cache().eval(), _x(1)  # other values, which the original writes
    fast = kpt.auto_optimize(model, x, dynamic_shapes=False)
    assert any("kept from an earlier capture" in note for note in fast.report.notes), fast.report.reason
    torch.testing.assert_close(fast(x), model(x))


class _Calibrated(nn.Module):
    """Sets an attribute from its input when it is first called; a trace takes it for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(8, 8), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.scale is None:
            self.scale = float(x.abs().max())
        return self.linear(x) / self.scale


def test_what_a_call_sets_makes_another_model() -> None:
    x = _x()
    kpt.auto_optimize(_Calibrated().eval(), x)
    model = _Calibrated().eval()
    x = x * (1 + 3e-6)  # too little for the judge to see
    fast = kpt.auto_optimize(model, x)
    assert not any("kept from an earlier capture" in note for note in fast.report.notes)
    assert close(fast(x), model(x), 1e-6)


def test_rows_that_the_sample_does_not_read_make_another_model() -> None:
    ids = torch.arange(8).reshape(2, 4)
    assert _key(_Table(), ids) == _key(_Table(), ids) != _key(_Table(1.0), ids)


@pytest.mark.parametrize("hold", [lambda rows: rows[:12], lambda rows: rows.clone()])
def test_memory_that_a_copy_would_not_follow_is_not_kept(
    own_folder: Path, hold: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    kpt.auto_optimize(_Table(hold=hold).eval(), torch.arange(8).reshape(2, 4))
    assert list(own_folder.glob("*.json")) == []


def _with_class(eps: float) -> nn.Module:
    class Scaled(Net):
        scale_of_all = eps

        @property
        def shift(self) -> float:
            return eps

    return Scaled().eval()


def _with(**attributes: object) -> nn.Module:
    torch.manual_seed(0)
    model = Net().eval()
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


class _Named(dict):
    pass


def _named(word: str) -> _Named:
    made = _Named(a=1)
    made.word = word
    return made


@pytest.mark.parametrize(
    "make",
    [
        _with_class,
        lambda x: _with(f=torch.full((3,), x).mul),
        lambda x: _with(f=_named(str(x))),
        lambda x: _Table(hold=torch.clone if x == 1 else lambda rows: rows),  # equal values in other memory
    ],
)
def test_what_code_can_read_is_in_the_key(make: Callable[[float], nn.Module]) -> None:
    ids = torch.arange(8).reshape(2, 4)
    keys = [_key(make(x), ids) for x in (1.0, 1.0, 2.0)]
    assert keys[0] is not None and keys[0] == keys[1] != keys[2]


def test_sets_in_code_are_told_the_same_by_each_process() -> None:
    program = (
        "from kernel_pytorch.capture_key import _code\n"
        "def f(x):\n    def g(y): return y in {'aa', 'bb', 'cc', 'dd', 'ee', 'ff', 'gg'}\n    return g(x)\n"
        "print(_code(f.__code__))"
    )

    def said(seed: int, text: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        return subprocess.check_output([sys.executable, "-c", text], text=True, env=environment)

    assert len({said(seed, program) for seed in (1, 2, 3)}) == 1
    assert said(1, program) != said(1, program.replace("'gg'", "'hh'"))


@pytest.mark.parametrize(
    "odd",
    [
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: torch.empty(3, device="meta"),
    ],
)
def test_odd_tensors_are_no_reason_to_fail(odd: Callable[[], torch.Tensor]) -> None:
    assert _key(_with(odd=odd())) is None
    buffered = _with()
    buffered.register_buffer("odd", odd())
    _key(buffered)


def test_conjugates_and_ends_of_bytes_are_read() -> None:
    x = torch.tensor([1 + 2j, 3 - 1j])
    assert _key(_with(odd=x.conj())) == _key(_with(odd=x.conj().clone())) is not None
    assert _key(_with(odd=x)) != _key(_with(odd=x.conj()))
    assert _key(_with(odd=torch.empty(0))) is not None


def test_what_a_trace_leaves_in_an_object_is_no_reason_not_to_keep_it(own_folder: Path) -> None:
    class Counting(_Table):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            self.holder.last = ids + 1
            return super().forward(ids)

    model = Counting().eval()
    model.holder.last = torch.zeros(2, 4, dtype=torch.int64)
    kpt.auto_optimize(model, torch.arange(8).reshape(2, 4))
    assert len(list(own_folder.glob("*.json"))) == 1


def test_a_model_that_changes_when_called_is_not_kept(own_folder: Path) -> None:
    class Changing(Net):
        def forward(self, x: torch.Tensor) -> dict:
            self.__dict__["handle"] = iter([1])
            return super().forward(x)

    kpt.auto_optimize(Changing().eval(), _x())
    assert list(own_folder.glob("*.json")) == []


def test_a_large_buffer_in_an_object_is_told_by_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = torch.arange(8).reshape(2, 4)
    monkeypatch.setattr(capture_key, "MOST_CONSTANTS", 16)
    assert _key(_Table(), ids) == _key(_Table(), ids) != _key(_Table(1.0), ids)
    assert _key(_Table(hold=torch.clone), ids) is None


def test_a_link_among_libraries_is_where_it_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, real = tmp_path / "site", tmp_path / "real"
    site.mkdir()
    real.mkdir()
    (real / "helper.py").write_text("")
    (site / "own.py").write_text("")
    (site / "helper.py").symlink_to(real / "helper.py")
    monkeypatch.setattr(capture_key, "_libraries", lambda: (f"{os.path.realpath(site)}{os.sep}",))
    assert capture_key._in_library(str(site / "own.py"))
    assert not capture_key._in_library(str(site / "helper.py"))


@pytest.mark.parametrize("old, new", [("aten.relu", "aten.tanh"), ("aten.mul.Tensor", "aten.add.Tensor")])
def test_a_kept_capture_that_the_model_does_not_bear_out_is_made_anew(
    own_folder: Path, caplog: pytest.LogCaptureFixture, old: str, new: str
) -> None:
    model = Net().eval()
    kpt.auto_optimize(model, _x())
    (file,) = own_folder.glob("*.json")
    data = json.loads(file.read_text())
    assert old in data["text"]
    file.write_text(json.dumps({**data, "text": data["text"].replace(old, new)}))
    with caplog.at_level("WARNING", logger="kernel_pytorch"):
        fast = kpt.auto_optimize(model, _x())
    assert "kept_capture_dropped" in caplog.text
    assert not any("kept from an earlier capture" in note for note in fast.report.notes)
    _agrees(fast, model, 4)
    assert json.loads(file.read_text())["text"] == data["text"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: "{",
        lambda d: json.dumps({**d, "format": 99}),
        lambda d: json.dumps({**d, "result": "other"}),
        lambda d: json.dumps({k: v for k, v in d.items() if k != "weights"}),
        lambda d: json.dumps({**d, "weights": [["no.such", "such", None]]}),
        lambda d: json.dumps({**d, "weights": [["first.forward", "forward", None]]}),
        lambda d: json.dumps({**d, "input_order": [3]}),
        lambda d: json.dumps({**d, "slots": [[False, "x"], [True, None]]}),
        lambda d: json.dumps({**d, "text": d["text"][: len(d["text"]) // 2]}),
        lambda d: json.dumps({**d, "text": re.sub(r"\nweight .*", "", d["text"], count=1)}),
        lambda d: json.dumps([]),
    ],
)
def test_a_damaged_file_is_made_anew(own_folder: Path, damage: Callable[[dict], str]) -> None:
    model = Net().eval()
    kpt.auto_optimize(model, _x())
    (file,) = own_folder.glob("*.json")
    good = file.read_text()
    file.write_text(damage(json.loads(good)))
    fast = kpt.auto_optimize(model, _x())
    _agrees(fast, model, 4)
    assert json.loads(file.read_text()) == json.loads(good)


def test_transformers_models_and_tied_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_embd=32, n_head=2, vocab_size=64, n_positions=32, use_cache=False, bos_token_id=0, eos_token_id=0
    )
    sample = {"input_ids": torch.arange(12).reshape(1, 12)}
    kpt.auto_optimize(transformers.GPT2LMHeadModel(config).eval(), sample)
    _must_not_capture(monkeypatch)
    model = transformers.GPT2LMHeadModel(config).eval()
    fast = kpt.auto_optimize(model, sample)
    assert any("kept from an earlier capture" in note for note in fast.report.notes)
    with torch.no_grad():
        torch.testing.assert_close(fast(**sample).logits, model(**sample).logits, rtol=1e-4, atol=1e-4)


def test_old_files_go(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_captures, "_MOST_FILES", 2)
    for width in (4, 5, 6):
        model = nn.Linear(width, 3).eval()
        kpt.auto_optimize(model, torch.randn(2, width))
    assert len(list(own_folder.glob("*.json"))) == 2


def test_with_a_capture_goes_what_says_that_its_sizes_were_made_ready(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_captures.machine, "gpus", lambda: {"devices": [{"uuid": "GPU-0"}, {"uuid": "GPU-1"}]})
    device = torch.device("cuda", 1)
    monkeypatch.setattr(kept_captures, "_build", lambda device: "1")
    places = [kept_captures.beside(key, device, level, "sizes") for key in "ab" for level in ("balanced", "aggressive")]
    assert [p.name for p in places[:2]] == ["a.GPU-1.balanced.1.sizes", "a.GPU-1.aggressive.1.sizes"]
    for place in places:
        kept_captures.store_beside(place, place.name[0], "b=12\ns=12")
    assert list(own_folder.iterdir()) == []  # without a capture nobody would take them away
    for key in "ab":
        (own_folder / f"{key}.json").write_text("{}")
    for place in places:
        kept_captures.store_beside(place, place.name[0], "b=12\ns=12")
    kept_captures.forget("a")
    assert sorted(own_folder.iterdir()) == sorted([own_folder / "b.json", *places[2:]])
    assert places[2].read_text() == "b=12\ns=12"


def test_another_build_makes_sizes_ready_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept_captures._build.cache_clear()
    first = kept_captures._build("cpu")
    kept_captures._build.cache_clear()
    assert kept_captures._build("cpu") == first
    kept_captures._build.cache_clear()
    monkeypatch.setenv("KPT_CUDA_PATH", "/another")
    assert kept_captures._build("cpu") != first
    kept_captures._build.cache_clear()


def test_a_cpu_model_does_not_ask_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd() -> int:
        raise RuntimeError("cuDNN version incompatibility")

    monkeypatch.setattr(torch.backends.cudnn, "version", odd)
    kept_captures._build.cache_clear()
    kept_captures._build("cpu")
    with pytest.raises(RuntimeError, match="incompatibility"):
        kept_captures._build("cuda")
    kept_captures._build.cache_clear()


def test_a_second_process_imports_neither_dynamo_nor_sympy(tmp_path: Path) -> None:
    program = (
        "import sys, torch\nimport kernel_pytorch as kpt\n"
        "m = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU()).eval()\n"
        "report = kpt.auto_optimize(m, torch.ones(4, 8)).report\n"
        "known = any('kept from an earlier capture' in note for note in report.notes)\n"
        "print(known, 'sympy' in sys.modules, 'torch._dynamo' in sys.modules)"
    )
    environment = {**os.environ, "KPT_KEEP_CAPTURES": "1", "KPT_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.check_output([sys.executable, "-c", program], text=True, env=environment).split() for _ in range(2)
    ]
    assert said == [["False", "True", "True"], ["True", "False", "False"]]


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise RuntimeError("no home")

    monkeypatch.undo()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert machine.cache_folder() is None and _key(Net().eval()) is None
    for _ in range(2):
        fast = kpt.auto_optimize(Net().eval(), _x())
        assert not any("kept from an earlier capture" in note for note in fast.report.notes)


def test_the_folder_is_the_settings_or_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine.cache_folder() == tmp_path / "kernel_pytorch"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert machine.cache_folder() == tmp_path / ".cache" / "kernel_pytorch"
    _native.set_setting("cache_dir", str(tmp_path / "own"))
    try:
        assert machine.cache_folder() == tmp_path / "own"
    finally:
        _native.set_setting("cache_dir", "")

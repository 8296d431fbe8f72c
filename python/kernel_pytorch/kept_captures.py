# SPDX-License-Identifier: Apache-2.0
"""Captures kept between processes: torch.export takes seconds, and finds the same graph in the same code.

One JSON file a capture, in the cache folder, named by a digest of what the graph can depend on (capture_key). A
constant of the trace that is a weight or an attribute's own tensor is read where it lies, others (at most 1 MB) are
copied, and none is kept whose memory the model holds otherwise: a copy would not see what is written there. A model
that cannot be described is captured anew each time.

What code reads from elsewhere, a global that is set while the program runs, a digest cannot know. The judge does: a
kept capture is compared with the original on the samples and on odd sizes as a fresh one is, and is made anew where
they differ.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import nn

from . import _native, capture_key, machine
from ._log import event
from .capture_key import UNTELLABLE, Teller, UnknownError, bytes_of, storage_of, tell_model
from .captured import Captured, Symbol, WeightRef, input_tree
from .program import Program
from .samples import Sample
from .trees import OutputTree

_FORMAT = 2
_MOST_FILES = 64  # least recently written out; 79 kB for MiniLM to 275 kB for GPT-2 medium


def key_of(model: nn.Module, samples: list[Sample], dynamic_shapes: Any) -> str | None:
    """The first half of the name of this capture's file, told before the original is called; None where the model
    cannot be described or nothing is kept."""
    if not machine.setting("keep_captures") or folder() is None:
        return None
    return _told(model, lambda: capture_key.digest(model, samples, dynamic_shapes, _FORMAT))


def key_after_calls(key: str | None, model: nn.Module) -> str | None:
    """The name, once the original was called with the samples: what calls set counts as well."""
    return None if key is None else _told(model, lambda: capture_key.with_calls(key, model))


def _told(model: nn.Module, tell: Callable[[], str]) -> str | None:
    try:
        return tell()
    except UNTELLABLE as why:
        event(logging.DEBUG, "capture_not_kept", model=type(model).__name__, reason=str(why))
        return None


def folder() -> Path | None:
    """None where there is no home: nothing is kept."""
    base = machine.cache_folder()
    return None if base is None else base / "captures"


def _place(key: str) -> Path:
    home = folder()
    assert home is not None  # else there is no key
    return home / f"{key}.json"


def store(key: str, captured: Captured, model: nn.Module) -> None:
    """Keeps it where it can be said in JSON; a folder that cannot be written is no fault."""
    teller = Teller(digests=False)
    try:
        own = dict(_tensors(model))
        weights = [[w.fqn, w.attr, None if w.module is not None else _name_of(w.tensor, own)] for w in captured.weights]
        constants = [w.tensor for w, kept in zip(captured.weights, weights, strict=True) if kept[2] == ""]
        tell_model(model, teller)
        places = {storage_of(t) for t in [*own.values(), *teller.met]} - {0}
        if any(storage_of(t) in places for t in constants):
            raise UnknownError("it holds a constant's memory, where a copy would not see what is written later")
    except UNTELLABLE as why:  # also where the calls since key_of() changed the model
        event(logging.INFO, "capture_not_kept", model=type(model).__name__, reason=str(why))
        return
    slots = [s.value if isinstance(s, OutputTree.Constant) else s for s in captured.outputs.slots]
    if sum(t.numel() * t.element_size() for t in constants) > capture_key.MOST_CONSTANTS:
        return
    if not all(s is None or type(s) in (bool, int, float, str) for s in slots):
        return
    data = {
        "format": _FORMAT,
        "text": captured.text,
        "weights": [
            [*kept[:2], _packed(w.tensor) if kept[2] == "" else kept[2]]
            for w, kept in zip(captured.weights, weights, strict=True)
        ],
        "slots": [[isinstance(s, OutputTree.Constant), v] for s, v in zip(captured.outputs.slots, slots, strict=True)],
        "result": captured.outputs.structure,
        "input_names": captured.input_names,
        "input_order": captured.input_order,
        "symbols": [dataclasses.asdict(s) for s in captured.symbols],
        "notes": captured.notes,
    }
    place = _place(key)
    draft = place.with_suffix(f".{os.getpid()}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(data), encoding="utf-8")
        draft.replace(place)
        for old in sorted(place.parent.glob("*.json"), key=lambda p: -p.stat().st_mtime)[_MOST_FILES:]:
            _drop(old)
    except OSError as error:
        event(logging.INFO, "capture_not_kept", reason=str(error))


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, buffers and plain tensors of its modules, by name."""
    for name, module in model.named_modules(remove_duplicate=False):
        for holder in (module._parameters, module._buffers, vars(module)):
            for attribute, value in holder.items():
                if isinstance(value, torch.Tensor) and value.layout is torch.strided:
                    yield f"{name}.{attribute}", value


def _name_of(t: torch.Tensor, own: dict[str, torch.Tensor]) -> str:
    """Of the model's tensor that this constant of the trace is; "" where it is none."""

    def same(x: torch.Tensor) -> bool:
        return (x.dtype, x.device, x.shape, x.stride()) == (
            t.dtype,
            t.device,
            t.shape,
            t.stride(),
        ) and x.data_ptr() == t.data_ptr() != 0

    return next((name for name, x in own.items() if x is t or same(x)), "")


def forget(key: str) -> None:
    try:
        _drop(_place(key))
    except OSError as error:  # it is compared with the original again next time
        event(logging.INFO, "kept_capture_stays", reason=str(error))


def _drop(place: Path) -> None:
    for kind in ("sizes", "verdict"):
        for other in place.parent.glob(f"{place.stem}.*.{kind}"):
            other.unlink(missing_ok=True)
    place.unlink(missing_ok=True)


def beside(key: str, device: torch.device, level: str, kind: str) -> Path:
    """A file that goes with this capture, about this device, build and libraries. sizes: which other sizes a process
    made ready there; what it chose is kept. verdict: see kept_verdicts."""
    return _place(key).with_suffix(f".{_device(device)}.{level}.{_build(device.type)}.{kind}")


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return machine.gpus()["devices"][device.index or 0]["uuid"]
    return "cpu-" + hashlib.sha256(json.dumps(machine.hardware(), sort_keys=True).encode()).hexdigest()[:12]


@functools.cache
def _build(device: str) -> str:
    """What choices and kernels can depend on beside the device."""
    library = _native.find_library()
    files = [os.stat(p) for p in sorted(library.parent.glob("libkpt*.so*"))]
    said: list[Any] = [(f.st_size, f.st_mtime_ns) for f in files]
    if device == "cuda":
        said += [torch.version.cuda, torch.backends.cudnn.version()]
    return hashlib.sha256(repr([*said, os.environ.get("KPT_CUDA_PATH")]).encode()).hexdigest()[:12]


def store_beside(place: Path, key: str, text: str) -> None:
    """Where the capture is there: with that it goes. A folder that cannot be written is no fault."""
    draft = place.with_suffix(f".{os.getpid()}.new")
    try:
        if _place(key).exists():
            draft.write_text(text, encoding="utf-8")
            draft.replace(place)
    except OSError as error:  # the next process finds it out again
        event(logging.INFO, "not_kept_beside_capture", file=place, reason=str(error))
        with contextlib.suppress(OSError):  # the same folder, which may refuse this too
            draft.unlink(missing_ok=True)


def load(key: str, model: nn.Module, sample: Sample, result: Any) -> Program | None:
    """The capture kept under this key, on this model's weights; None where there is none or it does not fit.
    `result`: what the original made of the sample."""
    place = _place(key)
    try:
        data = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        event(logging.WARNING, "kept_capture_damaged", file=place, error=str(error))
        return None
    inputs = input_tree(model, sample.args, sample.kwargs)  # registers what results may be made of
    leaves, spec = pytree.tree_flatten(result)
    try:
        if data["format"] != _FORMAT or data["result"] != str(spec) or len(leaves) != len(data["slots"]):
            return None
        if sorted(data["input_order"]) != list(range(len(inputs.tensors))):
            raise ValueError(f"got the inputs {data['input_order']}")
        slots = [OutputTree.Constant(v) if constant else int(v) for constant, v in data["slots"]]
        symbols = [Symbol(**{**s, "members": tuple(map(tuple, s["members"]))}) for s in data["symbols"]]
        captured = Captured(
            text=str(data["text"]),
            weights=list(_weights(model, data["weights"], inputs.tensors)),
            inputs=inputs,
            outputs=OutputTree(spec, slots),
            input_names=list(data["input_names"]),
            input_order=list(data["input_order"]),
            symbols=symbols,
            seconds=0.0,
            notes=list(data["notes"]),
        )
        return Program(captured)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        event(logging.WARNING, "kept_capture_damaged", file=place, error=repr(error))
        return None


def _weights(model: nn.Module, kept: list[Any], inputs: list[torch.Tensor]) -> Iterator[WeightRef]:
    device = next(itertools.chain(model.parameters(), model.buffers(), inputs)).device
    own = dict(_tensors(model))
    for fqn, attr, constant in kept:
        if constant is None:
            module = model.get_submodule(fqn.rpartition(".")[0])
            tensor = getattr(module, attr)
            if not isinstance(tensor, torch.Tensor):
                raise ValueError(f"got {fqn}, a {type(tensor).__name__}")
            yield WeightRef(fqn, module, attr, tensor)
        elif isinstance(constant, str):  # the trace's constant is the model's own tensor: what is written there counts
            yield WeightRef(fqn, None, attr, own[constant])
        else:
            yield WeightRef(fqn, None, attr, _unpacked(constant).to(device))


def _packed(t: torch.Tensor) -> list[Any]:
    return [str(t.dtype).removeprefix("torch."), list(t.shape), base64.b64encode(bytes_of(t)).decode()]


def _unpacked(kept: list[Any]) -> torch.Tensor:
    dtype, shape, text = kept
    found = getattr(torch, dtype)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"got the dtype {dtype!r}")
    data = bytearray(base64.b64decode(text, validate=True))
    flat = torch.frombuffer(data, dtype=torch.uint8).clone() if data else torch.empty(0, dtype=torch.uint8)
    return flat.view(found).reshape(shape)

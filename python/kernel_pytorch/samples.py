# SPDX-License-Identifier: Apache-2.0
"""What the caller passed as `sample_inputs`, in one form: a list of Sample(args, kwargs)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .errors import InputError, input_error

# Sizes of derived text samples: long enough that the matrix products, not the call, are what is timed.
_TEXT_BATCH, _TEXT_LENGTH = 4, 64


@dataclass(frozen=True)
class Sample:
    """One call of the model."""

    args: tuple = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def call(self, model: torch.nn.Module) -> Any:
        return model(*self.args, **self.kwargs)

    def tensors(self) -> list[torch.Tensor]:
        """Every tensor of the call, in order of arguments, nested containers included."""
        found: list[torch.Tensor] = []
        _collect(self.args, found)
        _collect(self.kwargs, found)
        return found

    def describe(self) -> str:
        """Shapes in words: `input_ids 8x128, attention_mask 8x128`."""
        named = [("", a) for a in self.args] + list(self.kwargs.items())
        words = [f"{name} {'x'.join(map(str, v.shape)) or 'scalar'}".strip() for name, v in named if _is_tensor(v)]
        return ", ".join(words) or "no tensors"


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _collect(value: Any, found: list[torch.Tensor]) -> None:
    if _is_tensor(value):
        found.append(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _collect(item, found)


def normalise(model: torch.nn.Module, sample_inputs: Any) -> list[Sample]:
    """Sample calls from a tensor, a tuple of arguments, a dict of keyword arguments, or a list of such; None derives
    one.

    Raises InputError with what to pass where the value is none of these or nothing can be derived.
    """
    if sample_inputs is None:
        return [_derive(model)]
    if isinstance(sample_inputs, list):
        if not sample_inputs:
            raise input_error("auto_optimize", "an empty list of samples", "at least one", "sample_inputs=x")
        return [_one(item, f"sample_inputs[{i}]") for i, item in enumerate(sample_inputs)]
    return [_one(sample_inputs, "sample_inputs")]


def _one(value: Any, name: str) -> Sample:
    if _is_tensor(value):
        return Sample((value,))
    if isinstance(value, tuple):
        sample = Sample(value)
    elif isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise input_error(
                "auto_optimize", f"{name} with the key {wrong[0]!r}", "names of arguments", "a dict of str"
            )
        sample = Sample((), dict(value))
    else:
        raise input_error(
            "auto_optimize",
            f"{name} of type {type(value).__name__}",
            "a tensor, a tuple of arguments or a dict of keyword arguments (or a list of such)",
            "sample_inputs=torch.randn(8, 16) for a model of one tensor",
        )
    _refuse_growing(sample, name)
    if not sample.tensors():
        raise input_error("auto_optimize", f"{name} without a tensor", "the tensors of a typical call", "real inputs")
    return sample


def _refuse_growing(sample: Sample, name: str) -> None:
    """Each call with such a cache makes it longer: no two runs of the sample would be the same call."""
    library = sys.modules.get("transformers.cache_utils")
    if library is None:
        return
    for value in [*sample.args, *sample.kwargs.values()]:
        if isinstance(value, (library.DynamicCache, library.EncoderDecoderCache)):
            raise input_error(
                "auto_optimize",
                f"{name} with a {type(value).__name__}, which every call makes longer",
                "a call that starts its own cache",
                "the call without past_key_values; calls with one are run by the original",
            )


def _derive(model: torch.nn.Module) -> Sample:
    config = getattr(model, "config", None)
    main = getattr(model, "main_input_name", None)
    if config is not None and main == "pixel_values":
        size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
        if isinstance(size, int) or (isinstance(size, (tuple, list)) and len(size) == 2):
            height, width = (size, size) if isinstance(size, int) else size
            return _on_device(model, {"pixel_values": _random((2, channels, height, width))})
    if config is not None and main == "input_ids" and not getattr(config, "is_encoder_decoder", False):
        vocabulary = getattr(config, "vocab_size", None)
        if isinstance(vocabulary, int):
            longest = getattr(config, "max_position_embeddings", None) or _TEXT_LENGTH
            shape = (_TEXT_BATCH, min(_TEXT_LENGTH, longest))
            generator = torch.Generator().manual_seed(0)
            ids = torch.randint(0, vocabulary, shape, generator=generator)
            return _on_device(model, {"input_ids": ids, "attention_mask": torch.ones(shape, dtype=torch.int64)})
    dummy = getattr(model, "dummy_inputs", None)
    if isinstance(dummy, Mapping) and dummy:
        return _on_device(model, dict(dummy))
    raise InputError(
        f"[auto_optimize] got no sample_inputs and {type(model).__name__} says nothing of its inputs (no HuggingFace "
        "config or dummy_inputs), want the inputs of a typical call, try sample_inputs=x, a tuple of arguments or a "
        "dict of keyword arguments"
    )


def _random(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _on_device(model: torch.nn.Module, kwargs: dict[str, Any]) -> Sample:
    parameter = next(model.parameters(), None)
    if parameter is None:
        return Sample((), kwargs)
    moved = {}
    for name, value in kwargs.items():
        if _is_tensor(value):
            dtype = parameter.dtype if value.is_floating_point() else value.dtype
            value = value.to(parameter.device, dtype)
        moved[name] = value
    return Sample((), moved)

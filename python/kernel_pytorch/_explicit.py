# SPDX-License-Identifier: Apache-2.0
"""A module whose forward names its keywords. torch.export (2.11) cannot take dynamic shapes beside **kwargs."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn


def explicit(model: nn.Module, kwargs: dict[str, Any]) -> nn.Module:
    """The model itself, or a stand-in on its very parameters whose forward names what **kwargs would swallow."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        return model
    named = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    extra = [name for name in kwargs if name not in {p.name for p in named}]
    if not extra:
        return model
    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in extra]
    # The class carries the model's name: it is what the scopes of the graph show.
    kind = type(type(model).__name__, (_StandIn,), {"__module__": type(model).__module__})
    return kind(model, signature.replace(parameters=[*named, *keywords]))


class _StandIn(nn.Module):
    def __init__(self, model: nn.Module, signature: inspect.Signature):
        super().__init__()
        self.__dict__.update({name: model.__dict__[name] for name in _SHARED})

        def forward(*args: Any, **kwargs: Any) -> Any:
            return model.forward(*args, **kwargs)

        forward.__signature__ = signature  # type: ignore[attr-defined]
        self.__dict__["forward"] = forward


# Tracing swaps the entries of these dictionaries, so both modules must hold the same ones.
_SHARED = (
    *("training", "_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"),
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
)
assert all(name in nn.Module().__dict__ for name in _SHARED), f"torch {torch.__version__} has other module attributes"

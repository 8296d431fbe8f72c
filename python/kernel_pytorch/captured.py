# SPDX-License-Identifier: Apache-2.0
"""A capture as a value: the core's text, the weights it names, the way from calls to its inputs and back. Light: what
only a trace needs (torch.export, sympy: two seconds to import) is in capture.py, and a kept capture does without."""

from __future__ import annotations

import dataclasses
import inspect
import sys

import torch
import torch.utils._pytree as pytree
from torch import nn

from .trees import InputTree, OutputTree


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A declared symbol. assumed_one: torch traced with a size of at least 2 and the plan takes 1 as well, unproven."""

    name: str
    lo: int
    hi: int
    hint: int
    assumed_one: bool
    members: tuple[tuple[int, int], ...]


@dataclasses.dataclass
class WeightRef:
    """One weight of the graph. module/attr: where to read it again (None for constants of the trace)."""

    fqn: str
    module: nn.Module | None
    attr: str
    tensor: torch.Tensor

    def current(self) -> torch.Tensor:
        """The tensor that the module holds now; a reassigned parameter is another object than `tensor`."""
        return self.tensor if self.module is None else getattr(self.module, self.attr)


@dataclasses.dataclass
class Captured:
    """text: the graph. weights: in the order of its `weight` lines. inputs/outputs: calls to tensor lists and back.

    input_names: names of the graph's inputs, in graph order. input_order: for each of them its index in the list that
    `inputs.flatten` gives. notes: sentences for the report.
    """

    text: str
    weights: list[WeightRef]
    inputs: InputTree
    outputs: OutputTree
    input_names: list[str]
    input_order: list[int]
    symbols: list[Symbol]
    seconds: float
    notes: list[str]


def input_tree(model: nn.Module, args: tuple, kwargs: dict) -> InputTree:
    """The call as the capture sees it; what the model's library calls a tree is one from now on."""
    _register_caches(model)
    return InputTree(signature_of(model), args, kwargs)


def signature_of(model: nn.Module) -> inspect.Signature | None:
    try:
        return inspect.signature(model.forward)
    except (TypeError, ValueError):  # builtins and some C functions have none
        return None


def _register_caches(model: nn.Module):
    """Lets key/value caches of transformers be outputs: the library's own registration of DynamicCache, and two of
    them as encoders with decoders return."""
    modeling = sys.modules.get("transformers.modeling_utils")
    if modeling is None or not isinstance(model, modeling.PreTrainedModel):
        return
    from transformers.cache_utils import EncoderDecoderCache
    from transformers.integrations.executorch import register_dynamic_cache_export_support

    register_dynamic_cache_export_support()
    if EncoderDecoderCache not in pytree.SUPPORTED_NODES:
        names = ("self_attention_cache", "cross_attention_cache")
        pytree.register_pytree_node(
            EncoderDecoderCache,
            lambda cache: ([getattr(cache, name) for name in names], None),
            lambda caches, _: EncoderDecoderCache(*caches),
            serialized_type_name=f"{EncoderDecoderCache.__module__}.{EncoderDecoderCache.__name__}",
            flatten_with_keys_fn=lambda cache: (
                [(pytree.GetAttrKey(name), getattr(cache, name)) for name in names],
                None,
            ),
        )

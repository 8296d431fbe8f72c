# SPDX-License-Identifier: Apache-2.0
"""State that forward writes: which buffers of an exported program, and whether a plan can write them in place.

A key-value cache is written at places that follow from the inputs, then read: the same call twice leaves the same
state, so a plan can be judged and timed by repeating it. Such writes become `kpt.write_`. A counter that reads what it
replaces has no such form and is refused.
"""

from __future__ import annotations

import dataclasses

import torch
from torch.export.graph_signature import OutputKind
from torch.fx.experimental.symbolic_shapes import statically_known_true

from ._graph_text import at
from .errors import CaptureError

_INDEX_COPY = torch.ops.aten.index_copy.default
_INDEX_PUT = torch.ops.aten.index_put.default


@dataclasses.dataclass(frozen=True)
class Write:
    """state[.., index[j], ..] = source[.., j, ..] along dim."""

    state: torch.fx.Node
    index: torch.fx.Node
    source: torch.fx.Node
    dim: int


def find_writes(ep) -> dict[torch.fx.Node, Write]:
    """By the node of the buffer's new value. CaptureError for every other kind of effect, with its line."""
    nodes = {n.name: n for n in ep.graph.nodes}
    placeholders = {s.target: nodes.get(s.arg.name) for s in ep.graph_signature.input_specs if s.target is not None}
    writes = {}
    for spec in ep.graph_signature.output_specs:
        if spec.kind is OutputKind.USER_OUTPUT:
            continue
        node = nodes.get(spec.arg.name)
        where = "" if node is None else at(node)
        if spec.kind is not OutputKind.BUFFER_MUTATION:
            what = f"{spec.target} ({spec.kind.name.lower()})"
            if spec.kind is OutputKind.USER_INPUT_MUTATION:
                what = f"input {spec.target}"
            raise CaptureError(
                f"[capture] forward writes to {what}{where}; a plan must leave its inputs and state alone"
            )
        write = None if node is None else _as_write(node, placeholders.get(spec.target))
        if write is None:
            raise CaptureError(
                f"[capture] forward writes to buffer {spec.target}{where}; want one index_copy_ of whole rows, and "
                "nothing that reads the buffer before it"
            )
        writes[node] = write
    return writes


def _as_write(node: torch.fx.Node, state: torch.fx.Node | None) -> Write | None:
    if node.op != "call_function" or not node.args or node.args[0] is not state or list(state.users) != [node]:
        return None
    if node.target is _INDEX_COPY:
        _, dim, index, source = node.args
    elif node.target is _INDEX_PUT:
        _, indices, source, *rest = node.args
        if any(rest) or node.kwargs.get("accumulate"):
            return None
        dim = len(indices) - 1
        if any(i is not None for i in indices[:-1]):
            return None
        index = indices[-1]
        if not _fills(state, index, source, dim):
            return None
    else:
        return None
    place = index.meta["val"]
    if place.dim() != 1 or place.dtype not in (torch.int64, torch.int32):
        return None
    return Write(state, index, source, dim)


def _fills(state: torch.fx.Node, index: torch.fx.Node, source: torch.fx.Node, dim: int) -> bool:
    """False where index_put broadcasts the source. Sizes that may differ pass: the kernel refuses those that do."""
    shape = list(state.meta["val"].shape)
    shape[dim : dim + 1] = index.meta["val"].shape
    got = source.meta["val"].shape
    return len(got) == len(shape) and not any(statically_known_true(a != b) for a, b in zip(got, shape, strict=True))

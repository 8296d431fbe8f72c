# SPDX-License-Identifier: Apache-2.0
"""Single operators as modules, so that kernels are measured through the same calls as models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from . import normal
from .zoo import Entry


class Op(nn.Module):
    """A function of its inputs and of its own weights, given by their sizes."""

    def __init__(self, function: Callable[..., torch.Tensor], *sizes: tuple[int, ...]):
        super().__init__()
        self.function = function
        # Scaled as a layer of a trained network is, so that activations see numbers of order 1.
        self.weights = nn.ParameterList(
            normal(*size) / max(1, size[-1] if len(size) > 1 else 1) ** 0.5 for size in sizes
        )

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs, *self.weights)


def _linear_gelu(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return functional.gelu(functional.linear(x, w, b))


def _add_layer_norm(x: torch.Tensor, r: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x + r, w.shape, w, b)


def _layer_norm(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, w.shape, w, b)


def _rms_norm(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, w.shape, w, 1e-6)


def _softmax(x: torch.Tensor) -> torch.Tensor:
    return functional.softmax(x, dim=-1)


def _swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return functional.silu(gate) * up


def _causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def _conv(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(x, w, padding=1)


def _embedding(ids: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    return functional.embedding(ids, table)


def _some(count: int, *size: int) -> tuple[torch.Tensor, ...]:
    """`count` different normal tensors of a size."""
    return tuple(torch.randn(size, generator=torch.Generator().manual_seed(i + 1)) for i in range(count))


def _rows(function: Callable[..., torch.Tensor], inputs: int, weights: int) -> Entry:
    """An operator over rows of [rows, width] with weights of [width]."""
    return Entry(lambda r, c: Op(function, *[(c,)] * weights).eval(), lambda r, c: _some(inputs, r, c))


def _token_ids(rows: int, width: int) -> tuple[torch.Tensor, ...]:
    return (torch.randint(0, 30000, (rows,), generator=torch.Generator().manual_seed(1)),)


# Shapes: linear m, n, k; attention batch, heads, length, width of a head; rows, columns; conv batch, channels, size.
KERNELS: dict[str, Entry] = {
    "linear": Entry(lambda m, n, k: Op(functional.linear, (n, k), (n,)).eval(), lambda m, n, k: _some(1, m, k)),
    "linear_gelu": Entry(lambda m, n, k: Op(_linear_gelu, (n, k), (n,)).eval(), lambda m, n, k: _some(1, m, k)),
    "attention": Entry(
        lambda *s: Op(functional.scaled_dot_product_attention).eval(), lambda b, h, s, d: _some(3, b, h, s, d)
    ),
    "attention_causal": Entry(lambda *s: Op(_causal).eval(), lambda b, h, s, d: _some(3, b, h, s, d)),
    "layer_norm": _rows(_layer_norm, 1, 2),
    "add_layer_norm": _rows(_add_layer_norm, 2, 2),
    "rms_norm": _rows(_rms_norm, 1, 1),
    "softmax": _rows(_softmax, 1, 0),
    "gelu": _rows(functional.gelu, 1, 0),
    "swiglu": _rows(_swiglu, 2, 0),
    "embedding": Entry(lambda r, c: Op(_embedding, (30000, c)).eval(), _token_ids),
    "conv": Entry(lambda b, c, s: Op(_conv, (c, c, 3, 3)).eval(), lambda b, c, s: _some(1, b, c, s, s)),
}

# SPDX-License-Identifier: Apache-2.0
"""Samples cut along the batch: which axis that is, and how much memory a call takes."""

from __future__ import annotations

import re

import torch

from .plan import Plan
from .program import Program
from .samples import Sample


def batch_axis(program: Program) -> list[int] | None:
    """Indices of the inputs whose axis 0 is the batch: one symbol, that no other axis of any input has part in."""
    leading = {dims[0] for dims in program.input_dims if dims and dims[0] in program.symbols}
    if len(leading) != 1:
        return None
    symbol = leading.pop()
    word = re.compile(rf"\b{re.escape(symbol)}\b")
    for dims in program.input_dims:
        if any(word.search(str(dim)) for dim in dims[1:]) or (dims and dims[0] != symbol and word.search(str(dims[0]))):
            return None
    return [i for i, dims in enumerate(program.input_dims) if dims and dims[0] == symbol]


def cut(inputs: list[torch.Tensor], batch: list[int], start: int, stop: int) -> list[torch.Tensor]:
    """Rows start to stop of the batch; inputs without a batch as they are."""
    return [t[start:stop] if i in batch else t for i, t in enumerate(inputs)]


def bytes_per_element(program: Program, plan: Plan) -> float:
    """Of the plan's own memory for each element of the inputs; exact at the sizes of the first sample."""
    elements = 0
    for dims in program.input_dims:
        count = 1
        for dim in dims:
            count *= dim if isinstance(dim, int) else program.symbols[dim].hint if dim in program.symbols else 1
        elements += count
    return plan.report["memory"]["peak_bytes"] / max(1, elements)


def call_bytes(program: Program, plan: Plan, sample: Sample) -> int:
    """About what a call of the plan with this sample takes."""
    return int(bytes_per_element(program, plan) * sum(t.numel() for t in program.flatten(sample)))


def shortened(program: Program, plan: Plan, sample: Sample, limit_bytes: int) -> Sample:
    """The sample with so many rows of its batch that a call of the plan takes at most `limit_bytes`, at least one row;
    the sample itself where it fits or has no batch."""
    batch = batch_axis(program)
    needed = call_bytes(program, plan, sample)
    if batch is None or needed <= limit_bytes:
        return sample
    inputs = program.flatten(sample)
    total = inputs[batch[0]].shape[0]
    low = program.symbols[program.input_dims[batch[0]][0]].lo
    count = min(total, max(low, 1, int(total * limit_bytes / needed)))
    return program.sample_of(cut(inputs, batch, 0, count))

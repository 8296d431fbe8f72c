# SPDX-License-Identifier: Apache-2.0
"""The truth a system is held against, the least work that a row needs, and what the machine could do at best."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..judge import distance
from ..samples import Sample
from .clock import make_clock
from .systems import DTYPES, Work, tensors_of

# The loosest rule of the judge (level aggressive): beyond it a result is wrong, whatever its time. Where the model's
# own rounding is larger than half of that (32 layers of bf16), twice the model's own error is the bound; an angle
# grows with the square.
WRONG_ERROR, WRONG_COSINE = 0.05, 0.999
# Sizes of the ceilings: large enough that a launch costs nothing and no cache holds the copy.
_MATMUL = {"cpu": 2048, "cuda": 8192}
_COPY_BYTES = {"cpu": 256 << 20, "cuda": 2 << 30}
_CEILING_TRIES = 9  # the first ones warm up


@dataclass(frozen=True)
class Truth:
    """Outputs in f64, or in f32 where f64 does not fit into memory."""

    outputs: list[torch.Tensor]
    dtype: str
    mask: torch.Tensor | None  # [batch, length] where some positions are padding: their outputs mean nothing
    own: tuple[float, float] = (0.0, 1.0)  # the model's own error and cosine, in the dtype of the row

    @property
    def bounds(self) -> tuple[float, float]:
        """Largest error and smallest cosine of a right result."""
        error, cosine = self.own
        if not math.isfinite(error):
            return WRONG_ERROR, WRONG_COSINE
        return max(WRONG_ERROR, 2 * error), min(WRONG_COSINE, 1 - 4 * (1 - cosine))

    def error(self, result: Any) -> tuple[float, float]:
        """Largest relative RMSE and smallest cosine over the outputs; infinite where the outputs do not fit."""
        found = tensors_of(result)
        if len(found) != len(self.outputs):
            return math.inf, 0.0
        pairs = [(self._real(x), self._real(truth)) for x, truth in zip(found, self.outputs, strict=True)]
        distances = [distance(x, truth) for x, truth in pairs]
        worst = max(d.rel_rmse if math.isfinite(d.rel_rmse) else math.inf for d in distances)
        return worst, min(d.cosine for d in distances)

    def _real(self, x: torch.Tensor) -> torch.Tensor:
        x = x.detach().cpu()
        if self.mask is not None and x.dim() >= 2 and x.shape[:2] == self.mask.shape:
            return x[self.mask].contiguous()
        return x.contiguous()


def to(sample: Sample, device: str, dtype: torch.dtype) -> Sample:
    """The sample on a device, its floating-point tensors in a dtype."""

    def moved(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(device, dtype if value.is_floating_point() else value.dtype)

    return Sample(tuple(map(moved, sample.args)), {name: moved(v) for name, v in sample.kwargs.items()})


def truth(work: Work) -> Truth:
    """Runs a wide copy of the model. Training rows: the loss of the first step."""
    size = sum(p.numel() for p in work.model.parameters())
    # The copy, and as much again for what it computes on the way.
    wide = "fp64" if 2 * 8 * size < free_bytes(work.device) else "fp32"
    model = copy.deepcopy(work.model).to(DTYPES[wide])
    mask = work.sample.kwargs.get("attention_mask")
    padded = mask is not None and mask.dim() == 2 and not bool(mask.all())
    with torch.no_grad():
        outputs = [t.cpu() for t in tensors_of(to(work.sample, work.device, DTYPES[wide]).call(model))]
    if work.kind == "train":
        outputs = [sum(t.double().square().mean() for t in outputs).reshape(())]
    found = Truth(outputs, wide, mask.bool().cpu() if padded else None)
    if work.kind == "train":
        return found
    with torch.no_grad():
        return replace(found, own=found.error(work.call()))


def free_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True)
class Least:
    """The work that no implementation of a row gets around: multiplications and additions of its products, and every
    weight, input and output moved once."""

    flops: int
    bytes: int


def _attentions() -> list[Any]:
    names = ("flash_attention", "efficient_attention", "cudnn_attention", "fused_attention_overrideable")
    ops = [getattr(torch.ops.aten, f"_scaled_dot_product_{name}", None) for name in names]
    return [op for op in ops if op is not None]


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Of the two products, by the query's heads: torch's own count refuses keys with fewer heads."""
    batch, heads, length, size = query
    return 2 * batch * heads * length * key[-2] * (size + value[-1])


def least(work: Work) -> Least:
    """Counted on the model itself. Of embedding tables only the rows that are read count."""
    counter = FlopCounterMode(display=False, custom_mapping=dict.fromkeys(_attentions(), _attention_flops))
    with torch.no_grad(), counter:
        result = work.call()
    tokens = max((t.numel() for t in work.sample.tensors() if not t.is_floating_point()), default=0)
    tables = {
        id(m.weight): tokens * m.weight.shape[1] * m.weight.element_size()
        for m in work.model.modules()
        if isinstance(m, torch.nn.Embedding)
    }
    moved = {id(p): tables.get(id(p), p.numel() * p.element_size()) for p in work.model.parameters()}
    for t in [*work.sample.tensors(), *tensors_of(result)]:
        moved[id(t)] = t.numel() * t.element_size()
    passes = 3 if work.kind == "train" else 1  # the backward pass has two products for each one forwards
    return Least(passes * counter.get_total_flops(), passes * sum(moved.values()))


@dataclass(frozen=True)
class Ceiling:
    """What this machine reached now: a big matrix product and a big copy, the best of some tries."""

    tflops: float
    gbs: float

    def bound(self, work: Least) -> tuple[str, float]:
        """What bounds the work, and the milliseconds it takes at that ceiling."""
        compute, memory = work.flops / self.tflops / 1e9, work.bytes / self.gbs / 1e6
        return ("compute", compute) if compute > memory else ("memory", memory)


@cache
def ceiling(device: str, dtype: str, threads: int) -> Ceiling:
    """Measured once a process for each dtype."""
    clock, size = make_clock(device), _MATMUL[device]
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(size, size, generator=generator).to(device, DTYPES[dtype])
    product = torch.empty_like(a)
    x = torch.randn(_COPY_BYTES[device] // 4, generator=generator).to(device)
    y = torch.empty_like(x)
    matmul_ms = _best(clock, lambda: torch.mm(a, a, out=product))
    copy_ms = _best(clock, lambda: y.copy_(x))
    return Ceiling(2 * size**3 / matmul_ms / 1e9, 2 * x.numel() * 4 / copy_ms / 1e6)


def _best(clock: Any, call: Any) -> float:
    return min(clock.measure(call, 1) for _ in range(_CEILING_TRIES))

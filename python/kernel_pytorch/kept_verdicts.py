# SPDX-License-Identifier: Apache-2.0
"""Verdicts kept between processes, each in a file beside the capture that it belongs to.

Where a later process makes the same bits of the same bits (graph, weights, inputs; the original's outputs and the
plan's), their errors against the f64 reference are those that an earlier process measured: the reference does not run
again. Whatever differs in a bit is judged anew. A plan of the same steps on the same device, under the same settings
of PyTorch, was timed as well; that holds where another pair of calls bears it out (timing.borne_out).

Bits are told by kpt::Checksum, 128 bits a tensor: what differs by chance shows, what was made to collide need not.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import math
import operator
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import _native, kept_captures
from ._log import event
from .errors import KernelPyTorchError
from .plan import Plan
from .program import Program
from .report import OutputError
from .timing import ShapeTiming, Timing

_FORMAT = 1
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)


class Bits:
    """Names for the bits of a case, and what an earlier process found for them. The program's weights count as they are
    when this is made."""

    def __init__(self, program: Program, known: dict[str, KeptCase]):
        text = hashlib.sha256(program.text.encode()).hexdigest()
        self._program = [text, bits_of([w.tensor for w in program.weights])]
        self.known = known

    def of_case(self, inputs: list[torch.Tensor], original: list[torch.Tensor]) -> str:
        return _digest([*self._program, bits_of(inputs), bits_of(original)])


def bits_of(tensors: list[torch.Tensor]) -> str:
    """A digest of types, sizes and values; strides do not count. Raises KernelPyTorchError for types we do not
    know."""
    return _digest([[str(t.dtype), list(t.shape), _native.checksum(t)] for t in tensors])


def bits_or_none(program: Program, known: dict[str, KeptCase]) -> Bits | None:
    """None where a weight's bits cannot be told: nothing is kept of the verdict."""
    try:
        return Bits(program, known)
    except KernelPyTorchError as error:
        event(logging.INFO, "verdict_not_kept", reason=str(error))
        return None


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


@dataclasses.dataclass
class KeptCase:
    """distances: of the original's outputs from the reference. outputs: the plan's bits. errors: one an output, all
    within the bound."""

    distances: list[list[float]]
    outputs: str
    errors: list[OutputError]


@dataclasses.dataclass
class Verdicts:
    """What an optimisation found. cases: by Bits.of_case. odd_share: the odd sizes it chose (judge.odd_sizes). steps,
    settings: what the timing holds for. date: of the timing, UTC."""

    odd_share: int = 0
    cases: dict[str, KeptCase] = dataclasses.field(default_factory=dict)
    steps: str = ""
    settings: list[Any] = dataclasses.field(default_factory=list)
    timing: Timing | None = None
    date: str = ""

    def timing_of(self, plan: Plan, release: bool, shapes: list[str]) -> Timing | None:
        """The timing, where it was of this plan under these circumstances, and every shape gained clearly."""
        timing = self.timing
        if timing is None or [s.shape for s in timing.shapes] != shapes or not timing.clear():
            return None
        return timing if (self.steps, self.settings) == (steps_of(plan), settings_now(release)) else None


def steps_of(plan: Plan) -> str:
    steps = [[s["provider"], s["kernel"], s["value"]] for s in plan.report["steps"]]
    return _digest([steps, plan.choices.options()])


# What the original's speed depends on beside the device and PyTorch's version, in torch.backends.
_SETTINGS = (
    "fp32_precision",
    "cuda.matmul.fp32_precision",
    "cuda.matmul.allow_tf32",
    "cuda.matmul.allow_bf16_reduced_precision_reduction",
    "cuda.matmul.allow_fp16_reduced_precision_reduction",
    "cuda.matmul.allow_fp16_accumulation",
    "cudnn.enabled",
    "cudnn.benchmark",
    "cudnn.deterministic",
    "cudnn.allow_tf32",
    "cudnn.fp32_precision",
    "cudnn.conv.fp32_precision",
    "cudnn.rnn.fp32_precision",
    "mkldnn.enabled",
    "mkldnn.fp32_precision",
    "mkldnn.matmul.fp32_precision",
    "mkldnn.conv.fp32_precision",
    "mkldnn.rnn.fp32_precision",
)


def settings_now(release: bool) -> list[Any]:
    cuda = torch.backends.cuda
    # set_flush_denormal has no getter.
    flushed = (torch.tensor([1e-39], dtype=torch.float32, device="cpu") * 1.0).item() == 0.0
    return [
        *(release, flushed, torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()),
        [cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(), cuda.cudnn_sdp_enabled()],
        _asked(torch.get_float32_matmul_precision),
        *(_asked(functools.partial(operator.attrgetter(name), torch.backends)) for name in _SETTINGS),
    ]


def _asked(getter: Callable[[], Any]) -> str:
    """Old getters raise once the new ones were used; versions of PyTorch differ in what they have."""
    try:
        return str(getter())
    except (RuntimeError, AttributeError) as why:
        return type(why).__name__


def today() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


# ---- the files -------------------------------------------------------------------------------------------------------


def place_of(key: str, device: torch.device, level: str) -> Path:
    return kept_captures.beside(key, device, level, "verdict")


def forget(place: Path) -> None:
    try:
        place.unlink(missing_ok=True)
    except OSError as error:  # it is looked at again next time
        event(logging.INFO, "kept_verdict_stays", reason=str(error))


def store(place: Path, key: str, verdicts: Verdicts) -> None:
    """JSON; numbers that are not finite belong to no verdict that is kept."""
    data = {"format": _FORMAT, **dataclasses.asdict(verdicts)}
    try:
        kept_captures.store_beside(place, key, json.dumps(data, allow_nan=False))
    except ValueError as error:
        event(logging.INFO, "verdict_not_kept", reason=str(error))


def load(place: Path) -> Verdicts | None:
    try:
        data = json.loads(place.read_text(encoding="utf-8"))
        return _parsed(data)
    except FileNotFoundError:
        return None
    except (*_DAMAGE, KernelPyTorchError) as error:
        event(logging.WARNING, "kept_verdict_damaged", file=place, error=repr(error))
        return None


def _parsed(data: dict[str, Any]) -> Verdicts | None:
    if data["format"] != _FORMAT:
        return None
    cases = {bits: _case(c) for bits, c in data["cases"].items()}
    timing = Timing([_shape(s) for s in data["timing"]["shapes"]], float(data["timing"]["seconds"]))
    if not timing.shapes or len({len(s.before_ms) for s in timing.shapes}) != 1:
        raise ValueError("got a timing whose shapes have different numbers of rounds")
    if not all(0 < x < math.inf for s in [*timing.shapes, timing] for x in dataclasses.astuple(s.interval())):
        raise ValueError("got a timing whose ratios are no numbers")
    settings = list(data["settings"])
    return Verdicts(int(data["odd_share"]), cases, str(data["steps"]), settings, timing, str(data["date"]))


def _case(c: dict[str, Any]) -> KeptCase:
    distances = [[float(x) for x in d] for d in c["distances"]]
    errors = [OutputError(**e) for e in c["errors"]]
    kinds = {"float": float, "str": str, "bool": bool}
    for error in errors:
        for field in dataclasses.fields(error):
            if type(getattr(error, field.name)) is not kinds[field.type]:
                raise ValueError(f"got an error whose {field.name} is no {field.type}")
    if any(len(d) != 5 for d in distances) or len(errors) != len(distances) or not all(e.ok is True for e in errors):
        raise ValueError("got a case without distances and errors for each output")
    return KeptCase(distances, str(c["outputs"]), errors)


def _shape(s: dict[str, Any]) -> ShapeTiming:
    before, after = ([float(x) for x in s[side]] for side in ("before_ms", "after_ms"))
    sound = all(math.isfinite(x) and x > 0 for x in before + after)
    if not sound or len(before) != len(after) or len(before) < 4 or len(before) % 2:
        raise ValueError("got a timing without two times a round and side")
    return ShapeTiming(str(s["shape"]), before, after)

# SPDX-License-Identifier: Apache-2.0
"""Is the plan right? The captured graph in f64 is the reference; the original's own error sets the bound.

The mathematics (distances, the rule of each level) is C++ (src/kpt/validation); here stands only what is compared with
what, and in which order memory is let go.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from . import _native, memory
from .errors import KernelPyTorchError
from .kept_verdicts import Bits, KeptCase, bits_of
from .plan import Plan, compile_plain
from .program import Program
from .reference import Deferred
from .report import OutputError
from .samples import Sample
from .state import kept
from .timing import timed

# Above this error of the original against the f64 reference the capture itself is checked, where rounding does not
# explain it: n values rounded one after the other are about sqrt(n) * epsilon / 2 off. A Llama of 32 layers and 1,440
# values in bf16 is 0.069 off on an H200 (0.15 by that).
_SUSPECT = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
# The plain graph runs the same PyTorch kernels as the original; other strides may pick other loops, so not bit for bit.
_SAME = {torch.float64: 1e-12, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
# What the plain graph is off f64, as rounding of its own, so many times may lie between it and the original: 1.4 where
# both round alike. A Llama-sized decoder with random bf16 weights, three tokens, on an H200: the plain graph 0.055 off
# f64, the original 0.096, 0.093 between them; 0.11 between them in another process.
_COARSER = 3


@dataclass(frozen=True)
class Distance:
    """See kpt::Distance."""

    rel_rmse: float
    cosine: float
    max_abs: float
    nonfinite: float
    elements: float


def distance(x: torch.Tensor, reference: torch.Tensor) -> Distance:
    """Infinitely far where the sizes differ."""
    if x.shape != reference.shape:
        return Distance(float("inf"), 0.0, float("inf"), 0.0, float(x.numel()))
    return Distance(*_native.distance(x, reference))


@dataclass
class Case:
    """A sample as flat tensors, with what the original and the reference make of it."""

    name: str
    inputs: list[torch.Tensor]
    original: list[torch.Tensor]  # after forget_original() shapes and dtypes only
    run_reference: Callable[[], list[torch.Tensor]]
    distances: list[Distance]  # of the original from the reference
    bits: str = ""  # of program, inputs and original
    kept: KeptCase | None = None  # what an earlier process found for these bits
    outputs: str = ""  # bits of the plan's outputs that were judged last
    plan_ms: float = math.inf  # of that call
    _reference: list[torch.Tensor] | None = None

    @property
    def again(self) -> bool:
        """The plan judged last made the bits that it made in an earlier process."""
        return self.kept is not None and self.kept.outputs == self.outputs

    @property
    def reference(self) -> list[torch.Tensor]:
        """Runs when it is first asked: a kept verdict may do without."""
        if self._reference is None:
            self._reference = self.run_reference()
        return self._reference

    def forget_original(self) -> None:
        """Once capture_fault() has found nothing, its values are no longer needed."""
        self.original = [t.to("meta") for t in self.original]

    def to_keep(self, errors: list[OutputError]) -> KeptCase:
        return KeptCase([list(_values(d)) for d in self.distances], self.outputs, errors)


@dataclass
class Verdict:
    """`errors` has one entry for each output that was compared; `case` is the first sample that failed."""

    ok: bool
    reason: str
    errors: list[OutputError] = field(default_factory=list)
    case: Case | None = None
    thrown: str | None = None  # the message where the plan could not run at all


def effective_level(level: str, dtype: torch.dtype) -> tuple[str, str]:
    """The level to compile and judge by, and the rule in words. On CPUs no pass changes an f32 model's precision."""
    if level == "balanced" and dtype is not torch.bfloat16:
        return "conservative", "conservative rule: no precision pass for this dtype on CPU"
    return level, f"{level} rule"


def make_case(
    name: str,
    program: Program,
    sample: Sample,
    result: Any,
    reference: Deferred,
    bits: Bits | None = None,
) -> Case:
    """`result`: what the original made of the sample. Runs the reference, unless `bits` knows these.
    InputError where the two do not fit together."""
    inputs = program.flatten(sample)
    original = [t.detach() for t in program.output_tensors(result)]
    told = bits.of_case(inputs, original) if bits else ""
    known = bits.known.get(told) if bits else None
    if known is not None and len(known.distances) == len(original):
        distances = [Distance(*d) for d in known.distances]
        return Case(name, inputs, original, lambda: reference.run(inputs), distances, told, known)
    truth = reference.run(inputs)
    distances = [distance(o, r) for o, r in zip(original, truth, strict=True)]
    return Case(name, inputs, original, lambda: truth, distances, told)


def capture_fault(program: Program, case: Case) -> str | None:
    """Why the captured graph is not the original model, or None. Costs a run of the plain graph, and only where the
    original lies further from the reference than rounding explains. Both round, the original perhaps more coarsely:
    what the plain graph is off the reference itself, which is the same function, is allowed _COARSER times. A kept
    case's bits have passed."""
    if case.kept is not None:
        return None
    values = program.text.count(" = ")
    pairs = enumerate(zip(case.original, case.distances, strict=True))
    suspects = [i for i, (original, d) in pairs if not d.rel_rmse <= explained(original.dtype, values)]
    if not suspects:
        return None
    outputs = compile_plain(program).run(case.inputs)
    for i in suspects:
        off, rounding = distance(outputs[i], case.original[i]), distance(outputs[i], case.reference[i])
        if not off.rel_rmse <= max(_SAME.get(case.original[i].dtype, 0.0), _COARSER * rounding.rel_rmse):
            return (
                f"capture differs from the original: output {program.output_names[i]} of {case.name} is "
                f"{off.rel_rmse:.1e} off before any change was made"
            )
    return None


def explained(dtype: torch.dtype, values: int) -> float:
    """The error against f64 that rounding explains in a graph of so many values; never more than what the check of the
    capture would pass."""
    if not dtype.is_floating_point:
        return _SUSPECT.get(dtype, 0.0)
    rounding = math.sqrt(values) * torch.finfo(dtype).eps / 2
    return max(_SUSPECT.get(dtype, 0.0), min(rounding, _SAME.get(dtype, 0.0)))


def judge(level: str, plan: Plan, program: Program, cases: list[Case]) -> Verdict:
    """Runs the plan on each case and applies the level's rule to every output; stops after the first case that
    fails."""
    verdict = Verdict(True, "")
    for case in cases:
        fresh = None  # the last case's outputs, before a larger case takes its own
        try:
            with kept(program.state):  # each case starts from the caller's
                fresh, case.plan_ms = timed(partial(plan.run, case.inputs))
            memory.trim()  # the smaller arena of the case before
        except KernelPyTorchError as error:
            return Verdict(False, f"{case.name}: {error}", verdict.errors, case, str(error))
        case.outputs = bits_of(fresh) if case.bits else ""
        if case.again:
            verdict.errors += [replace(e, shape=case.name) for e in case.kept.errors]
            continue
        for i, (new, old) in enumerate(zip(fresh, case.original, strict=True)):
            record = _judge_output(level, new, old, case, i, program.output_names[i])
            verdict.errors.append(record)
            if not record.ok and verdict.ok:
                verdict.ok, verdict.case = False, case
                verdict.reason = f"output {record.output} of {case.name}: {record.reason}"
        if not verdict.ok:
            return verdict
    verdict.reason = "all outputs within the bound"
    return verdict


def _judge_output(level: str, new: torch.Tensor, old: torch.Tensor, case: Case, i: int, name: str) -> OutputError:
    truth, off_old = case.reference[i], case.distances[i]
    if new.shape != old.shape or new.dtype != old.dtype:
        reason = f"is {new.dtype} {list(new.shape)}, the original's is {old.dtype} {list(old.shape)}"
        return OutputError(name, case.name, float("inf"), off_old.rel_rmse, 0.0, 0.0, False, reason)
    off_new = distance(new, truth)
    in_bf16 = list(_values(off_old)) if old.dtype is torch.bfloat16 else []
    rule = json.loads(
        _native.judge(
            level, str(old.dtype).removeprefix("torch."), list(_values(off_new)), list(_values(off_old)), in_bf16
        )
    )
    return OutputError(
        name, case.name, off_new.rel_rmse, off_old.rel_rmse, rule["bound"], off_new.cosine, rule["ok"], rule["reason"]
    )


def _values(d: Distance) -> tuple[float, ...]:
    return d.rel_rmse, d.cosine, d.max_abs, d.nonfinite, d.elements


def resized(program: Program, sample: Sample, sizes: dict[str, int]) -> Sample | None:
    """The sample with other sizes, by repeating or cutting rows, so that the values stay real; a mask of ones gets
    padding.

    None where an input has a size computed from several symbols: cutting one axis alone would break it.
    """
    tensors = []
    for name, tensor, dims in zip(program.input_names, program.flatten(sample), program.input_dims, strict=True):
        for axis, dim in enumerate(dims):
            if dim in sizes:
                tensor = _of_size(tensor, axis, sizes[dim])
            elif not isinstance(dim, int) and dim not in program.symbols:
                return None
        tensors.append(pad_mask(name, tensor))
    return program.sample_of(tensors)


def _of_size(tensor: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """A copy with so many rows. A cut is no gather, whose kernels a GPU would have to load."""
    if size <= tensor.shape[axis]:
        return tensor.narrow(axis, 0, size).clone(memory_format=torch.contiguous_format)
    index = torch.arange(size, device=tensor.device) % max(1, tensor.shape[axis])
    return tensor.index_select(axis, index)


def odd_sizes(program: Program, share: int = 2) -> dict[str, int]:
    """About a `share`-th of each symbolic size, odd: a kernel wrong only at odd sizes must not pass."""
    sizes = {name: odd_size(s.hint, s.lo, s.hi, share) for name, s in program.symbols.items()}
    return {name: size for name, size in sizes.items() if size is not None}


# 12: kernels for up to 16 rows. The others: algorithms for more and fewer rows than the sample has. A size that was not
# made ready takes what the nearest one within a factor of four has.
_FEW, _MULTIPLES = 12, (4, 1 / 4, 2, 1 / 2, 16, 1 / 16)


def other_sizes(program: Program) -> list[dict[str, int]]:
    """Sizes within the bounds that are likely to take other kernels than the sample, one symbol changed at a time."""
    found: list[dict[str, int]] = []
    for times in (None, *_MULTIPLES):
        for name, symbol in program.symbols.items():
            size = min(_FEW if times is None else int(times * symbol.hint), symbol.hi)
            if symbol.lo <= size != symbol.hint and {name: size} not in found:
                found.append({name: size})
    return found


def unit_sizes(program: Program) -> dict[str, int]:
    """Size 1 wherever the capture took it on trust (captured.Symbol.assumed_one) and the sample does not show it."""
    return {name: 1 for name, s in program.symbols.items() if s.assumed_one and s.lo <= 1 and s.hint != 1}


def odd_size(hint: int, lo: int, hi: int, share: int = 2) -> int | None:
    """An odd size other than the hint, inside [lo, hi], near hint / share and at least 3; None if there is none."""
    part = max(3, hint // share | 1)
    candidates = [part, part + 2, hint + 1 + hint % 2, lo | 1]
    for size in candidates:
        if size != hint and lo <= size <= hi:
            return size
    return None


def pad_mask(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A 2-D attention mask of ones, with the second half of its first row taken out."""
    integral = not tensor.is_floating_point() and not tensor.is_complex()
    if (
        name.endswith("attention_mask")
        and tensor.dim() == 2
        and integral
        and min(tensor.shape) > 1
        and bool(tensor.all())
    ):
        tensor = tensor.clone()
        tensor[0, tensor.shape[1] // 2 + 1 :] = 0
    return tensor


def extra_case(
    program: Program,
    model: torch.nn.Module,
    sample: Sample,
    sizes: dict[str, int],
    reference: Deferred,
    bits: Bits | None = None,
) -> tuple[Case | None, str | None]:
    """The sample at other sizes as a case, or why it was not checked. Raises KernelPyTorchError where the original
    takes these sizes and the captured graph does not."""
    if not sizes:
        return None, None
    words = "sizes " + ", ".join(f"{name}={size}" for name, size in sizes.items())
    made = resized(program, sample, sizes)
    if made is None:
        return None, f"{words}: a size of an input is computed from others"
    try:
        with kept(program.state):
            result = made.call(model)
    except (RuntimeError, ValueError, IndexError) as error:
        # Nothing to compare with, and the report says so.
        return None, f"{words}: the original does not take them ({str(error).splitlines()[0]})"
    return make_case(words, program, made, result, reference, bits), None

# SPDX-License-Identifier: Apache-2.0
"""auto_optimize: capture, compile, judge, time, keep or give the original back."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from . import _native, device_memory, kept_captures, machine, memory, rows
from ._log import event
from .bisect import Bisect
from .errors import (
    CaptureError,
    FallbackError,
    InputError,
    KernelLaunchError,
    KernelPyTorchError,
    MemoryAllocationError,
    UnsupportedError,
    input_error,
)
from .judge import (
    Case,
    Verdict,
    capture_fault,
    effective_level,
    extra_case,
    judge,
    make_case,
    odd_sizes,
    other_sizes,
    resized,
    unit_sizes,
)
from .ledger import Ledger
from .module import OptimizedModule
from .plan import Choices, Plan, compile_plan
from .program import Program
from .reference import Deferred
from .report import Report
from .samples import Sample, normalise
from .slow import leave_one_out
from .state import kept, untouched
from .timing import Contest, Timing, paired

LEVELS = ("conservative", "balanced", "aggressive")
# Words of the command line of earlier versions, kept as names of these three.
ALIASES = {
    "basic": "conservative",
    "jit": "conservative",
    "compile": "balanced",
    "triton": "balanced",
    "production": "balanced",
}
# A user's own measure of quality may fall by this share.
EVALUATE_DROP = 0.01
TIMING_BUDGET_S, _TIMING_PATIENCE = 1.5, 3
_SIZES_BUDGET_S = 0.5
# Above this the memory of the plan's call is let go before the original is timed, which costs an untimed call a round.
_LARGE_CALL = 32 << 20
# A sample whose reference takes more is checked at an eighth of its sizes, not at half, which for a Llama-3-8B shape of
# 4x2048 tokens is 3/8 of the sample's own work in f64.
_LARGE_REFERENCE = 2 << 30
# Of a GPU's memory, kept by PyTorch after an optimisation.
_MOST_IDLE = 1 << 30
# Where the original is to be released, only so many rows of a sample are timed that the plan's call takes this much.
_LEAN_CALL = 8 << 20

Progress = Callable[[str, float], None]


def auto_optimize(
    model: torch.nn.Module,
    sample_inputs: Any = None,
    optimization_level: str = "balanced",
    for_inference: bool = True,
    dynamic_shapes: Any = "auto",
    allow_fallback: bool = True,
    evaluate: Callable[[torch.nn.Module], float] | None = None,
    release_original: bool = False,
    progress: Progress | None = None,
) -> OptimizedModule:
    """Returns `model` made faster for inference on this machine, or `model` wrapped as it is, with the reason in
    `.report`.

    sample_inputs: a tensor, a tuple of arguments or a dict of keyword arguments of a typical call, or a list of such to
      show the shapes that will come. None works for HuggingFace models.
    optimization_level: conservative (no dtype changes), balanced (lower precision where the hardware gains from it; on
      CPU and f32 that is the conservative rule), aggressive. Aliases: basic, jit = conservative; compile, triton,
      production = balanced; auto = the setting `level`.
    dynamic_shapes: "auto" lets batch and sequence sizes vary, False fixes all sizes, a dict sets bounds ({"s": (1,
    1024)}).
    allow_fallback: False refuses operators that only PyTorch can run (FallbackError names them), and calls that the
      plan cannot take.
    evaluate: called with a module, returns a number, higher is better. The result is kept only if it drops by at most 1
    %.
    release_original: drops what the plan does not need of the original: its code, unused parameters. Afterwards
      `.original` is None, calls outside the plan's bounds raise, and `state_dict()` has the plan's weights only; those
      that the plan reads as one become views of one piece of memory. Memory then counts during the optimisation too: of
      large samples only some rows of the batch are timed (all are judged).
    progress: called with (stage, share of the stage done): original, capture, reference, compile, judge, on a GPU
      sizes, time, with `evaluate` evaluate.

    Outputs are tensors of their own with default strides, also where the original returns a view, an input, a weight, a
    buffer, or one tensor twice.
    The original is left untouched: mode, parameters, buffers, gradients and random state. A model in train mode is
    optimised as if eval() had been called. Not safe to call at the same time as other use of the same model.
    Raises InputError for wrong arguments, UnsupportedError for for_inference=False, FallbackError, KernelLaunchError
    where a GPU was lost; never because a model cannot be captured or is not made faster, or memory is short.
    """
    level = _check(model, optimization_level, for_inference, evaluate)
    samples = normalise(model, sample_inputs)
    _native.follow_logger()
    strict = not (allow_fallback and machine.setting("allow_fallback"))
    report_progress = progress or (lambda stage, share: None)
    job = _Job(model, samples, level, dynamic_shapes, strict, evaluate, release_original, report_progress)
    with untouched(model):
        result = job.run()
    if release_original and result.report.kept:
        result.release()
    memory.trim()
    return result


def _give_back_idle() -> None:
    """What PyTorch keeps of the reference's memory on the current GPU, where it is much: other processes may need
    it."""
    if torch.cuda.is_initialized() and torch.cuda.memory_reserved() - torch.cuda.memory_allocated() > _MOST_IDLE:
        torch.cuda.empty_cache()


def _check(model: Any, level: Any, for_inference: bool, evaluate: Any) -> str:
    where = "auto_optimize"
    if not isinstance(model, torch.nn.Module):
        raise input_error(where, type(model).__name__, "a torch.nn.Module", "wrapping the function in a module")
    if isinstance(model, OptimizedModule):
        raise input_error(
            where, "a module that is optimised already", "the original", "auto_optimize(fast.original, ...)"
        )
    if not for_inference:
        raise UnsupportedError(
            f"[{where}] got for_inference=False, want True: only inference is optimised so far, nothing was changed; "
            "try for_inference=True for the evaluation copy of the model"
        )
    if evaluate is not None and not callable(evaluate):
        raise input_error(
            where, f"evaluate={evaluate!r}", "a function of a module that returns a number", "evaluate=None"
        )
    if level == "auto":
        level = machine.setting("level")
    level = ALIASES.get(level, level) if isinstance(level, str) else level
    if level not in LEVELS:
        words = ", ".join([*LEVELS, "auto", *ALIASES])
        raise input_error(where, f"optimization_level={level!r}", f"one of {words}", 'optimization_level="balanced"')
    return level


class _GiveUpError(Exception):
    """Why the original is returned. Stays inside this file."""


@dataclass
class _Job:
    model: torch.nn.Module
    samples: list[Sample]
    level: str
    dynamic_shapes: Any
    strict: bool
    evaluate: Callable[[torch.nn.Module], float] | None
    release: bool
    progress: Progress

    def __post_init__(self) -> None:
        parameter = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        self.dtype = parameter.dtype if parameter is not None else torch.float32
        self.compile_level, rule = effective_level(self.level, self.dtype)
        self.report = Report(type(self.model).__name__, self.level, rule)
        self.report.dtype = str(self.dtype).removeprefix("torch.")
        self.report.threads = torch.get_num_threads()
        self.report.hardware = machine.hardware()
        self.report.versions = machine.versions()
        self.report.unchecked = machine.unchecked()
        self.ledger = Ledger(None, self.level, self.release)

    def run(self) -> OptimizedModule:
        start = time.perf_counter()
        try:
            with self._current_device():
                try:
                    program, plan = self._optimise()
                finally:
                    _give_back_idle()
        except _GiveUpError as why:
            program, plan = self._give_up(str(why))
        except (MemoryAllocationError, torch.OutOfMemoryError) as short:
            program, plan = self._give_up(f"short of memory: {str(short).splitlines()[0]}")
            device_memory.free_idle()
        self.report.compile_seconds["total"] = time.perf_counter() - start
        return OptimizedModule(self.model, program, plan, self.report, not self.strict)

    def _give_up(self, why: str) -> tuple[None, None]:
        """The original it is; KernelLaunchError where a GPU was lost, since that runs nothing any more."""
        fault = _native.device_fault()
        if fault:
            error = KernelLaunchError(f"[auto_optimize] got {fault}, the GPU is lost to this process: {why}")
            error.context_lost = True
            raise error
        self.report.kept, self.report.reason = False, why
        event(logging.INFO, "not_kept", model=self.report.model, reason=why)
        return None, None

    def _optimise(self) -> tuple[Program, Plan]:
        self._check_device()
        key = kept_captures.key_of(self.model, self.samples, self.dynamic_shapes)
        with self._phase("original"):
            results = self._run_original()
        with self._phase("capture"):
            key = kept_captures.key_after_calls(key, self.model)
            self.ledger = Ledger(key, self.level, self.release)
            known = None if key is None else kept_captures.load(key, self.model, self.samples[0], results[0])
            program = known or self._capture()
        with self._phase("reference"):
            if known is not None:
                self.ledger.read(program.device)
            program, cases = self._checked_capture(program, known is not None, results)
        del results
        with self._phase("compile"):
            plan = self._compile(program)
        with self._phase("judge"):
            plan = self._accept(program, plan, cases)
            plan.native.trim()  # of the largest sample
        del cases
        if program.symbols and program.device.type == "cuda":
            with self._phase("sizes"):
                self._make_ready(program, plan)
        with self._phase("time"):
            plan = self._faster(program, plan)
        self.report.take_plan(plan.report)
        self.report.kept = True
        self._log_kept(plan)
        self.ledger.keep(program, plan, self.report)
        if self.evaluate is not None:
            with self._phase("evaluate"):
                self._evaluate(program, plan)
        return program, plan

    def _log_kept(self, plan: Plan) -> None:
        report = self.report
        for f in report.fallbacks:
            event(logging.INFO, "fallback", op=f.op, node=f.value, reason=f.reason, where=f.where)
        gain = report.speedup
        event(
            logging.INFO,
            "kept",
            model=report.model,
            speedup=gain and gain.median,
            low=gain and gain.low,
            high=gain and gain.high,
            before_ms=report.latency_ms and report.latency_ms["before"],
            after_ms=report.latency_ms and report.latency_ms["after"],
            steps=len(plan.report["steps"]),
            bytes=report.memory.get("peak_bytes"),
        )

    def _phase(self, name: str) -> _Phase:
        return _Phase(name, self.report, self.progress)

    def _current_device(self) -> contextlib.AbstractContextManager[Any]:
        """The model's GPU is the current one: what waits, and what is timed, is then that one's work."""
        tensors = itertools.chain(self.model.parameters(), self.model.buffers(), *(s.tensors() for s in self.samples))
        device = next((t.device for t in tensors), torch.device("cpu"))
        return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()

    # ---- phases ---------------------------------------------------------------------------------------------------

    def _check_device(self) -> None:
        devices = {t.device for t in [*self.model.parameters(), *self.model.buffers()]}
        if not devices:
            devices = {t.device for sample in self.samples for t in sample.tensors()}
        if len(devices) > 1:
            names = ", ".join(sorted(map(str, devices)))
            raise _GiveUpError(f"the model is spread over {names}: only models on one device are optimised")
        device = next(iter(devices), torch.device("cpu"))
        if device.type not in ("cpu", "cuda"):
            raise _GiveUpError(f"the model is on {device}: only cpu and cuda are optimised")
        for sample in self.samples:
            for t in sample.tensors():
                if t.device != device:
                    raise input_error(
                        "auto_optimize", f"a sample on {t.device}", f"the model's device, {device}", f'x.to("{device}")'
                    )

    def _run_original(self) -> list[Any]:
        """Its result for each sample. One that it does not take is the caller's fault, and its own message says
        most."""
        results: list[Any] = [None] * len(self.samples)
        by_size = sorted(range(len(self.samples)), key=lambda i: -sum(t.numel() for t in self.samples[i].tensors()))
        # What one sample writes to the model's state, the next must not see: nor does it when the plan is judged.
        state = list(self.model.buffers()) if len(self.samples) > 1 else []
        for i in by_size:  # the largest call while no other result is held
            sample = self.samples[i]
            try:
                with kept(state):
                    results[i] = sample.call(self.model)
                memory.trim()
            except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AssertionError) as error:
                which = f"sample_inputs[{i}]" if len(self.samples) > 1 else "sample_inputs"
                raise InputError(
                    f"[auto_optimize] got {which} ({sample.describe()}) that the model itself refuses: "
                    f"{type(error).__name__}: {error}; want inputs that work, try model(...) with them first"
                ) from error
        return results

    def _capture(self) -> Program:
        first, *more = self.samples
        try:
            return Program.capture(self.model, first, self.dynamic_shapes, more)
        except CaptureError as error:
            raise _GiveUpError(f"not captured whole: {error}") from error

    def _checked_capture(self, program: Program, known: bool, results: list[Any]) -> tuple[Program, list[Case]]:
        """The program and its cases. A kept capture that the original does not bear out is made anew."""
        notes, unchecked = list(self.report.notes), list(self.report.unchecked)
        self._tell_capture(program)
        try:
            made = self._cases(program, results)
        except _GiveUpError as why:
            if not known:
                raise
            event(logging.WARNING, "kept_capture_dropped", model=self.report.model, reason=str(why))
            kept_captures.forget(self.ledger.key)
            self.report.notes, self.report.unchecked = notes, unchecked
            known, program = False, self._capture()
            self._tell_capture(program)
            made = self._cases(program, results)
        if known:
            self.report.note("the graph was kept from an earlier capture of this model; it was compared with it again")
        elif self.ledger.key is not None:
            kept_captures.store(self.ledger.key, program.captured, self.model)
        return made

    def _tell_capture(self, program: Program) -> None:
        self.report.shapes = program.shapes()
        self.report.notes += program.notes
        event(
            logging.INFO,
            "capture",
            model=self.report.model,
            device=program.device,
            symbols=",".join(program.symbols),
            weights=len(program.weights),
            notes=len(program.notes),
        )

    def _compile(self, program: Program) -> Plan:
        threads = torch.get_num_threads()
        choices = Choices(level=self.compile_level, allow_fallback=not self.strict, threads=threads)
        try:
            plan = compile_plan(program, choices)
        except UnsupportedError as error:
            if self.strict:
                raise FallbackError(str(error)) from error
            raise _GiveUpError(f"not compiled: {error}") from error
        except KernelPyTorchError as error:
            raise _GiveUpError(f"not compiled: {error}") from error
        self.report.take_plan(plan.report)
        return plan

    def _cases(self, program: Program, results: list[Any]) -> tuple[Program, list[Case]]:
        """Every sample, one at odd sizes and one at size 1, each with the original's and the reference's outputs."""
        try:
            self.ledger.begin(program)
            reference = Deferred(program, lean=self.release)
            pairs = zip(self.samples, results, strict=True)
            cases = [make_case(s.describe(), program, s, result, reference, self.ledger.bits) for s, result in pairs]
            share = self.ledger.odd_share(cases) or self._odd_share(cases[0], reference)
            cases += self._extra_case(program, odd_sizes(program, share), reference)
            for case in cases:
                fault = capture_fault(program, case)
                if fault is not None:
                    raise _GiveUpError(fault)
                case.forget_original()
        except KernelPyTorchError as error:
            raise _GiveUpError(f"could not be judged: {error}") from error
        units = unit_sizes(program)
        one, fault = self._unit_case(program, units, reference)
        if fault is not None:
            names = ", ".join(units)
            self.report.note(f"size 1 of {names} is another computation in this model, the original runs it ({fault})")
            program = program.without_size_one(list(units))
            self.report.shapes = program.shapes()
        return program, cases + one

    def _odd_share(self, case: Case, reference: Deferred) -> int:
        share = 8 if reference.bytes_needed(case.inputs) > _LARGE_REFERENCE else 2
        self.ledger.take_odd_share(share)
        return share

    def _extra_case(self, program: Program, sizes: dict[str, int], reference: Deferred) -> list[Case]:
        case, unchecked = extra_case(program, self.model, self.samples[0], sizes, reference, self.ledger.bits)
        if unchecked is not None:
            self.report.unchecked.append(unchecked)
        return [] if case is None else [case]

    def _unit_case(self, program: Program, sizes: dict[str, int], reference: Deferred) -> tuple[list[Case], str | None]:
        """The case at size 1, or how the captured graph differs from the original there."""
        try:
            one = self._extra_case(program, sizes, reference)
            fault = capture_fault(program, one[0]) if one else None
        except KernelPyTorchError as error:
            return [], str(error)
        return ([], fault) if fault is not None else (one, None)

    def _accept(self, program: Program, plan: Plan, cases: list[Case]) -> Plan:
        """The plan, or what is left of it after the guilty parts were put back."""
        try:
            plan, verdict = self._judged(program, plan, cases)
        except MemoryAllocationError:
            raise
        except KernelPyTorchError as error:  # of a reference that runs now
            raise _GiveUpError(f"could not be judged: {error}") from error
        self.report.error = verdict.errors
        self.report.take_plan(plan.report)
        self.ledger.take_cases(cases, verdict, len(self.samples))
        return plan

    def _judged(self, program: Program, plan: Plan, cases: list[Case]) -> tuple[Plan, Verdict]:
        verdict = judge(self.compile_level, plan, program, cases)
        if verdict.ok or self._users_measure_decides(verdict):
            return plan, verdict
        repaired = Bisect(program, self.compile_level, cases).repair(plan, verdict)
        self.report.steps += repaired.records
        for record in repaired.records:
            event(logging.INFO, "rewrite_put_back", rewrite=record.step, where=record.where, reason=record.why)
        if repaired.plan is None:
            self.report.error = verdict.errors
            raise _GiveUpError(f"not right: {verdict.reason}")
        return repaired.plan, repaired.verdict

    def _make_ready(self, program: Program, plan: Plan) -> None:
        """On a GPU: kernels for other sizes are compiled and chosen now: what calls with sizes near them use. Nothing
        runs. Of the first sample as many sizes as fit the budget, the ones first that need other kernels; none where an
        earlier process did that, as far as its budget went: what it chose is kept."""
        ready = [self._try_ready(program, plan, s, s.describe()) for s in self.samples[1:]]
        key, device = self.ledger.key, program.device
        place = None if key is None else kept_captures.beside(key, device, self.compile_level, "sizes")
        if place is not None and place.exists():
            return
        end = time.perf_counter() + _SIZES_BUDGET_S
        done = []
        for sizes in other_sizes(program):
            if time.perf_counter() > end:
                break
            other = resized(program, self.samples[0], sizes)
            if other is not None:
                done.append(", ".join(f"{name}={size}" for name, size in sizes.items()))
                ready.append(self._try_ready(program, plan, other, done[-1]))
        if place is not None and all(ready):
            kept_captures.store_beside(place, key, "\n".join(done))

    def _try_ready(self, program: Program, plan: Plan, sample: Sample, what: str) -> bool:
        """False where it failed: the report says so."""
        try:
            plan.native.make_ready(program.flatten(sample))
        except KernelPyTorchError as error:
            if getattr(error, "context_lost", False):
                raise
            self.report.unchecked.append(f"sizes {what}: they were not made ready: {error}")
            return False
        return True

    def _users_measure_decides(self, verdict: Verdict) -> bool:
        """At level aggressive `evaluate` may stand in for the rule (but not for a kernel that throws)."""
        return self.level == "aggressive" and self.evaluate is not None and verdict.thrown is None

    def _faster(self, program: Program, plan: Plan) -> Plan:
        timing = self._time(program, plan)
        kept, reason = timing.verdict()
        if not kept:
            sample = self.samples[0]
            shape = sample.describe()
            better, records = leave_one_out(program, plan, shape, lambda p: self._new_call(program, p, sample))
            self.report.steps += records
            if better is not plan:
                _, cases = self._cases(program, self._run_original())  # let go before, for the memory
                plan = self._accept(program, better, cases)
                timing = self._time(program, plan)
                kept, reason = timing.verdict()
        self.report.take_timing(timing)
        self.report.reason = reason
        if not kept:
            raise _GiveUpError(reason)
        return plan

    def _time(self, program: Program, plan: Plan) -> Timing:
        contests = [self._contest(program, plan, s) for s in self.samples]
        interruptions = machine.Interruptions()
        with torch.inference_mode():
            timing = self.ledger.timing(program, plan, contests, TIMING_BUDGET_S)
            if timing is None:
                timing = paired(
                    contests,
                    TIMING_BUDGET_S,
                    progress=lambda share: self.progress("time", share),
                    patience=_TIMING_PATIENCE,
                )
                self.ledger.take_timing(timing)
        if note := interruptions.note():
            self.report.note(note)
        return timing

    def _contest(self, program: Program, plan: Plan, sample: Sample) -> Contest:
        on_cpu = all(t.device.type == "cpu" for t in sample.tensors())
        if on_cpu and self.release:
            sample = rows.shortened(program, plan, sample, _LEAN_CALL)
        large = on_cpu and rows.call_bytes(program, plan, sample) > _LARGE_CALL
        new = self._new_call(program, plan, sample)
        return Contest(sample.describe(), lambda: sample.call(self.model), new, plan.native.trim if large else None)

    def _new_call(self, program: Program, plan: Plan, sample: Sample) -> Callable[[], object]:
        """The call as the user will make it, with all that Python adds."""
        module = OptimizedModule(self.model, program, plan, self.report, allow_fallback=False)
        return lambda: sample.call(module)

    def _evaluate(self, program: Program, plan: Plan) -> None:
        fast = OptimizedModule(self.model, program, plan, self.report, not self.strict)
        before, after = float(self.evaluate(self.model)), float(self.evaluate(fast))
        self.report.evaluation = {"before": before, "after": after}
        if not after >= before - EVALUATE_DROP * abs(before):
            self.report.kept = False
            raise _GiveUpError(f"evaluate fell from {before:.6g} to {after:.6g}, more than {EVALUATE_DROP:.0%}")


class _Phase:
    """Seconds of a phase into the report, its start and end to the caller's progress."""

    def __init__(self, name: str, report: Report, progress: Progress):
        self._name, self._report, self._progress = name, report, progress

    def __enter__(self) -> None:
        self._progress(self._name, 0.0)
        memory.trim()
        self._start = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        seconds = time.perf_counter() - self._start
        self._report.compile_seconds[self._name] = seconds
        event(logging.DEBUG, "phase", phase=self._name, ms=seconds * 1e3)
        self._progress(self._name, 1.0)

# SPDX-License-Identifier: Apache-2.0
"""The module that auto_optimize returns: same parameters, same keys, same results as the original, run by the plan.

When a call goes to the original instead (never silently: a warning once for each cause, counted in
`report.calls_to_original`, a note in the report):
  * an input requires grad and grad mode is on, so that autograd works;
  * `train()` was called: dropout and batch statistics are the original's; `eval()` brings the plan back;
  * the call has another structure, or a size outside the plan's bounds;
  * torch.jit.trace traces the call: the trace is the original's;
  * memory is short for the plan after all that is idle was freed;
  * weights changed dtype, device or shape (`.half()`, `.to()`), or a submodule was replaced: the plan no longer holds,
    call auto_optimize again.
With `allow_fallback=False`, or when the original was released, such a call raises instead. Outputs of the plan never
require grad, also where parameters do. Weights edited in place, loaded or replaced by ones of the same shape and dtype
are taken over by the next call. Safe to call from many threads.
"""

from __future__ import annotations

import copy
import ctypes
import difflib
import logging
import sys
import threading
import warnings
from typing import Any, NoReturn

import torch
from torch.nn.modules import module as everywhere

from . import device_memory
from ._log import event
from ._watch import watch
from .errors import (
    FallbackError,
    InputError,
    KernelPyTorchError,
    MemoryAllocationError,
    StaleWeightsError,
    input_error,
)
from .plan import Plan, compile_plan
from .program import Program, Watched
from .report import Report
from .state import eval_mode

_FORMS = 8  # of calls that python/bridge/direct.cpp keeps

# Hooks that nn.Module runs around a call; torch.nn.modules.module has those of all modules under `_global..`.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class OptimizedModule(torch.nn.Module):
    """`original` as a plan. Made by auto_optimize; `plan` is None where the original is kept as it is."""

    def __init__(
        self,
        original: torch.nn.Module,
        program: Program | None,
        plan: Plan | None,
        report: Report,
        allow_fallback: bool = True,
    ):
        super().__init__()
        state = self.__dict__  # nn.Module.__setattr__ would register the original as a child and change every key
        state["_original"] = original
        # One set of dictionaries for both: keys, parameters and edits are the original's.
        state["_parameters"], state["_buffers"] = original._parameters, original._buffers
        state["_modules"] = original._modules
        state["_released"] = False
        state["_lock"] = threading.RLock()
        state["_allow_fallback"] = allow_fallback
        self.report = report
        self.training = False
        self._install(program, plan)

    def _install(self, program: Program | None, plan: Plan | None) -> None:
        state = self.__dict__
        state["_program"], state["_plan"] = program, plan
        state["_stale"] = None  # why the plan no longer holds
        state["_quick"] = None  # the whole call in one step, while nothing stands against it but what it sees itself
        state["_taught"] = []  # forms of calls that it knows
        state["_seen"] = -1  # of `_changes`, when the references were last looked at
        state["_hooked"] = False  # whether there are hooks, of this module or of all
        state["_hooks"] = [state[name] for name in _HOOKS] + [getattr(everywhere, f"_global{name}") for name in _HOOKS]
        if plan is None or program is None:
            state["_refs"], state["_changes"] = [], watch(state["_hooks"])
            return
        state["_native_run"] = plan.native.run
        state["_flatten"], state["_results"] = program.flatten_call, program.results
        self._watch(program.weights_in(self._original))

    def _watch(self, weights: list[Watched]) -> None:
        """Looks at these places from now on, and at every submodule's."""
        state = self.__dict__
        state["_watched"], state["_refs"] = weights, self._places(weights)
        state["_children"] = self._refs[len(weights) :]
        state["_changes"] = watch([*{id(d): d for d, _, _ in self._refs}.values(), *state["_hooks"]])

    def _places(self, weights: list[Watched]) -> list[tuple[dict[str, Any], str, Any]]:
        """Dictionary, key and what is there: the weights, then every submodule."""
        modules = self._original.modules()
        return [(d, name, t) for d, name, t, _ in weights] + [
            (m._modules, name, child) for m in modules for name, child in m._modules.items()
        ]

    # ---- the call -------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """nn.Module's, which is only gone through where there are hooks: it calls `forward` by way of two more."""
        state = self.__dict__
        quick = state["_quick"]
        if quick is not None and not state["training"] and "_compiled_call_impl" not in state:
            try:
                outputs = quick(args, kwargs)
            except RuntimeError as error:
                return self._failed(self._plan.native.failure(error), args, kwargs)
            if outputs is not None:
                return state["_results"].build(outputs)
        return self._call(args, kwargs, False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(args, kwargs, True)

    def _call(self, args: tuple, kwargs: dict[str, Any], hooks_ran: bool) -> Any:
        state = self.__dict__
        changes = state["_changes"]
        if changes is None or changes.value != state["_seen"]:
            try:
                self._look(changes)
            except InputError as error:
                return self._leave("inputs", str(error), args, kwargs, InputError)
        if not hooks_ran and (state["_hooked"] or "_compiled_call_impl" in state):
            return super().__call__(*args, **kwargs)
        if state["_plan"] is None:
            return self._run_original(args, kwargs)
        if state["training"]:
            return self._leave("train mode", "the module is in train mode, call eval() for the plan", args, kwargs)
        if torch._C._is_tracing():  # a trace would keep this call's results as constants
            return self._leave("trace", "torch.jit traces the call, and sees nothing of a plan", args, kwargs)
        try:
            if state["_stale"] is not None:
                return self._leave("stale", self._stale, args, kwargs, StaleWeightsError)
            tensors = state["_flatten"](args, kwargs)
            if torch.is_grad_enabled():
                for t in tensors:
                    if t.requires_grad:
                        return self._leave(
                            "grad", "an input requires grad, and the plan is for inference", args, kwargs
                        )
            if state["_quick"] is not None:
                self._teach(args, kwargs)
            outputs = state["_native_run"](tensors)
        except (InputError, MemoryAllocationError) as error:
            return self._failed(error, args, kwargs)
        return state["_results"].build(outputs)

    def _teach(self, args: tuple, kwargs: dict[str, Any]) -> None:
        """From now on calls of this form are made in one step."""
        taught = self.__dict__["_taught"]
        if len(taught) >= _FORMS:
            return
        form = self._program.form(args, kwargs)
        if form is not None and form not in taught:
            taught.append(form)
            self._plan.native.teach(form)

    def _failed(self, error: Exception, args: tuple, kwargs: dict[str, Any]) -> Any:
        if isinstance(error, InputError):
            self._check_weights()
            return self._leave("inputs", str(error), args, kwargs, InputError)
        if isinstance(error, MemoryAllocationError):
            return self._short_of_memory(error, self._flatten(args, kwargs), args, kwargs)
        raise error from None

    def memory_needed(self, *args: Any, **kwargs: Any) -> int:
        """Bytes that a call with these arguments takes beside the weights: the plan's peak and its outputs, known
        before it runs. InputError where the plan does not take them, or the original is kept."""
        if self._plan is None:
            raise input_error("memory_needed", "a module whose original is kept", "a plan", "report.kept first")
        return self._plan.native.call_bytes(self._flatten(args, kwargs))

    def _short_of_memory(self, error: MemoryAllocationError, tensors: list, args: tuple, kwargs: dict) -> Any:
        """Idle memory of ours is freed by now: with torch's too, once more; then the original, which may need less.
        A plan that writes state may have written some of it: that call is not run again."""
        if "kpt.write_" in self.graph:
            raise error
        device_memory.free_idle()
        try:
            return self._results.build(self._native_run(tensors))
        except MemoryAllocationError:
            pass  # the first one says what was asked for while other memory was still held
        try:
            return self._leave("memory", str(error), args, kwargs, type(error))
        except torch.OutOfMemoryError as short:
            raise error from short

    def _run_original(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        original = self._original
        if original.training and not self.training:
            with eval_mode(original):  # optimised for inference, whatever mode the original was left in
                return original(*args, **kwargs)
        return original(*args, **kwargs)

    def _leave(
        self,
        cause: str,
        why: str,
        args: tuple,
        kwargs: dict[str, Any],
        error: type[KernelPyTorchError] = FallbackError,
    ) -> Any:
        """Runs the original instead of the plan, and says so once for each cause."""
        if not self._allow_fallback or self._released:
            because = "it was released" if self._released else "allow_fallback=False"
            raise error(f"{why} (the original cannot run instead: {because})")
        with self._lock:
            counts = self.report.calls_to_original
            counts[cause] = counts.get(cause, 0) + 1
            first = counts[cause] == 1
            if first:
                self.report.note(f"calls run by the original ({cause}): {why}")
                event(logging.INFO, "call_to_original", cause=cause, reason=why)
        result = self._run_original(args, kwargs)  # its own error first, if it has one
        if first:
            warnings.warn(f"kernel_pytorch runs the original model: {why}", RuntimeWarning, stacklevel=_users_level())
        return result

    # ---- weights --------------------------------------------------------------------------------------------------

    def _look(self, changes: ctypes.c_uint64 | None) -> None:
        """Takes over what was replaced among parameters, submodules and hooks since the last look."""
        seen = -1 if changes is None else changes.value  # read first: what changes meanwhile is seen by the next call
        self.__dict__["_hooked"] = any(self._hooks)
        try:
            for holder, name, known in self._refs:
                if holder[name] is not known:
                    self._take_over()
                    break
        except KeyError:  # a parameter or submodule was deleted
            self._take_over()
        self.__dict__["_seen"] = seen
        if changes is not None and self._plan is not None and self._plan.native.call is not None:
            with self._lock:
                self.__dict__["_quick"] = None if self._hooked or self._stale else self._plan.native.call
                self._plan.native.seen(seen)

    def _take_over(self) -> None:
        """Hands replaced parameters to the engine; where one no longer fits, the plan is stale."""
        with self._lock:
            before = [(name, id(held)) for _, name, held in self._refs]
            found = self._program.weights_in(self._original)
            if before == [(name, id(held)) for _, name, held in self._places(found)]:
                self._watch(found)  # modules have other dictionaries of the same contents: torch.export leaves them so
                return
            for holder, name, child in self._children:
                if holder.get(name) is not child:
                    self._mark_stale(f"the submodule {name!r} was replaced, the plan was made for the old one")
                    return
            watched: list[Watched] = []
            taken: dict[int, torch.Tensor] = {}  # one tensor for each weight, in however many places it stands
            for holder, name, known, index in self._watched:
                now = holder.get(name)
                if taken.setdefault(index, now) is not now:
                    self._mark_stale(f"the tied weight {self._program.weights[index].fqn} came apart")
                    return
                if now is not known:
                    if now is None or not _fits(now, known):
                        self._mark_stale(
                            f"the weight {self._program.weights[index].fqn} changed shape, dtype or device"
                        )
                        return
                    self._plan.native.set_weight(index, now)
                watched.append((holder, name, now, index))
            state = self.__dict__
            state["_watched"] = watched
            state["_refs"] = [(d, n, t) for d, n, t, _ in watched] + self._children

    def _check_weights(self) -> None:
        """Marks the plan stale where a weight's dtype or shape was changed in place, as module.half() does."""
        if self._plan is None:
            return
        for _, _, tensor, index in self._watched:
            dtype, sizes = self._program.weight_types[index]
            if tensor.dtype is not dtype or tuple(tensor.shape) != sizes or tensor.device != self._program.device:
                name = self._program.weights[index].fqn
                with self._lock:
                    self._mark_stale(f"the weight {name} is now {tensor.dtype} {list(tensor.shape)} on {tensor.device}")
                return

    def refresh_weights(self) -> None:
        """Makes again at the next call what was derived from weights (merged, folded). Only needed after edits that
        torch keeps no count of: through `.data`, or of tensors made under inference_mode. All others are noticed."""
        if self._plan is not None:
            self._plan.native.refresh_weights()

    def _mark_stale(self, why: str) -> None:
        self.__dict__["_stale"] = f"{why}. Call auto_optimize again"
        self.__dict__["_quick"] = None

    def _apply(self, fn: Any, recurse: bool = True) -> OptimizedModule:
        self._original._apply(fn, recurse)
        self._check_weights()
        return self

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self._original.load_state_dict(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self._original.state_dict(*args, **kwargs)

    def train(self, mode: bool = True) -> OptimizedModule:
        self._original.train(mode)
        self.training = mode
        return self

    # ---- what was made --------------------------------------------------------------------------------------------

    @property
    def original(self) -> torch.nn.Module | None:
        """The model as it was passed in; None after release_original=True."""
        return None if self._released else self._original

    @property
    def graph(self) -> str:
        """Text of the optimised graph; empty where the original was kept."""
        return self._plan.native.text() if self._plan is not None else ""

    @property
    def plan_text(self) -> str:
        """Steps, kernels and buffers of the plan as text; empty where the original was kept."""
        return self._plan.native.plan_text() if self._plan is not None else ""

    def explain(self, node: str) -> str:
        """The story of one value of `graph`: source lines, rewrites, kernel and why. InputError for an unknown name."""
        if self._plan is None:
            return f"the original runs: {self.report.reason}"
        known = self._plan.values()
        name = node.removeprefix("%")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3) or known[-3:]
            raise input_error(
                "explain", f"no value {node!r} in the optimised graph", "a name of .graph", ", ".join(close)
            )
        return self._plan.native.explain(name)

    # ---- the rest of nn.Module ------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            original = self.__dict__.get("_original")
            if original is None or name.startswith("__"):
                raise
            return getattr(original, name)  # .config, .device and the model's own methods, run by the original

    def __deepcopy__(self, memo: dict[int, Any]) -> OptimizedModule:
        """A copy with weights of its own, compiled again from the same text with the same choices."""
        original = copy.deepcopy(self._original, memo)
        report = copy.deepcopy(self.report, memo)
        program, plan = self._program, None
        if self._plan is not None and self._stale is None:
            program = program.rebind(original)
            plan = compile_plan(program, self._plan.choices)
        made = OptimizedModule(original, program, plan, report, self._allow_fallback)
        made.training = self.training
        made.__dict__["_released"] = self._released
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise KernelPyTorchError(
            "[pickle] got an OptimizedModule, whose plan lives in native memory, want a plain module or a state dict, "
            "try torch.save(fast.state_dict(), path) and auto_optimize on the model after loading"
        )

    def __repr__(self) -> str:
        how = f"kept, {self.report.speedup}" if self.report.kept else f"not kept: {self.report.reason}"
        return f"OptimizedModule({how})(\n  {repr(self._original).replace(chr(10), chr(10) + '  ')}\n)"

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._original)})

    def release(self) -> None:
        """Lets the original go; see auto_optimize(release_original=True)."""
        if self._plan is None:
            return
        skeleton = self._program.skeleton(self._original)
        state = self.__dict__
        state["_original"], state["_released"] = skeleton, True
        state["_parameters"], state["_buffers"] = skeleton._parameters, skeleton._buffers
        state["_modules"] = skeleton._modules
        state["_program"] = self._program.rebind(skeleton)
        self._install(self._program, self._plan)
        self._join_weights()

    def _join_weights(self) -> None:
        """Moves weights that the plan reads as one into one piece of memory each group: parameters stay what they are,
        as views of it, and the plan keeps no copy of them."""
        self._plan.native.trim()  # recordings hold the old memory
        moved: set[int] = set()
        for group in self._plan.native.joined_weights():
            tensors = [self._program.weights[i].tensor for i in group]
            if moved.isdisjoint(map(id, tensors)) and _may_join(tensors):
                _join(tensors)
                moved.update(map(id, tensors))
        if moved:
            self._plan.native.take_weights()


def _users_level() -> int:
    """`stacklevel` of warnings.warn for the line that called the module, however many of our frames lie between."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename in (__file__, everywhere.__file__):
        frame, level = frame.f_back, level + 1
    return level


# Kernels may count on weights that start as torch's allocators place them on GPUs.
_START = 256


def _may_join(tensors: list[torch.Tensor]) -> bool:
    """Each once, dense, alone in its memory, and long enough for the next to start well."""
    return len({id(t) for t in tensors}) == len(tensors) and all(
        t.is_contiguous() and t.untyped_storage().nbytes() == t.nbytes and t.nbytes % _START == 0 for t in tensors
    )


def _join(tensors: list[torch.Tensor]) -> None:
    """One piece of memory for all, one behind the other along their first axis; each becomes a view of its part."""
    with torch.no_grad():
        whole = torch.cat([t.data for t in tensors])
        start = 0
        for t in tensors:
            t.data = whole.narrow(0, start, t.shape[0])
            start += t.shape[0]


def _fits(new: Any, old: torch.Tensor) -> bool:
    return (
        isinstance(new, torch.Tensor) and new.dtype == old.dtype and new.shape == old.shape and new.device == old.device
    )

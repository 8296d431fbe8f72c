# SPDX-License-Identifier: Apache-2.0
"""A PyTorch module as the core's text plus named weights, by torch.export.

The model is traced under fake tensors: nothing is computed, no state changes. Sizes that may vary become symbols; a
sample size of 1 is traced as a larger one, because torch turns 0 and 1 into constants, and the plan takes 1 all
the same (Symbol.assumed_one: worth a run of its own when the plan is judged).
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import time
import warnings

import torch
from torch import nn
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.fx._lazy_graph_module import _use_lazy_graph_module

from . import _functional, _rnn
from ._explicit import explicit
from ._graph_text import SizePrinter, Writer, quote
from ._shapes import Group, Solved, export_dims, plan_groups, resize, solve
from ._writes import find_writes
from .captured import Captured, WeightRef, input_tree, signature_of
from .errors import CaptureError
from .pt2 import open_program
from .trees import InputTree, OutputTree

__all__ = ["capture", "capture_pt2"]

_WEIGHT_KINDS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)

# They print what is raised as well; the reason is in the CaptureError or in the notes.
_CHATTY = ("torch.export", "torch._export", "torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes")


def capture(
    model: nn.Module, args: tuple = (), kwargs: dict | None = None, *, dynamic="auto", more_samples=()
) -> Captured:
    """Traces model(*args, **kwargs).

    dynamic: "auto" (first dimensions, and second ones of token and sequence inputs), "none", {"ids": {0: "b", 1: "s"}}
    to name dimensions, {"s": (1, 512)} to bound a symbol. more_samples: further (args, kwargs); sizes that differ
    between samples vary, and inputs whose sizes do not always agree get symbols of their own.
    Raises CaptureError with operator and source line where the model cannot be traced or represented, InputError where
    sample or options do not fit. Not thread-safe (torch.export is not).
    """
    start = time.perf_counter()
    inputs = input_tree(model, args, kwargs or {})
    if not inputs.tensors:
        raise CaptureError("[capture] the sample has no tensor, want at least one")
    more = [inputs.flatten(*sample) for sample in more_samples]
    groups = plan_groups(inputs.tensors, inputs.tensor_names, dynamic, more)
    with _undisturbed(model), _unhurried():
        ep, solved, notes = _trace(model, inputs, groups)
        result = _convert(ep, solved, inputs, model)
    result.notes[:0] = notes
    result.seconds = time.perf_counter() - start
    return result


def capture_pt2(path: str | os.PathLike, allow_pickle: bool = False) -> Captured:
    """A program saved by torch.export.save, with the dynamic sizes it was exported with.

    InputError for a file that is cut short, damaged, or holds more than plain data: a pickle, compiled code, source.
    allow_pickle: load also what runs code of whoever wrote the file. Weights belong to the loaded program.
    """
    start = time.perf_counter()
    ep = open_program(path, allow_pickle)
    args, kwargs = ep.example_inputs or ((), {})
    inputs = InputTree(None, args, kwargs)
    if not inputs.tensors:
        raise CaptureError(f"[capture] {os.fspath(path)} holds no example inputs; export it again with its sample")
    groups = _groups_of_program(ep, inputs)
    with _rnn.shape_rules(), torch.no_grad():
        ep = _functionalised(ep)
    solved = _solve(ep, inputs, groups)
    if solved.hard:
        raise CaptureError(f"[capture] {os.fspath(path)}: {'; '.join(solved.notes)}")
    result = _convert(ep, solved, inputs, None)
    result.seconds = time.perf_counter() - start
    return result


@contextlib.contextmanager
def _undisturbed(model: nn.Module):
    """Tracing leaves no mark: random state, training flags and gradients are as before; torch's chatter is off."""
    training = {m: m.training for m in model.modules()}
    grads = {p: p.grad for p in model.parameters()}
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=gpus))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_rnn.shape_rules())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        loggers = [logging.getLogger(name) for name in _CHATTY]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            for m, flag in training.items():
                m.training = flag
            for p, grad in grads.items():
                p.grad = grad


@contextlib.contextmanager
def _unhurried():
    """A trace makes millions of objects and drops few: without looking for cycles, and with the code of its graphs
    written once they run, which they do not, it takes 5 % less (12.3 to 11.8 s of processor time for a Llama of 32
    layers)."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _use_lazy_graph_module(True):
            yield
    finally:
        if collecting:
            gc.enable()


def _trace(model: nn.Module, inputs: InputTree, groups: list[Group]):
    """(program, solved sizes, notes). Tries sizes that keep dimensions apart, the sample's own, then fixed ones."""
    notes: list[str] = []
    attempts = [groups] if groups else []
    plain = [dataclasses.replace(g, export_size=g.size) for g in groups if g.size > 1]
    if plain and [g.export_size for g in plain] != [g.export_size for g in groups]:
        attempts.append(plain)
    for attempt in attempts:
        try:
            ep = _export(model, inputs, attempt)
            solved = _solve(ep, inputs, attempt)
            if solved.hard:  # once more with those sizes fixed; what is left must be sayable
                notes.extend(solved.notes)
                attempt = [g for g in attempt if g not in solved.hard]
                ep = _export(model, inputs, attempt)
                solved = _solve(ep, inputs, attempt)
            if not solved.hard:
                return ep, solved, notes
        except CaptureError as e:
            notes.append(f"dynamic sizes failed: {e}")
    ep = _export(model, inputs, [])
    if attempts:
        notes.append("all sizes are fixed to those of the sample")
    return ep, _solve(ep, inputs, []), notes


def _export(model: nn.Module, inputs: InputTree, groups: list[Group]):
    """torch.export with these groups dynamic, in-place operators resolved. CaptureError where torch declines."""
    tensors = resize(inputs.tensors, groups)
    dims = iter(export_dims(len(tensors), groups))
    shapes = [next(dims) or None if isinstance(leaf, torch.Tensor) else None for leaf in inputs.leaves]
    args, kwargs = inputs.replace(tensors)
    dynamic = torch.utils._pytree.tree_unflatten(shapes, torch.utils._pytree.tree_structure((args, kwargs)))
    model = explicit(model, kwargs)
    dynamic = _by_argument(model, dynamic)
    try:
        ep = torch.export.export(model, args, kwargs, dynamic_shapes=dynamic, strict=False)
        return _functionalised(ep)
    except CaptureError:
        raise
    except (
        Exception
    ) as e:  # torch.export runs the user's code: it may raise anything, and all of it means "not captured"
        raise CaptureError(f"[capture] torch.export: {type(e).__name__}: {_first_lines(str(e))}") from e


def _by_argument(model: nn.Module, dynamic: tuple):
    """dynamic_shapes as torch.export wants it: by argument name; what *args takes is a tuple."""
    args, kwargs = dynamic
    signature = signature_of(model)
    if signature is None:
        return {**dict(enumerate(args)), **kwargs} if kwargs else args
    return dict(signature.bind(*args, **kwargs).arguments)


def _functionalised(ep):
    if not _functional.resolve_writes(ep):
        _functional.drop_hidden_aliases(ep.graph)
        ep.graph_module.recompile()
        ep = ep.run_decompositions({})
    return ep


def _user_inputs(ep) -> list:
    """Placeholders of the user's leaves, in leaf order, with their specs."""
    nodes = {n.name: n for n in ep.graph.nodes if n.op == "placeholder"}
    return [(nodes.get(s.arg.name), s) for s in ep.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]


def _solve(ep, inputs: InputTree, groups: list[Group]) -> Solved:
    shapes, env = [], None
    for node, spec in _user_inputs(ep):
        if isinstance(spec.arg, TensorArgument):
            value = node.meta["val"]
            shapes.append([s.node.expr if isinstance(s, torch.SymInt) else _integer(s) for s in value.shape])
            env = value.fake_mode.shape_env if getattr(value, "fake_mode", None) else env
    if len(shapes) != len(inputs.tensors):
        raise CaptureError(f"[capture] the trace has {len(shapes)} tensor inputs, the sample {len(inputs.tensors)}")
    guards = [] if env is None else [env.replace(g.expr) for g in env.guards]
    return solve(shapes, groups, ep.range_constraints, guards)


def _integer(value: int):
    import sympy

    return sympy.Integer(value)


def _groups_of_program(ep, inputs: InputTree) -> list[Group]:
    """One group for each size symbol of a saved program; it says itself which inputs share a symbol."""
    groups: dict = {}
    index = 0
    for node, spec in _user_inputs(ep):
        if not isinstance(spec.arg, TensorArgument):
            continue
        for dim, size in enumerate(node.meta["val"].shape):
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                sample = inputs.tensors[index].shape[dim]
                group = groups.setdefault(size.node.expr, Group(str(size.node.expr), [], sample, sample))
                group.members.append((index, dim))
        index += 1
    return list(groups.values())


def _convert(ep, solved: Solved, inputs: InputTree, model: nn.Module | None) -> Captured:
    sizes = SizePrinter(solved.rename)
    writes = find_writes(ep)
    if writes and model is None:  # the file's own memory may not be written
        raise CaptureError(
            f"[capture] the saved program writes to {next(iter(writes.values())).state.name}; a plan of it "
            "must leave its state alone"
        )
    writer = Writer(sizes, writes)
    names, order, head = [], [], []
    position = 0
    for node, spec in _user_inputs(ep):
        if not isinstance(spec.arg, TensorArgument):
            continue
        name = writer.declare(node, node.name)
        head.append(f"input %{name} : {writer.type_of(node.meta['val'], f' in input {name}')}")
        names.append(name)
        order.append(position)
        position += 1
    weights, weight_lines = _weights(ep, writer, model)
    returned = writer.graph(ep.graph, ep.graph_module)
    outputs, result = _outputs(ep, writer, returned)
    symbols = [f"sym {s.name} in [{s.lo}, {s.hi}] hint {s.hint}" for s in solved.symbols]
    body = [line for line, _ in weight_lines] + writer.lines
    text = "\n".join(["kpt.graph 1", *symbols, *head, *body, "return " + ", ".join("%" + v for v in result)]) + "\n"
    return Captured(text, weights, inputs, outputs, names, order, solved.symbols, 0.0, list(solved.notes))


def _weights(ep, writer: Writer, model: nn.Module | None):
    """Weights that some node uses, each tensor once: tied weights share one line."""
    used = {n for n in ep.graph.nodes if n.op == "placeholder" and n.users}
    nodes = {n.name: n for n in ep.graph.nodes if n.op == "placeholder"}
    refs, lines, seen = [], [], {}
    parameter = None if model is None else next(model.parameters(), None)
    device = None if parameter is None else parameter.device
    for spec in ep.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        node = nodes[spec.arg.name]
        if node not in used:
            continue
        if spec.kind not in _WEIGHT_KINDS:
            raise CaptureError(f"[capture] input of kind {spec.kind.name.lower()} ({spec.target}) is not supported")
        ref = _weight(ep, spec, model, device)
        if id(ref.tensor) in seen:
            writer.names[node] = seen[id(ref.tensor)]
            continue
        name = writer.declare(node, node.name)
        seen[id(ref.tensor)] = name
        lines.append((f"weight %{name} {quote(ref.fqn)} : {writer.type_of(ref.tensor, f' in weight {ref.fqn}')}", name))
        refs.append(ref)
    return refs, lines


def _weight(ep, spec, model: nn.Module | None, device: torch.device | None) -> WeightRef:
    owner, _, attr = spec.target.rpartition(".")
    if model is not None and spec.kind is not InputKind.CONSTANT_TENSOR:
        module = model.get_submodule(owner)
        return WeightRef(spec.target, module, attr, getattr(module, attr))
    tensor = ep.state_dict.get(spec.target)
    if tensor is None:
        tensor = ep.constants[spec.target]
    if device is not None and tensor.device != device:  # a literal of the code, made on the CPU
        tensor = tensor.to(device)
    return WeightRef(spec.target, None, attr, tensor)


def _outputs(ep, writer: Writer, returned) -> tuple[OutputTree, list[str]]:
    """The output structure and the names to return; a value that stands twice in the result is returned twice."""
    slots, names = [], []
    for spec, value in zip(ep.graph_signature.output_specs, returned, strict=True):
        if spec.kind is not OutputKind.USER_OUTPUT:
            continue  # state: kpt.write_
        if isinstance(spec.arg, TensorArgument):
            name = writer.names[value]
            slots.append(len(names))
            names.append(name)
        elif isinstance(spec.arg, ConstantArgument):
            slots.append(OutputTree.Constant(spec.arg.value))
        else:
            raise CaptureError(f"[capture] output {spec.arg} is computed from sizes; want tensors and constants")
    if not names:
        raise CaptureError("[capture] the model returns no tensor")
    return OutputTree(ep.call_spec.out_spec, slots), names


def _first_lines(text: str, lines: int = 4) -> str:
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(kept[:lines])[:600]

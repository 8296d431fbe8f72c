# SPDX-License-Identifier: Apache-2.0
"""Calls to flat tensor lists and back. A call of a structure seen before costs about a microsecond.

A call is first put into one form through the signature of `forward`, so that `model(ids, mask)` and
`model(input_ids=ids, attention_mask=mask)` are the same call. An argument given as None where None is the default
is the same as one not given. Non-tensor leaves are part of the plan: a call with another value is an InputError.
"""

import dataclasses
import inspect
import operator
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.utils._pytree as pytree

from .errors import InputError

_MAX_PLANS = 64  # distinct (positional count, keyword names) kept; a program uses a handful
_MISSING = object()
_Tensor = torch.Tensor


class InputTree:
    """Flattens calls to the graph's tensors, in leaf order. Immutable but for a cache of call forms: thread-safe."""

    def __init__(self, signature: inspect.Signature | None, args: tuple, kwargs: dict):
        self._signature = signature
        self._plans: dict = {}
        self.args, self.kwargs = self.bind(args, kwargs)
        keyed, self._spec = pytree.tree_flatten_with_path((self.args, self.kwargs))
        self.paths = [_path_name(path, signature) for path, _ in keyed]
        self.leaves = [leaf for _, leaf in keyed]
        self.tensor_positions = [i for i, leaf in enumerate(self.leaves) if isinstance(leaf, torch.Tensor)]
        self._constants = {i: v for i, v in enumerate(self.leaves) if not isinstance(v, torch.Tensor)}
        self._first = {name: i for i, name in enumerate(self.paths)}

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The tensors of the call this tree was made from."""
        return [self.leaves[i] for i in self.tensor_positions]

    @property
    def tensor_names(self) -> list[str]:
        return [self.paths[i] for i in self.tensor_positions]

    def replace(self, tensors: list[torch.Tensor]) -> tuple[tuple, dict]:
        """The same call with other tensors, as (args, kwargs) in bound form."""
        leaves = list(self.leaves)
        for position, tensor in zip(self.tensor_positions, tensors, strict=True):
            leaves[position] = tensor
        return pytree.tree_unflatten(leaves, self._spec)

    def bind(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """One form for equal calls: keywords where the signature allows, in its order; None defaults dropped."""
        if self._signature is None:
            return tuple(args), dict(kwargs)
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as e:
            raise InputError(f"[inputs] the call does not fit forward{self._signature}: {e}") from e
        return _canonical(self._signature, bound)

    def flatten(self, args: tuple, kwargs: dict) -> list[torch.Tensor]:
        """Tensors of a call, in leaf order. Raises InputError where structure or constants differ from the plan's."""
        plan = self._plans.get((len(args), *kwargs))
        if plan is None:
            return self._flatten_slow(args, kwargs)
        sources, constants = plan
        for source, want in constants:
            got = args[source] if type(source) is int else kwargs[source]
            if got is not want and not _same(got, want):
                return self._flatten_slow(args, kwargs)
        if sources is None:
            tensors = [*args, *kwargs.values()]
        else:
            tensors = [args[s] if type(s) is int else kwargs[s] for s in sources]
        for t in tensors:
            if not isinstance(t, _Tensor):
                return self._flatten_slow(args, kwargs)
        return tensors

    def form(self, args: tuple, kwargs: dict) -> tuple | None:
        """Of a call that flatten() took: how many arguments are positional, the keywords, where each tensor stands and
        what else stands where (places count positional arguments, then keywords). None where a tensor is inside one."""
        plan = self._plans.get((len(args), *kwargs))
        if plan is None:
            return None
        given = [*args, *kwargs.values()]
        places = {source: i for i, source in enumerate([*range(len(args)), *kwargs])}
        sources = places if plan[0] is None else plan[0]
        constants = tuple((places[source], given[places[source]]) for source, _ in plan[1])
        return len(args), tuple(kwargs), tuple(places[s] for s in sources), constants

    def _flatten_slow(self, args: tuple, kwargs: dict) -> list[torch.Tensor]:
        call = self.bind(args, kwargs)
        keyed, spec = pytree.tree_flatten_with_path(call)
        leaves = [leaf for _, leaf in keyed]
        if spec != self._spec:
            self._explain_structure([_path_name(path, self._signature) for path, _ in keyed])
        for i, want in self._constants.items():
            if not _same(leaves[i], want):
                raise InputError(
                    f"[inputs] {self.paths[i]} is {_describe(leaves[i])}, the plan was made for {_describe(want)}. "
                    f"Call auto_optimize again with this value"
                )
        for i in self.tensor_positions:
            if not isinstance(leaves[i], torch.Tensor):
                raise InputError(f"[inputs] {self.paths[i]} is {_describe(leaves[i])}, the plan was made for a tensor")
        self._remember(args, kwargs)
        return [leaves[i] for i in self.tensor_positions]

    def _explain_structure(self, paths: list[str]):
        missing = [p for p in self.paths if p not in paths]
        extra = [p for p in paths if p not in self._first]
        raise InputError(
            "[inputs] the call has another structure than the sample: "
            f"missing {missing or 'nothing'}, not in the sample: {extra or 'nothing'}. "
            "Call with the arguments of the sample, or call auto_optimize with this call as its sample"
        )

    def _remember(self, args: tuple, kwargs: dict):
        """Caches where each leaf stands in calls of this form; only where every argument is itself a leaf."""
        if len(self._plans) >= _MAX_PLANS:
            return
        markers = {}
        for source, value in [*enumerate(args), *kwargs.items()]:
            if isinstance(value, torch.Tensor) or value is None or isinstance(value, (bool, int, float, str)):
                markers[source] = _Marker(source)
            else:
                return
        nones = [s for s in markers if (args[s] if type(s) is int else kwargs[s]) is None]
        marked = self.bind(
            tuple(None if i in nones else markers[i] for i in range(len(args))),
            {k: None if k in nones else markers[k] for k in kwargs},
        )
        leaves = pytree.tree_leaves(marked)
        if len(leaves) != len(self.leaves):
            return
        constants = [(s, None) for s in nones]
        sources = []
        for i, leaf in enumerate(leaves):
            if not isinstance(leaf, _Marker):
                continue
            if i in self._constants:
                constants.append((leaf.source, self._constants[i]))
            else:
                sources.append(leaf.source)
        if len(sources) == len(self.tensor_positions):
            as_given = sources == list(markers)  # all that is given, in that order
            self._plans[(len(args), *kwargs)] = (None if as_given else tuple(sources), tuple(constants))


@dataclasses.dataclass(frozen=True)
class _Marker:
    source: int | str


class OutputTree:
    """Rebuilds the model's result from the graph's outputs. slots[i]: index of a graph output, or Constant(value)."""

    @dataclasses.dataclass(frozen=True)
    class Constant:
        value: Any

    def __init__(self, spec: pytree.TreeSpec, slots: list):
        self._spec = spec
        self.slots = slots
        self.structure = str(spec)
        # Makes a result of the graph's outputs. Another function after the first result, where a quicker one is found.
        self.build: Callable[[list[torch.Tensor]], Any] = self._nested
        identity = slots == list(range(len(slots)))
        flat = all(child.is_leaf() for child in _children(spec))
        if spec.is_leaf():
            slot = slots[0]
            self.build = (lambda _: slot.value) if isinstance(slot, self.Constant) else operator.itemgetter(slot)
        elif flat and spec.type in (tuple, list) and identity:
            self.build = spec.type
        elif flat and spec.type in pytree.SUPPORTED_NODES:
            constants = any(isinstance(s, self.Constant) for s in slots)
            self.build = self._flat if constants else self._first

    def unflatten(self, outputs: list[torch.Tensor]) -> Any:
        return self.build(outputs)

    def _values(self, outputs: list[torch.Tensor]) -> list:
        return [s.value if isinstance(s, self.Constant) else outputs[s] for s in self.slots]

    def _nested(self, outputs: list[torch.Tensor]) -> Any:
        return pytree.tree_unflatten(self._values(outputs), self._spec)

    def _flat(self, outputs: list[torch.Tensor]) -> Any:
        return pytree.SUPPORTED_NODES[self._spec.type].unflatten_fn(self._values(outputs), self._spec.context)

    def _first(self, outputs: list[torch.Tensor]) -> Any:
        made = self._flat(outputs)
        self.build = _quick(made, outputs, self.slots) or self._flat
        return made

    def tensors(self, result: Any) -> list[torch.Tensor]:
        """The graph's outputs inside a result of the original model, to compare them. InputError if it does not fit."""
        leaves, spec = pytree.tree_flatten(result)
        if len(leaves) != len(self.slots):
            raise InputError(f"[outputs] got a result of {len(leaves)} leaves, want {len(self.slots)}: {spec}")
        count = 1 + max((s for s in self.slots if isinstance(s, int)), default=-1)
        outputs: list = [None] * count
        for slot, leaf in zip(self.slots, leaves, strict=True):
            if isinstance(slot, int):
                outputs[slot] = leaf
        return outputs


def _quick(made: Any, outputs: list[torch.Tensor], slots: list[int]) -> Callable | None:
    """Builds what `made` is, of other outputs: for ordered dictionaries with attributes, HuggingFace's ModelOutput,
    whose constructor looks at every field (12 us). The entries and attributes that it set are set again, by straight
    code made for them, as dataclasses make theirs (0.6 us, loops take 1.2). None for other types, and where a value is
    none of the outputs: it may have been worked out from them."""
    kind = type(made)
    if not isinstance(made, OrderedDict) or kind.__new__ is not OrderedDict.__new__ or not hasattr(made, "__dict__"):
        return None
    place = {id(outputs[s]): s for s in slots}
    if len(place) != len(slots):
        return None
    entries = [(key, place.get(id(value))) for key, value in made.items()]
    fields = [(key, place[id(value)]) for key, value in vars(made).items() if id(value) in place]
    constants = {key: value for key, value in vars(made).items() if id(value) not in place}
    if any(i is None for _, i in entries) or any(v is not None for v in constants.values()):
        return None
    if any(type(key) is not str for key in [*made, *vars(made)]):
        return None
    code = [
        "def quick(outputs):",
        " out = new(kind)",
        *(f" put(out, {key!r}, outputs[{i}])" for key, i in entries),
        " state = out.__dict__",
        *(f" state[{key!r}] = None" for key in constants),
        *(f" state[{key!r}] = outputs[{i}]" for key, i in fields),
        " return out",
    ]
    names = {"new": kind.__new__, "kind": kind, "put": OrderedDict.__setitem__}
    exec("\n".join(code), names)  # names are quoted strings, places are numbers
    return names["quick"]


def _children(spec):
    return spec.children() if callable(getattr(spec, "children", None)) else spec.children_specs


def _canonical(signature: inspect.Signature, bound: inspect.BoundArguments) -> tuple[tuple, dict]:
    kinds = inspect.Parameter
    parameters = list(signature.parameters.values())
    # Parameters up to the last one that cannot be a keyword stay positional.
    last = max(
        (i for i, p in enumerate(parameters) if p.kind in (kinds.POSITIONAL_ONLY, kinds.VAR_POSITIONAL)), default=-1
    )
    args, kwargs = [], {}
    open_gap = False
    for i, p in enumerate(parameters):
        if p.kind is kinds.VAR_KEYWORD:
            extra = bound.arguments.get(p.name, {})
            kwargs.update({name: extra[name] for name in sorted(extra) if extra[name] is not None})
        elif p.kind is kinds.VAR_POSITIONAL:
            args.extend(bound.arguments.get(p.name, ()))
        else:
            value = bound.arguments.get(p.name, _MISSING)
            if value is _MISSING:
                open_gap = True
            elif i <= last and not open_gap:
                args.append(value)
            elif value is not None or p.default is not None:
                kwargs[p.name] = value
    return tuple(args), kwargs


def _same(got: Any, want: Any) -> bool:
    return type(got) is type(want) and got == want


def _describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return repr(value)


def _path_name(path: tuple, signature: inspect.Signature | None) -> str:
    """`input_ids`, `args[0]`, `batch['x'][1]`: the words of messages and of the dynamic-shapes option."""
    root, rest = path[0].idx, path[1:]
    if root == 0:
        name = f"args[{rest[0].idx}]"
        if signature is not None:
            names = [
                p.name
                for p in signature.parameters.values()
                if p.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            ]
            if rest[0].idx < len(names):
                name = names[rest[0].idx]
    else:
        name = str(rest[0].key)
    return name + "".join(str(key) for key in rest[1:])

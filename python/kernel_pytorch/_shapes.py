# SPDX-License-Identifier: Apache-2.0
"""Which input sizes may vary, what the plan calls them, and what torch.export found out about them.

A group is a set of input dimensions that share one symbol: all first dimensions of one sample size are `b`, all second
dimensions of one sample size are `s`, others are d0, d1, ... torch.export gives each input its own symbol; here equal
groups are joined again, and the runtime then checks that the inputs of a call agree.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import sympy
import torch
from torch.export import Dim
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from .captured import Symbol
from .errors import CaptureError, InputError

UNBOUNDED = 1 << 20  # written for "no upper bound": sizes above a million are no model's batch or sequence
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


@dataclasses.dataclass
class Group:
    """Dimensions that share a symbol. members: (input index, dimension)."""

    name: str
    members: list[tuple[int, int]]
    size: int  # in the sample
    export_size: int  # in the call that is traced
    lo: int | None = None  # the user's bounds
    hi: int | None = None


def plan_groups(
    tensors: Sequence, names: Sequence[str], dynamic, more: Sequence[Sequence[torch.Tensor]]
) -> list[Group]:
    """The groups for a sample. `more`: tensors of further samples of the same structure; what differs varies."""
    if dynamic == "none":
        return []
    explicit, bounds = _split_option(dynamic, names)
    samples = [tensors, *more]
    sizes = _SampleSizes(samples)
    if explicit:
        groups = _explicit_groups(explicit, names, sizes)
    else:
        groups = _auto_groups(tensors, sizes)
    _choose_export_sizes(groups)
    for group in groups:
        group.lo, group.hi = bounds.pop(group.name, (None, None))
    if bounds:
        raise InputError(f"[capture] dynamic names {sorted(bounds)}, the inputs have {[g.name for g in groups]}")
    return groups


def resize(tensors: Sequence[torch.Tensor], groups: Sequence[Group]) -> list[torch.Tensor]:
    """The sample with each group at its export size: values repeated (or cut), dtype kept, contiguous."""
    result = [t.detach() for t in tensors]
    for group in groups:
        for index, dim in group.members:
            t = result[index]
            if t.shape[dim] != group.export_size:
                pick = torch.arange(group.export_size, device=t.device) % t.shape[dim]
                result[index] = t.index_select(dim, pick)
    return [t.contiguous() for t in result]


def export_dims(count: int, groups: Sequence[Group]) -> list[dict]:
    """torch.export's dynamic_shapes for each input tensor."""
    dims: list[dict] = [{} for _ in range(count)]
    for group in groups:
        for index, dim in group.members:
            dims[index][dim] = Dim.AUTO
    return dims


@dataclasses.dataclass
class Solved:
    """What torch found: substitution of its symbols by ours, declarations, and groups that must be made static."""

    rename: dict
    symbols: list[Symbol]
    notes: list[str]
    hard: list[Group]  # sizes with conditions a range cannot say (a multiple of 8): trace again with these fixed


def solve(input_shapes: Sequence[Sequence], groups: Sequence[Group], ranges: dict, guards: Sequence) -> Solved:
    """Joins torch's symbols by group. input_shapes: torch's size expressions (sympy) of each input tensor."""
    rename, symbols, notes = {}, [], []
    owner = {}
    for group in groups:
        exprs = [input_shapes[i][d] for i, d in group.members]
        constants = [e for e in exprs if not e.free_symbols]
        if constants:
            notes.append(
                f"size {group.name} ({_where(group)}) became the constant {constants[0]}: the model depends on it"
            )
        free = sorted({s for e in exprs for s in e.free_symbols}, key=str)
        if not free:
            continue
        for s in free:
            owner.setdefault(s, group)
        plain = [e for e in exprs if e.is_Symbol and owner[e] is group]
        if not plain:  # every member is computed from another group's symbol, or shares it
            continue
        symbol = sympy.Symbol(group.name, integer=True, positive=True)
        rename.update({e: symbol for e in plain})
        symbols.append(_declare(group, [ranges[e] for e in plain if e in ranges], notes))
    hard = []
    for guard in guards:
        for group in _unsayable(guard, owner, ranges, rename):
            if group not in hard:
                hard.append(group)
                notes.append(f"size {group.name} is fixed at {group.size}: the model wants {guard}, which is no range")
    leftovers = {s for shape in input_shapes for e in shape for s in e.free_symbols} - set(rename)
    for s in sorted(leftovers, key=str):
        raise CaptureError(
            f"[capture] size symbol {s} of the inputs belongs to no dynamic dimension; pass dynamic='none'"
        )
    return Solved(rename, symbols, notes, hard)


def _declare(group: Group, found: list, notes: list[str]) -> Symbol:
    lo = max((_int(r.lower, 0) for r in found), default=2)
    hi = min((_int(r.upper, UNBOUNDED) for r in found), default=UNBOUNDED)
    assumed_one = lo == 2
    if assumed_one:
        # torch never traces 0 and 1 as symbols, so a bound of 2 mostly says nothing about the model. The judge runs the
        # real sample, and `assumed_one` tells it that size 1 is worth a run of its own.
        lo = 1
    if group.lo is not None and group.lo < lo:
        notes.append(f"size {group.name}: asked for at least {group.lo}, the model takes {lo} and more")
    if group.hi is not None and group.hi > hi:
        notes.append(f"size {group.name}: asked for up to {group.hi}, the model takes up to {hi}")
    lo = max(lo, group.lo if group.lo is not None else lo)
    hi = min(hi, group.hi if group.hi is not None else hi)
    if not lo <= group.size <= hi:
        raise InputError(f"[capture] the sample has {group.name} = {group.size}, want it in [{lo}, {hi}]")
    return Symbol(group.name, lo, hi, group.size, assumed_one and lo == 1, tuple(group.members))


def _unsayable(guard, owner: dict, ranges: dict, rename: dict) -> list[Group]:
    """Groups in a guard that a range does not already say. Those against 0 and 1 are torch's own specialisation."""
    groups = [owner[s] for s in sorted(guard.free_symbols, key=str) if s in owner]
    if not groups:
        return []
    joined = guard.subs(rename)
    if joined in (sympy.true, True):
        return []
    if isinstance(guard, sympy.Ne) and guard.rhs in (0, 1):
        return []
    free = list(guard.free_symbols)
    bound = len(free) == 1 and isinstance(guard, (sympy.Ge, sympy.Gt, sympy.Le, sympy.Lt))
    if bound and _is_linear(guard.lhs, free[0]) and _is_linear(guard.rhs, free[0]):
        return []  # torch has put it into the range
    if isinstance(guard, sympy.Eq) and guard.lhs.is_Symbol and guard.rhs.is_Symbol:
        return []  # one symbol replaced the other
    if isinstance(guard, sympy.logic.boolalg.Boolean) and _holds_in_ranges(guard, ranges):
        return []
    return groups


def _is_linear(expr, symbol) -> bool:
    return expr.is_polynomial(symbol) and sympy.degree(expr, symbol) <= 1


def _holds_in_ranges(guard, ranges: dict) -> bool:
    """True where the guard holds for the sizes a plan may see: by interval arithmetic, else at many sizes.

    Guards are piecewise linear with small constants (Min, Max, FloorDiv, Mod of sizes): all sizes up to 128 and the
    neighbours of powers of two show each piece.
    """
    if not all(s in ranges for s in guard.free_symbols):
        return False
    capped = {
        s: (max(_int(ranges[s].lower, 0), 2), min(_int(ranges[s].upper, UNBOUNDED), UNBOUNDED))
        for s in guard.free_symbols
    }
    result = bound_sympy(guard, {s: ValueRanges(lo, hi) for s, (lo, hi) in capped.items()})
    if result.is_singleton():
        return result.lower in (sympy.true, True)
    dense = range(1, 128 if len(capped) == 1 else 18)
    wide = [2**k + d for k in range(5, 21, 1 if len(capped) == 1 else 5) for d in (-1, 0, 1)]
    points = [[v for v in (*dense, *wide) if lo <= v <= hi] for lo, hi in capped.values()]
    if len(points) > 2:
        return False
    return all(
        guard.xreplace(dict(zip(capped, map(sympy.Integer, p), strict=True))) in (sympy.true, True)
        for p in itertools.product(*points)
    )


def _int(bound, otherwise: int) -> int:
    if bound in (int_oo, sympy.oo, -int_oo, -sympy.oo):
        return otherwise
    return int(bound)


def _where(group: Group) -> str:
    return ", ".join(f"input {i} dim {d}" for i, d in group.members)


class _SampleSizes:
    """Sizes of a dimension over all samples: two dimensions are one group only where they agree in every sample."""

    def __init__(self, samples: Sequence[Sequence[torch.Tensor]]):
        self._samples = samples
        for s in samples[1:]:
            if [t.dim() for t in s] != [t.dim() for t in samples[0]]:
                raise InputError("[capture] samples differ in the rank of an input; want one structure for all samples")

    def key(self, index: int, dim: int) -> tuple[int, ...]:
        return tuple(int(s[index].shape[dim]) for s in self._samples)

    def varies(self, index: int, dim: int) -> bool:
        return len(set(self.key(index, dim))) > 1


def _auto_groups(tensors: Sequence[torch.Tensor], sizes: _SampleSizes) -> list[Group]:
    roles: dict[tuple, list] = {}

    def put(role: str, index: int, dim: int):
        roles.setdefault((role, sizes.key(index, dim)), []).append((index, dim))

    token_shapes = {tuple(t.shape) for t in tensors if t.dim() == 2 and not t.is_floating_point()}
    flat = []
    for i, t in enumerate(tensors):
        if 0 in t.shape or t.is_complex():
            continue
        if t.dim() == 1:
            flat.append(i)
        elif t.dim() >= 2:
            put("b", i, 0)
            tokens = not t.is_floating_point() or (t.dim() == 2 and tuple(t.shape) in token_shapes)
            if tokens or (t.dim() == 3 and t.shape[1] > 1):
                put("s", i, 1)
        for d in range(1, t.dim()):
            if sizes.varies(i, d) and not any((i, d) in m for m in roles.values()):
                put("other", i, d)
    for i in flat:  # positions [s] beside ids [b, s]; else one value a row
        key = sizes.key(i, 0)
        put("s" if ("s", key) in roles and ("b", key) not in roles else "b", i, 0)
    groups, number = [], 0
    taken = set()
    for (role, key), members in roles.items():
        name = role
        if role == "other" or role in taken:
            name, number = f"d{number}", number + 1
        taken.add(name)
        groups.append(Group(name, members, key[0], key[0]))
    return groups


def _explicit_groups(explicit: dict, names: Sequence[str], sizes: _SampleSizes) -> list[Group]:
    groups: dict[str, Group] = {}
    for name, dims in explicit.items():
        index = list(names).index(name)
        for dim, symbol in dims.items():
            label = symbol if isinstance(symbol, str) else getattr(symbol, "__name__", None) or f"d{len(groups)}"
            size = sizes.key(index, dim)[0]
            group = groups.setdefault(label, Group(label, [], size, size))
            if group.size != size:
                raise InputError(f"[capture] size {label} is {group.size} and {size} in the sample; want one value")
            group.members.append((index, dim))
    return list(groups.values())


def _split_option(dynamic, names: Sequence[str]) -> tuple[dict, dict]:
    """dynamic={"input_ids": {0: "b", 1: "s"}} names dimensions; {"s": (1, 1024)} bounds a symbol; both may be mixed."""
    if dynamic == "auto":
        return {}, {}
    if not isinstance(dynamic, dict):
        raise InputError(f"[capture] dynamic is {dynamic!r}, want 'auto', 'none' or a dict")
    explicit = {k: v for k, v in dynamic.items() if isinstance(v, dict)}
    bounds = {k: v for k, v in dynamic.items() if isinstance(v, tuple) and len(v) == 2}
    wrong = [k for k in dynamic if k not in explicit and k not in bounds]
    unknown = [k for k in explicit if k not in names]
    if wrong or unknown:
        raise InputError(
            f"[capture] dynamic does not fit: {wrong or unknown}; want input names {list(names)} with {{dim: symbol}}, "
            "or symbols with (low, high)"
        )
    return explicit, bounds


def _choose_export_sizes(groups: list[Group]):
    """Each group gets a size of at least 2 that no other group has, so that torch neither specialises nor merges them.

    Second dimensions keep theirs where they can: a sequence may have a limit in the model, a batch seldom has.
    """
    used: set[int] = set()
    for group in sorted(groups, key=lambda g: (g.name == "b", g.name)):
        size = group.size
        if size < 2 or size in used:
            size = next(p for p in (*_PRIMES, *range(101, 1 << 16)) if p >= size and p >= 2 and p not in used)
        used.add(size)
        group.export_size = size

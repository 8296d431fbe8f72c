# SPDX-License-Identifier: Apache-2.0
"""In-place operators of an exported graph: which are plain renamings, and which need torch's functionalisation.

`h = gelu(x); h.add_(1); relu_(h)` becomes `add`, `relu` on fresh values where nothing else sees h's memory. A write to
a buffer (`cache.index_copy_(..)`) becomes a value and an output where no view of the buffer made before is read after.
Writes through views (`x[:, 0] = y`) go through `run_decompositions({})`, which traces again (on two cores 17.7 s for a
Llama of 32 layers with a cache, where the first trace takes 10.3) but keeps composite operators such as linear,
layer_norm and scaled_dot_product_attention whole.
"""

from __future__ import annotations

import operator

import torch
from torch.export.graph_signature import InputKind, OutputKind, OutputSpec, TensorArgument

# Write nothing that inference can see.
HARMLESS = {"aten::detach_", "aten::requires_grad_"}

# In-place operators whose functional twin keeps the dtype of `self` whatever the other operands are.
_KEEPS_DTYPE = {
    "relu", "relu6", "gelu", "silu", "mish", "elu", "leaky_relu", "hardtanh", "hardswish", "hardsigmoid", "celu",
    "selu", "masked_fill", "clamp_min", "clamp_max", "dropout", "threshold", "tril", "triu", "index_fill", "index_copy",
    "index_put", "scatter",
}  # fmt: skip

# Return their argument itself in eager inference, while the traced graph shows fresh memory.
_HIDDEN_ALIAS = {"aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout"}


def is_mutable(target) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def written_arguments(node: torch.fx.Node) -> list[torch.fx.Node]:
    """Nodes that the operator writes."""
    written = []
    for i, argument in enumerate(node.target._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name)
            written.extend(value if isinstance(value, (list, tuple)) else [value])
    return [w for w in written if isinstance(w, torch.fx.Node)]


def functional_twin(target):
    """aten.add_.Tensor -> aten.add.Tensor; None where there is none with the same arguments."""
    name = target._schema.name
    if not name.endswith("_") or not name.startswith("aten::"):
        return None
    packet = getattr(torch.ops.aten, name[len("aten::") : -1], None)
    overload = target._overloadname
    if packet is None or overload not in packet.overloads():
        return None
    twin = getattr(packet, overload)
    same = _rest(twin) == _rest(target)
    return twin if same and not twin._schema.is_mutable else None


def _rest(target) -> list[str]:
    """Argument names but for the first: it is `self` in one and `input` in the other for some."""
    return [a.name for a in target._schema.arguments[1:]]


def resolve_writes(ep: torch.export.ExportedProgram) -> bool:
    """Makes writes to buffers values and outputs of the program. False, with nothing changed, where some in-place
    operator is more than that or a renaming: torch's functionalisation is needed."""
    graph = ep.graph
    mutating = [
        n
        for n in graph.nodes
        if n.op == "call_function" and is_mutable(n.target) and n.target._schema.name not in HARMLESS
    ]
    if not mutating:
        return True
    position = {n: i for i, n in enumerate(graph.nodes)}
    families = _families(graph)
    others = [n for n in mutating if not _is_renaming(n, families, position)]
    nodes = {n.name: n for n in graph.nodes if n.op == "placeholder"}
    buffers = {nodes[s.arg.name]: s.target for s in ep.graph_signature.input_specs if s.kind is InputKind.BUFFER}
    states = [w for n in others for w in written_arguments(n)]
    if len(set(states)) < len(states) or not all(_is_liftable(n, buffers, families, position) for n in others):
        return False
    for n in others:
        _lift(n, buffers, ep, position)
    return True


def _is_liftable(node, buffers: dict, families: dict, position: dict) -> bool:
    """Is it the whole effect that `node` gives its buffer a new value, which everybody reads from here on?"""
    written = written_arguments(node)
    if len(written) != 1 or written[0] not in buffers or functional_twin(node.target) is None or not _keeps_dtype(node):
        return False
    before = [m for m in families[node] if position[m] < position[node] and m is not written[0]]
    return not any(position[user] > position[node] for m in before for user in m.users)


def _lift(node, buffers: dict, ep: torch.export.ExportedProgram, position: dict) -> None:
    """`node` as its functional twin, and its value as an output of the program, as torch's functionalisation has it."""
    state = written_arguments(node)[0]
    with ep.graph.inserting_after(node):
        value = ep.graph.call_function(functional_twin(node.target), node.args, node.kwargs)
    value.meta = dict(node.meta)
    for old in (node, state):
        old.replace_all_uses_with(value, lambda user: user is not value and position[user] > position[node])
    ep.graph.erase_node(node)
    position[value] = position[node]
    output = ep.graph.output_node()
    output.args = ((value, *output.args[0]),)
    spec = OutputSpec(OutputKind.BUFFER_MUTATION, TensorArgument(value.name), buffers[state])
    ep.graph_signature.output_specs.insert(0, spec)


def drop_hidden_aliases(graph: torch.fx.Graph) -> None:
    """Replaces dropout in inference by its argument: functionalisation would take its result for fresh memory."""
    for node in list(graph.nodes):
        if node.op == "call_function" and is_inactive_dropout(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def is_inactive_dropout(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.name in _HIDDEN_ALIAS and node.args[2] is False


def _families(graph: torch.fx.Graph) -> dict[torch.fx.Node, list[torch.fx.Node]]:
    """For each node all nodes on the same memory, by the storages of the trace."""
    same: dict[int, int] = {}  # storages that eager inference would not have made -> the one they stand for
    keys_of: dict[torch.fx.Node, list[int]] = {}
    groups: dict[int, list[torch.fx.Node]] = {}
    for node in graph.nodes:
        keys = [v.untyped_storage()._cdata for v in _tensors(node.meta.get("val"))]
        if node.op == "call_function" and is_inactive_dropout(node):
            same.update(dict.fromkeys(keys, keys_of[node.args[0]][0]))
        keys_of[node] = keys = [same.get(key, key) for key in keys]
        for key in keys:
            groups.setdefault(key, []).append(node)
    return {node: [m for key in keys for m in groups[key]] for node, keys in keys_of.items()}


def _tensors(value) -> list[torch.Tensor]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [v for v in values if isinstance(v, torch.Tensor)]


def _is_renaming(node, families: dict, position: dict) -> bool:
    written = written_arguments(node)
    if len(written) != 1 or functional_twin(node.target) is None or not _keeps_dtype(node):
        return False
    chain = [written[0]]
    while chain[-1].op == "call_function" and is_mutable(chain[-1].target):
        chain.append(written_arguments(chain[-1])[0])
    family = families[node]
    # The memory must have been made by the chain's first operator, and nobody outside the chain may read it later.
    made = chain[-1]
    if made.target is operator.getitem and _is_read_once(made):
        made = made.args[0]
    if made.op != "call_function" or made is not min(family, key=position.__getitem__):
        return False
    own = {made, node, *chain}
    later = [m for m in family if any(position[user] > position[node] for user in m.users)]
    return all(m in own or position[m] > position[node] for m in later)


def _is_read_once(part) -> bool:
    """Is `part` the only node for its result of an operator with several?"""
    users = part.args[0].users
    return all(u.target is operator.getitem for u in users) and [u.args[1] for u in users].count(part.args[1]) == 1


def _keeps_dtype(node) -> bool:
    """True where the functional twin's type promotion gives the dtype of the written value."""
    if node.target._schema.name[len("aten::") : -1] in _KEEPS_DTYPE:
        return True
    dtypes = {n.meta["val"].dtype for n in node.all_input_nodes if isinstance(n.meta.get("val"), torch.Tensor)}
    if len(dtypes) != 1:
        return False
    return next(iter(dtypes)).is_floating_point or not any(
        isinstance(a, float) for a in (*node.args, *node.kwargs.values())
    )

# SPDX-License-Identifier: Apache-2.0
"""An exported graph as the core's text (grammar: src/kpt/ir/graph.h, operators: docs/operators.md).

Driven by the operators' schemas: tensor-typed arguments are positional, all others named, defaults written out. Sizes
are printed from the traced expressions, so the nodes that compute sizes vanish.
"""

import math
import operator
import re

import sympy
import torch

from ._functional import HARMLESS, functional_twin, is_mutable, written_arguments
from .errors import CaptureError

DTYPES = {
    torch.float64: "f64",
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "bool",
}
MAX_RANK = 8
# Schema defaults of enum types are numbers: c10/core/ScalarType.h and MemoryFormat.h.
_ENUMS = {
    "MemoryFormat": [torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d],
    "Optional[ScalarType]": [
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.float32,
    ],
}
_MAX_FRAMES = 4

# Checks that torch leaves in the graph. They hold by the types (metadata) or by the declared ranges (sizes).
_CHECKS = {"aten::_assert_tensor_metadata", "aten::sym_constrain_range", "aten::sym_constrain_range_for_size"}
# Random where their `train` or probability says so; else pure.
_PURE_IF = {
    "aten::dropout": lambda a: not a["train"] or a["p"] == 0,
    "aten::feature_dropout": lambda a: not a["train"] or a["p"] == 0,
    "aten::alpha_dropout": lambda a: not a["train"] or a["p"] == 0,
    "aten::feature_alpha_dropout": lambda a: not a["train"] or a["p"] == 0,
    "aten::native_dropout": lambda a: not a["train"] or a["p"] == 0,
    "aten::rrelu": lambda a: not a["training"],
    "aten::scaled_dot_product_attention": lambda a: a["dropout_p"] == 0,
    "aten::lstm": lambda a: not a["train"] or a["dropout"] == 0,
    "aten::gru": lambda a: not a["train"] or a["dropout"] == 0,
    "aten::rnn_tanh": lambda a: not a["train"] or a["dropout"] == 0,
    "aten::rnn_relu": lambda a: not a["train"] or a["dropout"] == 0,
}
# Update running statistics in training, silently.
_TRAINING = {
    "aten::batch_norm": "training",
    "aten::native_batch_norm": "training",
    "aten::instance_norm": "use_input_stats",
}


class SizePrinter:
    """Size expressions as text: integers, symbols, + - *, floordiv, mod, max, min."""

    def __init__(self, rename: dict):
        self._rename = rename

    def __call__(self, size, where: str = "") -> str:
        if isinstance(size, int):
            return str(size)
        expr = size.node.expr if hasattr(size, "node") else sympy.sympify(size)
        return self._text(expr.subs(self._rename), where)

    def _text(self, e, where: str) -> str:
        name = type(e).__name__
        if e.is_Integer:
            return str(int(e))
        if e.is_Symbol:
            if re.fullmatch(r"[ui]\d+|zu?f?\d+|uf\d+", str(e)) and e not in self._rename.values():
                raise CaptureError(f"[capture] size {e} depends on the data{where}; such sizes are not supported")
            if e not in self._rename.values():
                raise CaptureError(f"[capture] size symbol {e} belongs to no input{where}")
            return str(e)
        if e.is_Add:
            return "(" + " + ".join(self._text(a, where) for a in e.args) + ")"
        if e.is_Mul:
            return " * ".join(self._text(a, where) for a in e.args)
        if e.is_Pow and e.exp.is_Integer and int(e.exp) > 0:
            return " * ".join([self._text(e.base, where)] * int(e.exp))
        function = {
            "FloorDiv": "floordiv", "CleanDiv": "floordiv", "Mod": "mod", "PythonMod": "mod", "Max": "max",
            "Min": "min",
        }.get(name)  # fmt: skip
        if function is None:
            raise CaptureError(f"[capture] size {e} is no expression of + - * // % max min{where}")
        text = self._text(e.args[0], where)
        for a in e.args[1:]:
            text = f"{function}({text}, {self._text(a, where)})"
        return text


def quote(text: str) -> str:
    """A string literal of the text form."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(escapes.get(c, c if ord(c) >= 32 else f"\\x{ord(c):02x}") for c in text) + '"'


def float_text(value: float) -> str:
    """Shortest text that reads back to the same bits, always with one of `. e inf nan`."""
    return "nan" if math.isnan(value) else repr(float(value))


def location(node: torch.fx.Node) -> tuple[str, str]:
    """(scope, stack): "encoder.layer.0:BertLayer", "modeling_bert.py:95 forward < ...", innermost first."""
    scope = ""
    modules = node.meta.get("nn_module_stack") or {}
    if modules:
        path, kind = list(modules.values())[-1]
        kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        path = re.sub(r"^L\['self'\]\.?|^L__self___?", "", path)
        scope = f"{path}:{kind.rsplit('.', 1)[-1]}"
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', node.meta.get("stack_trace") or "")
    torch_root = torch.__path__[0]
    users = [f for f in frames if not f[0].startswith(torch_root)]
    shown = (users or frames)[::-1][:_MAX_FRAMES]
    return scope, " < ".join(f"{file.rsplit('/', 1)[-1]}:{line} {function}" for file, line, function in shown)


def at(node: torch.fx.Node) -> str:
    """ " at modeling.py:95 forward (encoder.layer.0:BertLayer)", for messages."""
    scope, stack = location(node)
    return (f" at {stack.split(' < ')[0]}" if stack else "") + (f" ({scope})" if scope else "")


class Writer:
    """Statements of one graph. `names` maps what an fx node stands for: a value name, or a list of names. `writes`: the
    nodes that are the new value of a buffer, each with its _writes.Write."""

    def __init__(self, sizes: SizePrinter, writes: dict):
        self.sizes = sizes
        self._writes = writes
        self.lines: list[str] = []
        self.names: dict[torch.fx.Node, str | list | None] = {}
        self._taken: set[str] = set()

    def declare(self, node: torch.fx.Node, wanted: str) -> str:
        self.names[node] = name = self.fresh(wanted)
        return name

    def fresh(self, wanted: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_.]", "_", wanted)
        if not re.match(r"[A-Za-z_]", base):
            base = "v" + base
        name, i = base, 0
        while name in self._taken:
            i += 1
            name = f"{base}.{i}"
        self._taken.add(name)
        return name

    def type_of(self, value, where: str) -> str:
        if value.dtype not in DTYPES:
            raise CaptureError(f"[capture] dtype {value.dtype} is not supported{where}")
        if value.layout is not torch.strided:
            raise CaptureError(f"[capture] layout {value.layout} is not supported{where}")
        if value.device.type not in ("cpu", "cuda", "meta"):
            raise CaptureError(f"[capture] device {value.device} is not supported{where}; move to cpu or cuda")
        if value.dim() > MAX_RANK:
            raise CaptureError(f"[capture] rank {value.dim()} is above {MAX_RANK}{where}")
        return f"{DTYPES[value.dtype]}[{', '.join(self.sizes(s, where) for s in value.shape)}]"

    def graph(self, graph: torch.fx.Graph, submodules):
        """Writes all operator nodes; returns the arguments of the output node."""
        for node in graph.nodes:
            if node.op == "call_function":
                self._call(node, submodules)
            elif node.op == "output":
                return node.args[0]
            elif node.op not in ("placeholder", "get_attr"):
                raise CaptureError(f"[capture] graph node {node.op} {node.target} is not supported{at(node)}")
        raise CaptureError("[capture] the exported graph has no output")

    def _call(self, node: torch.fx.Node, submodules):
        target = node.target
        if node in self._writes:
            self._write(node)
            return
        if target is operator.getitem:
            source = self.names.get(node.args[0])
            if not isinstance(source, list):
                raise CaptureError(f"[capture] indexing {node.args[0].name} is not supported{at(node)}")
            self.names[node] = source[node.args[1]]
            return
        if isinstance(target, torch._ops.HigherOrderOperator):
            self._inline(node, submodules)
            return
        value = node.meta.get("val")
        if isinstance(value, (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool)):
            return  # sizes: printed where they are used, from their expression
        if not isinstance(target, torch._ops.OpOverload):
            raise CaptureError(f"[capture] call of {target} is not supported{at(node)}")
        name = target._schema.name
        if name in _CHECKS or name == "aten::_assert_scalar":
            return
        if value is None:
            raise CaptureError(f"[capture] {name} returns nothing: its effect cannot be kept{at(node)}")
        if torch.Tag.nondeterministic_seeded in target.tags and not node.users:
            return  # drawn for training alone, as wav2vec2 does for its layers
        self._refuse_effects(node)
        if is_mutable(target):
            self._renamed(node)
            return
        if target is torch.ops.aten.cat.default:
            parts = _parts(node)
            if len(parts) == 1:
                self.names[node] = self.names[parts[0]]
                return
            node.args = (parts, *node.args[1:])
        self._emit(node, target)

    def _write(self, node: torch.fx.Node):
        where, write = at(node), self._writes[node]
        name = self.declare(node, node.name)
        operands = ", ".join(self._operand(v, where) for v in (write.state, write.index, write.source))
        scope, stack = location(node)
        loc = f"  @ {quote(scope)} {quote(stack)}" if scope or stack else ""
        type_ = self.type_of(node.meta["val"], where)
        self.lines.append(f"%{name} = kpt.write_({operands}, dim={write.dim}) : {type_}{loc}")

    def _renamed(self, node: torch.fx.Node):
        """An in-place operator whose written value nobody else sees: its twin on a fresh value takes over the name."""
        written = written_arguments(node)
        if node.target._schema.name in HARMLESS:
            self.names[node] = self.names[written[0]]
            return
        twin = functional_twin(node.target)
        if twin is None:
            raise CaptureError(f"[capture] in-place {node.target} cannot be made functional{at(node)}")
        self._emit(node, twin)
        for w in written:
            while True:
                self.names[w] = self.names[node]
                if w.op != "call_function" or not is_mutable(w.target):
                    break
                w = written_arguments(w)[0]

    def _emit(self, node: torch.fx.Node, target):
        where = at(node)
        values = node.meta["val"]
        many = isinstance(values, (list, tuple))
        wanted = [f"{node.name}.{i}" for i in range(len(values))] if many else [node.name]
        if many:
            for user in node.users:
                if user.target is operator.getitem:
                    wanted[user.args[1]] = user.name
        names = [self.fresh(re.sub(r"_(?=\d*$)", "", w) if is_mutable(node.target) else w) for w in wanted]
        # A result that the operator leaves undefined is a value of no elements; nothing can use it.
        types = ["f32[0]" if v is None else self.type_of(v, where) for v in (values if many else [values])]
        if not names:
            raise CaptureError(f"[capture] {target} gives no tensors{where}")
        arguments = ", ".join(self._arguments(node, target, where))
        namespace, _, op = target._schema.name.partition("::")
        overload = target._overloadname
        full = f"{namespace}.{op}" + ("" if overload in ("default", "") else f".{overload}")
        scope, stack = location(node)
        loc = f"  @ {quote(scope)} {quote(stack)}" if scope or stack else ""
        left = ", ".join("%" + n for n in names)
        self.lines.append(f"{left} = {full}({arguments}) : {', '.join(types)}{loc}")
        self.names[node] = list(names) if many else names[0]

    def _arguments(self, node: torch.fx.Node, target, where: str) -> list[str]:
        """Tensor-typed arguments in schema order, then the named ones: the text form wants positional ones first."""
        tensors, named = [], []
        for i, argument in enumerate(target._schema.arguments):
            if i < len(node.args):
                value = node.args[i]
            elif argument.name in node.kwargs:
                value = node.kwargs[argument.name]
            else:
                value = argument.default_value
            # real_type keeps SymInt and ScalarType apart from int.
            kind = str(argument.real_type)
            if "Tensor" in kind:
                tensors.append(self._operand(value, where))
            else:
                if isinstance(value, int) and kind in _ENUMS:  # a default, given by the schema as a number
                    value = _ENUMS[kind][value]
                named.append(f"{argument.name}={self._plain(value, kind, where)}")
        return tensors + named

    def _operand(self, value, where: str) -> str:
        if isinstance(value, torch.fx.Node) and not _is_number(value):
            name = self.names.get(value)
            if isinstance(name, list):
                return "[" + ", ".join("%" + n for n in name) + "]"
            if name is None:
                raise CaptureError(f"[capture] {value.name} is used but has no value{where}")
            return "%" + name
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(self._operand(v, where) for v in value) + "]"
        return self._plain(value, "Scalar", where)

    def _plain(self, value, kind: str, where: str) -> str:
        if isinstance(value, torch.fx.Node):
            value = value.meta.get("val")
        if value is None:
            return "none"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, torch.SymInt)):
            if "float" in kind and "SymInt" not in kind:
                if isinstance(value, torch.SymInt):
                    raise CaptureError(f"[capture] a size used as a floating-point number is not supported{where}")
                return float_text(float(value))
            return self.sizes(value, where)
        if isinstance(value, float):
            return float_text(value)
        if isinstance(value, str):
            return quote(value)
        if isinstance(value, torch.dtype):
            if value not in DTYPES:
                raise CaptureError(f"[capture] dtype {value} is not supported{where}")
            return DTYPES[value]
        if isinstance(value, torch.device):
            if value.type not in ("cpu", "cuda"):
                raise CaptureError(f"[capture] device {value} is not supported{where}; move the model to cpu or cuda")
            return '"cpu"'  # a graph has one device, that of its plan: the text does not depend on it
        if isinstance(value, (torch.layout, torch.memory_format)):
            return quote(str(value).removeprefix("torch."))
        if isinstance(value, (list, tuple)):
            inner = kind.replace("List", "")
            return "[" + ", ".join(self._plain(v, inner, where) for v in value) + "]"
        if isinstance(value, torch.SymFloat):
            raise CaptureError(f"[capture] a number computed from sizes ({value}) is not supported{where}")
        raise CaptureError(f"[capture] an argument of type {type(value).__name__} is not supported{where}")

    def _refuse_effects(self, node: torch.fx.Node):
        target, where = node.target, at(node)
        name = target._schema.name
        bound = {a.name: a.default_value for a in target._schema.arguments}
        bound.update(node.kwargs)
        bound.update(zip([a.name for a in target._schema.arguments], node.args, strict=False))
        plain = name.removesuffix("_")
        if plain == "aten::as_strided" and not _row_major(node.args[0]):
            raise CaptureError(f"[capture] {name} reads the memory layout of its input{where}; use slicing or reshape")
        pure = _PURE_IF.get(plain)
        if pure is not None:
            if not pure(bound):
                raise CaptureError(f"[capture] {name} is random in training mode{where}; call model.eval() first")
        elif torch.Tag.nondeterministic_seeded in target.tags:
            raise CaptureError(f"[capture] {name} draws random numbers{where}; such models are not supported")
        flag = _TRAINING.get(plain)
        if flag and bound[flag] and bound.get("running_mean") is not None:
            raise CaptureError(f"[capture] {name} updates running statistics{where}; call model.eval() first")

    def _inline(self, node: torch.fx.Node, submodules):
        """Regions that only switch autograd or autocast off hold plain operators; all else is refused."""
        name = str(node.target)
        if name == "wrap_with_set_grad_enabled":
            body, arguments = node.args[1], node.args[2:]
        elif name == "wrap_with_autocast":
            if node.args[2]:
                raise CaptureError(f"[capture] an autocast region is not supported{at(node)}; cast the model instead")
            body, arguments = node.args[4], node.args[5:]
        else:
            raise CaptureError(f"[capture] control flow {name} is not supported{at(node)}")
        module = getattr(submodules, body.target)
        inner = [n for n in module.graph.nodes if n.op == "placeholder"]
        for placeholder, argument in zip(inner, arguments, strict=True):
            if isinstance(argument, torch.fx.Node) and argument in self.names:
                self.names[placeholder] = self.names[argument]
        result = self.graph(module.graph, module)
        results = result if isinstance(result, (list, tuple)) else [result]
        self.names[node] = [self.names.get(r) for r in results]


def _parts(cat: torch.fx.Node) -> list[torch.fx.Node]:
    """What it joins, but for f32[0] and the like among tensors of other ranks, which PyTorch passes over: so a cache of
    transformers begins."""
    whole, result = list(cat.args[0]), cat.meta["val"]
    parts = [p for p in whole if p.meta["val"].dim() == result.dim()]
    kept = any(p.meta["val"].dtype is result.dtype for p in parts)  # what is passed over still counts for the dtype
    return parts if kept else whole


def _row_major(node: torch.fx.Node) -> bool:
    value = node.meta["val"]
    return value.is_contiguous() and value.storage_offset() == 0


def _is_number(node: torch.fx.Node) -> bool:
    return isinstance(node.meta.get("val"), (int, float, torch.SymInt, torch.SymFloat, torch.SymBool))

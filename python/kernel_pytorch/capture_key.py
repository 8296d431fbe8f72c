# SPDX-License-Identifier: Apache-2.0
"""A digest of all that a captured graph can depend on (kept_captures): the classes of the model's modules with their
source files and compiled methods, every attribute of the modules that is no weight, names, types and sharing of the
weights, the samples' structure and sizes, options, and the versions of Python, torch and the packages that the classes
come from. Weights are not in it: the graph names them. Tensors that attributes and objects hold are, by their values,
since a trace takes them for constants.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import hashlib
import itertools
import json
import logging
import os
import platform
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import nn

from . import __version__, _native
from .samples import Sample

MOST_CONSTANTS = 1 << 20  # bytes of tensors that the code itself makes
_DEPTH = 12
_SALTED = {"_original_object_hash"}  # transformers' GenerationConfig: hash() of its text, another in each process
_CLASS_STATE = {"_abc_impl"}
_OWN_STATE = {"_parameters", "_buffers", "_modules", "training", "_is_full_backward_hook"}


class UnknownError(Exception):
    """Something that no digest can stand for."""


# Also what odd tensors (sparse, nested, wrapped) and files say when they are asked; OutOfMemoryError is a RuntimeError.
UNTELLABLE = (UnknownError, RuntimeError, ValueError, OSError)


def digest(model: nn.Module, samples: list[Sample], dynamic_shapes: Any, form: int) -> str:
    """64 hexadecimal digits. form: of what is kept under them. Raises one of UNTELLABLE where a part of the model
    cannot be described: a hook, a handle, a generator."""
    teller = Teller()
    said = {
        "format": form,
        "versions": [__version__, torch.__version__, platform.python_version(), _sources_of_capture()],
        "state": [str(torch.get_default_dtype()), _autocast(), os.environ.get("TORCH_LOGS")],
        "files": _user_files(),
        "model": tell_model(model, teller),
        "samples": [_sample(s, teller) for s in samples],
        "dynamic": teller.tell(dynamic_shapes),
    }
    said["classes"] = teller.classes
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def with_calls(key: str, model: nn.Module) -> str:
    """The digest with what calls of the model have set since: attributes, and what objects hold. Values of weights are
    left out. They were told before the call, and what it writes there (a decoder's cache) need not be the same bits in
    each process: PyTorch's own decoding step is not on an H200. Raises as digest() does."""
    teller = Teller(weights=False)
    said = [key, tell_model(model, teller), teller.classes]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _autocast() -> list[Any]:
    return [(torch.is_autocast_enabled(d), str(torch.get_autocast_dtype(d))) for d in ("cpu", "cuda")]


def tell_model(model: nn.Module, teller: Teller) -> list[Any]:
    teller.inside = {id(m): name for name, m in model.named_modules(remove_duplicate=False)}
    tensors: dict[str, list[Any]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        tensors[name] = []
        for kind, holder in (("p", module._parameters), ("b", module._buffers)):
            for key, tensor in holder.items():
                full = f"{name}.{key}"
                same = None if tensor is None else teller.weights.setdefault(id(tensor), full)
                told_type = None if tensor is None else [_type_of(tensor), teller.place_of(tensor)]
                tensors[name].append([kind, key, told_type, same])
    told = []
    for name, module in model.named_modules(remove_duplicate=False):
        state = {}
        for key, value in vars(module).items():
            if key in _OWN_STATE:
                continue
            if "_hooks" in key:
                if value:
                    raise UnknownError(f"{name} has {key.strip('_')}")
                continue
            state[key] = teller.tell(value)
        # Where the root is in training mode, optimising puts all of it into eval mode (state.eval_mode).
        trains = module.training and not model.training
        told.append([name, teller.class_of(type(module)), trains, tensors[name], state])
    return told


def _sample(sample: Sample, teller: Teller) -> list[Any]:
    leaves, spec = pytree.tree_flatten((sample.args, sample.kwargs))
    return [str(spec), [_type_of(x) if isinstance(x, torch.Tensor) else teller.tell(x) for x in leaves]]


def _type_of(t: torch.Tensor) -> list[Any]:
    return [type(t).__qualname__, str(t.dtype), list(t.shape), list(t.stride()), t.device.type]


class Teller:
    """Turns values into what JSON can say. An object met before is named by its number."""

    def __init__(self, digests: bool = True, weights: bool = True) -> None:
        self._digests, self._weights = digests, weights  # of tensors in attributes; of those that are weights too
        self.met: list[torch.Tensor] = []  # in attributes and objects
        self.classes: dict[str, Any] = {}
        self.inside: dict[int, str] = {}  # modules of the model
        self.weights: dict[int, str] = {}  # its parameters and buffers
        self._memory: dict[int, int] = {}
        self._known: dict[int, tuple[int, Any]] = {}  # number, and the object itself so that its id stays its own

    def place_of(self, t: torch.Tensor) -> list[int]:
        """Number of its memory, and where it begins there: tensors that share memory are another model than copies."""
        storage = storage_of(t)
        number = self._memory.setdefault(storage, len(self._memory)) if storage else -1
        return [number, t.storage_offset() if storage else 0]

    def tell(self, value: Any, depth: int = 0) -> Any:
        if value is None or isinstance(value, (bool, int, str)):
            return value if type(value) in (type(None), bool, int, str) else [type(value).__qualname__, str(value)]
        if isinstance(
            value, (float, complex, bytes, torch.dtype, torch.device, torch.Size, torch.layout, range, slice)
        ):
            return [type(value).__name__, repr(value)]
        if depth > _DEPTH:
            raise UnknownError(f"{type(value).__qualname__} lies too deep")
        if id(value) in self._known:
            return ["again", self._known[id(value)][0]]
        self._known[id(value)] = (len(self._known), value)
        return self._tell_object(value, depth + 1)

    def _tell_object(self, value: Any, depth: int) -> Any:
        name = type(value).__qualname__
        if isinstance(value, enum.Enum):
            return [name, value.name]
        if isinstance(value, nn.Module):
            if id(value) not in self.inside:
                raise UnknownError(f"a module {name} outside the model")
            return ["module", self.inside[id(value)]]
        if isinstance(value, torch.Tensor):
            # By its value, also where it is a weight too: a trace may read it, and takes it for a constant.
            self.met.append(value)
            weight = id(value) in self.weights
            told = self._digests and (self._weights or not weight)
            digest = _digest_of(value, large=weight) if told else ""
            return [name, _type_of(value), digest, self.place_of(value)]
        if isinstance(value, type):
            return ["class", self.class_of(value)]
        if isinstance(value, types.ModuleType):
            return ["python module", value.__name__]
        if isinstance(value, logging.Logger):
            return ["logger", value.name]
        if isinstance(value, (dict, list, tuple)):
            pairs = isinstance(value, dict)
            inside = [self.tell(v, depth) for v in (itertools.chain(*value.items()) if pairs else value)]
            return [name, inside, self.tell(vars(value), depth) if getattr(value, "__dict__", None) else None]
        if isinstance(value, (set, frozenset)):
            return [name, sorted(json.dumps(self.tell(v, depth)) for v in value)]
        if isinstance(value, functools.partial):
            return [name, [self.tell(v, depth) for v in (value.func, value.args, value.keywords)]]
        if isinstance(value, types.MethodType):
            return [name, self.tell(value.__func__, depth), self.tell(value.__self__, depth)]
        if isinstance(value, types.FunctionType):
            return self.function(value, depth)
        if isinstance(value, types.BuiltinFunctionType):
            of = value.__self__
            return [
                *(name, str(value.__module__), value.__qualname__),
                None if of is None or isinstance(of, types.ModuleType) else self.tell(of, depth),
            ]
        if hasattr(value, "__dict__") and not _own_reduce(type(value)) and not _slots(value):
            state = {key: v for key, v in vars(value).items() if key not in _SALTED}
            return [self.class_of(type(value)), self.tell(state, depth)]
        raise UnknownError(f"got a {name}")

    def function(self, f: types.FunctionType, depth: int) -> Any:
        told: list[Any] = [f.__module__, f.__qualname__, _code(f.__code__)]
        if _is_library(f.__module__) and not f.__closure__:
            return told
        for cell in f.__closure__ or ():
            try:
                told.append(self.tell(cell.cell_contents, depth))
            except ValueError:  # an empty cell
                told.append(None)
        return [*told, self.tell(f.__defaults__, depth), self.tell(f.__kwdefaults__, depth)]

    def class_of(self, cls: type) -> str:
        """Its full name; `classes` gets what the name stands for."""
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name in self.classes or cls.__module__ in ("builtins", "torch") or cls.__module__.startswith("torch."):
            return name
        self.classes[name] = told = {"file": _file_of(cls.__module__), "version": _version_of(cls.__module__)}
        told["bases"] = [self.class_of(base) for base in cls.__bases__]
        for key, value in vars(cls).items():
            function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            if isinstance(function, types.FunctionType) and not _is_library(cls.__module__):
                told[key] = self.function(function, 1)
            elif isinstance(function, types.FunctionType):  # a method that was replaced shows in its own code
                told[key] = _code(function.__code__)
            elif isinstance(function, property) and not _is_library(cls.__module__):
                told[key] = [self.tell(f, 1) for f in (function.fget, function.fset)]
            elif not _is_library(cls.__module__) and not (key.startswith("__") or key in _CLASS_STATE):
                told[key] = self.tell(value, 1)
        return name


def _code(code: types.CodeType) -> str:
    """What compiled code does. Not marshal's bytes: sets among its constants lie in another order in each process."""
    return hashlib.sha256(repr(_told_code(code)).encode()).hexdigest()


def _told_code(code: types.CodeType) -> tuple[Any, ...]:
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    jumps = getattr(code, "co_exceptiontable", b"")  # Python 3.11
    return counts, names, code.co_code, jumps, [_told_constant(c) for c in code.co_consts]


def _told_constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _told_code(value)
    if isinstance(value, tuple):
        return [_told_constant(v) for v in value]
    if isinstance(value, frozenset):
        return "set", sorted(repr(_told_constant(v)) for v in value)
    return type(value).__name__, repr(value)


def _own_reduce(kind: type) -> bool:
    return kind.__reduce_ex__ is not object.__reduce_ex__ or kind.__reduce__ is not object.__reduce__


def _slots(value: Any) -> bool:
    return any(vars(cls).get("__slots__") for cls in type(value).__mro__)


def _digest_of(t: torch.Tensor, large: bool = False) -> str:
    if t.layout is not torch.strided or t.is_nested or t.is_quantized or t.is_meta:
        raise UnknownError(f"a tensor of kind {t.layout}, on {t.device}, that is no parameter and no buffer")
    if t.numel() * t.element_size() <= MOST_CONSTANTS:
        return hashlib.sha256(bytes_of(t)).hexdigest()
    if not large:
        raise UnknownError("a large tensor that is no parameter and no buffer")
    whole = t.detach().resolve_conj().resolve_neg().contiguous()
    return str(_native.checksum(whole.reshape(-1).view(torch.uint8)))


def bytes_of(t: torch.Tensor) -> bytes:
    whole = t.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return ctypes.string_at(whole.data_ptr(), whole.numel() * whole.element_size()) if whole.numel() else b""


@functools.cache
def _libraries() -> tuple[str, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(os.path.realpath(p) + os.sep for p in paths if p)


@functools.cache
def _library_folder(folder: str) -> bool:
    return f"{os.path.realpath(folder)}{os.sep}".startswith(_libraries())


def _in_library(file: str) -> bool:
    """Asked of folders: the real paths of the 3,600 files of torch and transformers would take 80 ms."""
    return _library_folder(os.path.dirname(os.path.realpath(file) if os.path.islink(file) else file))


@functools.cache
def _is_library(module: str | None) -> bool:
    """Is it an installed package, told by its version and file?"""
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return file is not None and _in_library(file)


@functools.cache
def _file_of(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not os.path.exists(file):
        raise UnknownError(f"the code of {module} is in no file")
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _version_of(module: str) -> str:
    return str(getattr(sys.modules.get(module.partition(".")[0]), "__version__", ""))


@functools.cache
def _sources_of_capture() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _user_files() -> list[list[Any]]:
    """Every loaded source file that belongs to no installed package: models call helpers in other files."""
    own = str(Path(__file__).parent) + os.sep
    found = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or file.startswith(own) or _in_library(file):
            continue
        try:
            state = os.stat(file)
        except OSError:  # inside an archive, or gone
            continue
        found.append([file, state.st_mtime_ns, state.st_size])
    return sorted(found)


def storage_of(t: torch.Tensor) -> int:
    """Address of its memory; 0 where it has none of its own."""
    try:
        return t.untyped_storage().data_ptr() if t.layout is torch.strided else 0
    except RuntimeError:  # a wrapper, or a fake tensor that a trace left in an object
        return 0

# SPDX-License-Identifier: Apache-2.0
"""Opens a `.pt2` archive of torch.export.save without running code that somebody hid in it.

torch.export.load trusts its file: it unpickles legacy weights, subclasses of tensors, custom objects and unusual sample
inputs, loads compiled libraries, and hands strings of the program to Python's compiler (sizes through sympify, guards
and names through generated source) or to getattr from the module torch. So the archive is looked at first, by the
reader that torch itself uses and through the one file handle that is then loaded: records are plain bytes and whole,
and every string of the JSON has the form that its place needs. What is not known to be harmless is refused.
"""

from __future__ import annotations

import ast
import io
import json
import math
import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .errors import InputError, input_error

__all__ = ["open_program"]

# Strings that end in generated source or as a path of attributes. What no rule below names must look like this.
_NAME = re.compile(r"[\w.:/+-]*")
_IDENTIFIER = re.compile(r"([A-Za-z_]\w*)?")
_TEXT = re.compile(r"[^'\"\\\n\r]*")  # quoted by torch when it writes the source
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|kpt|torchvision|quantized_decomposed)\.[A-Za-z_]\w*\.\w+"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_|pos|getitem)"
    r"|torch\.sym_(int|float|max|min|not|sum|ite|sqrt)|math\.(ceil|floor|trunc|sqrt|pow|prod)"
)
_WRITES_FILES = re.compile(r"torch\.ops\.aten\.(save|from_file|load)\.")
_SYMPY = set(
    re.findall(
        r"\w+",
        """Symbol Integer Float Rational Add Mul Pow Max Min Abs Mod Piecewise ExprCondPair And Or Not Eq Ne Lt Le Gt Ge
        Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan FloorDiv ModularIndexing Where
        PythonMod CleanDiv CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural FloatPow FloatTrueDiv IntTrueDiv
        TruncToFloat TruncToInt RoundToInt RoundDecimal ToFloat Identity IsNonOverlappingAndDenseIndicator floor
        ceiling""",
    )
)
_GUARD_CALLS = {"size", "stride", "storage_offset", "max", "min", "abs", "sum", "len", "int", "float", *_SYMPY}
_OPERATIONS = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Constant, ast.Tuple, ast.List,
    ast.Load, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.keyword,
)  # fmt: skip
_LONGEST_EXPRESSION = 10_000  # the parser's stack is bounded; sizes of real models have some hundred characters


def open_program(path: str | os.PathLike, allow_pickle: bool = False) -> torch.export.ExportedProgram:
    """The exported program in a `.pt2` file; InputError where the file is cut short, damaged or not plain.

    allow_pickle: load also what runs code of whoever wrote the file. Only for files of your own.
    """
    path = Path(path)
    if not path.is_file():
        raise input_error("pt2", f"no file {path}", "a .pt2 file", "torch.export.save")
    with path.open("rb") as file:
        records = _check_whole(file, path)
        if not allow_pickle:
            file.seek(0)
            _check_plain(file, records, path)
        file.seek(0)
        try:
            return torch.export.load(file)
        except Exception as error:  # its deserialiser raises errors of a dozen private classes; all mean "not loaded"
            raise InputError(
                f"[pt2] got {path}, which torch {torch.__version__} cannot load ({type(error).__name__}: {error}), "
                "want a program saved by this torch, try torch.export.save again"
            ) from error


def _check_whole(file: io.BufferedReader, path: Path) -> dict[str, int]:
    """Bytes of each record, by its name without the archive's own folder."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(file) as archive:
            _check_records(archive, size, path)
            damaged = archive.testzip()
            records = {info.filename.partition("/")[2]: info.file_size for info in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise input_error(
            "pt2", f"{path} of {size} bytes: {error}", "a whole .pt2 file", "fetching it again"
        ) from error
    if damaged is not None:
        raise input_error("pt2", f"{path}: {damaged} is damaged", "a whole file", "fetching it again")
    if "archive_format" not in records:
        raise input_error(
            "pt2",
            f"{path}, cut short or in an old format that holds pickles",
            "a whole archive of torch 2.9 on",
            "torch.export.save again",
        )
    return records


def _check_records(archive: zipfile.ZipFile, size: int, path: Path) -> None:
    """Records are stored as they are and lie in the file: reading them allocates no more than the file holds."""
    seen: set[str] = set()
    for info in archive.infolist():
        name = info.filename.casefold()  # torch's reader does not tell A from a
        if name in seen:
            raise input_error("pt2", f"{path} with two records {info.filename}", "one of a name", "saving it again")
        seen.add(name)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise input_error(
                "pt2", f"{path}: {info.filename} is compressed", "records as torch stores them", "saving it again"
            )
        if info.compress_size != info.file_size or info.header_offset + info.file_size > size:
            raise input_error(
                "pt2",
                f"{path} of {size} bytes: {info.filename} claims {info.file_size}",
                "a whole file",
                "fetching it again",
            )


def _check_plain(file: io.BufferedReader, records: dict[str, int], path: Path) -> None:
    try:
        reader = torch._C.PyTorchFileReader(file)
        if set(reader.get_all_records()) != set(records):
            raise RuntimeError("two readers of zip files see other records")
    except RuntimeError as error:
        raise input_error("pt2", f"{path}: {error}", "an archive of torch.export.save", "saving it again") from error
    for name in records:
        _refuse_record(name, path)
    for name, size in records.items():
        data = reader.get_record(name) if name.endswith(".json") or "sample_inputs/" in name else b""
        if name.endswith(".json"):
            document = _parsed(data, f"{path}: {name}")
            for where, fault in _faults(document, ""):
                raise input_error("pt2", f"{path}: {name} holds {fault} at {where}", "plain data", "saving it again")
            if name.endswith("_config.json"):
                _check_payloads(document, os.path.dirname(name), records, path)
        elif "sample_inputs/" in name and size:
            _check_sample(data, path)


def _refuse_record(name: str, path: Path) -> None:
    reason = None
    if "custom_obj" in name:
        reason = f"the pickled object {name}"
    elif re.search(r"(^|/)(weights|constants)/.*\.pt$", name, re.IGNORECASE):
        reason = f"the pickle {name}"
    elif re.search(r"(^|/)(aotinductor|executorch|mtia)(/|$)", name, re.IGNORECASE) or name.endswith(".so"):
        reason = f"compiled code, {name}"
    if reason:
        raise input_error("pt2", f"{path} with {reason}: loading it runs code", "tensors only", "a model without it")


def _parsed(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise input_error("pt2", f"{where}: {error}", "JSON", "saving it again") from error


def _check_payloads(document: Any, folder: str, records: dict[str, int], path: Path) -> None:
    """Each weight has a raw record that is not smaller than its number of elements."""
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise input_error("pt2", f"{path}: {folder} without a table", "a config of weights", "saving it again")
    for key, item in config.items():
        if not isinstance(item, dict) or item.get("use_pickle"):
            raise input_error("pt2", f"{path}: {key} is pickled", "plain tensors only", "saving dense weights")
        meta, record = item.get("tensor_meta"), f"{folder}/{item.get('path_name')}"
        sizes = [size.get("as_int") for size in meta["sizes"]] if isinstance(meta, dict) else None
        if sizes is None or not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise input_error("pt2", f"{path}: {key} without fixed sizes", "a shape for it", "saving it again")
        if math.prod(sizes) > records.get(record, -1):
            raise input_error(
                "pt2",
                f"{path}: {key} in {records.get(record, 0)} bytes",
                f"{math.prod(sizes)} elements",
                "fetching it again",
            )


def _check_sample(data: bytes, path: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            _check_records(inner, len(data), path)
        torch.load(io.BytesIO(data), weights_only=True)
    except InputError:
        raise
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        # What the restricted reader refuses, torch.export.load would unpickle in full next.
        raise input_error(
            "pt2",
            f"{path}: its sample inputs hold more than tensors",
            "tensors in tuples and dicts",
            "saving with such",
        ) from error


def _faults(value: Any, key: str, where: str = "") -> Iterator[tuple[str, str]]:
    """(place, what is wrong) of every string that has another form than its place needs."""
    if isinstance(value, str):
        if not _fits(value, key):
            yield where, repr(value[:80])
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _faults(item, key, f"{where}[{i}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            place = f"{where}.{name}" if where else name
            if key == "as_string_to_argument":  # the keys are the user's: none of them may pick a rule
                yield from [] if _TEXT.fullmatch(name) else [(place, "this key")]
                yield from _faults(item, "", place)
            elif name in ("as_custom_obj", "custom_obj") or (name == "custom_obj_values" and item):
                yield place, "a custom object"
            elif not (_NAME.fullmatch(name) or _plain_expression(name, _SYMPY)):
                yield place, "this key"
            elif name == "metadata" and isinstance(item, dict) and all(isinstance(v, str) for v in item.values()):
                continue  # stack traces and module names: shown, never run
            else:
                yield from _faults(item, name, place)


def _fits(text: str, key: str) -> bool:
    if key in ("name", "as_name", "forward_arg_names"):
        return _IDENTIFIER.fullmatch(text) is not None
    if key in ("target", "as_operator"):
        return _OPERATOR.fullmatch(text) is not None and not _WRITES_FILES.match(text)
    if key in ("as_string", "as_strings"):
        return _TEXT.fullmatch(text) is not None
    if key == "expr_str":
        return _plain_expression(text, _SYMPY)
    if key == "guards_code":
        return _plain_expression(text, _GUARD_CALLS)
    if key in ("in_spec", "out_spec"):
        return _plain_tree(text)
    return _NAME.fullmatch(text) is not None


def _plain_expression(text: str, calls: set[str]) -> bool:
    """Arithmetic and calls of known functions; names, and L['x'].size()[0] in guards. No attribute but those."""
    if len(text) > _LONGEST_EXPRESSION:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name not in calls:
                return False
        elif isinstance(node, ast.Attribute):
            if node.attr not in ("size", "stride", "storage_offset") or calls is not _GUARD_CALLS:
                return False
        elif isinstance(node, ast.Subscript):
            if calls is not _GUARD_CALLS:
                return False
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and not _NAME.fullmatch(node.value):
                return False  # Symbol('x') goes through the parser again; a guard is quoted in its own message
        elif isinstance(node, ast.Name):
            if node.id.startswith("__"):
                return False
        elif not isinstance(node, _OPERATIONS):
            return False
    return True


def _plain_tree(text: str) -> bool:
    """The nesting of arguments: containers of Python and registered classes, names of keys."""
    try:
        spec = json.loads(text)
        return all(_plain_spec(item) for item in spec) if isinstance(spec, list) else False
    except (ValueError, RecursionError):
        return False


def _plain_spec(spec: Any) -> bool:
    """`context` is JSON once more; the keys of a dict become names in the source of the module."""
    if spec is None or isinstance(spec, bool | int | float):
        return True
    if isinstance(spec, list):
        return all(_plain_spec(item) for item in spec)
    if isinstance(spec, dict):
        if "__enum__" in spec or "default_factory_module" in spec or spec.get("type") == "collections.defaultdict":
            return False  # torch would import a module of the file's choice
        context = spec.get("context")
        if isinstance(context, str) and not _NAME.fullmatch(context):
            context = json.loads(context)
        rest = [item for key, item in spec.items() if key != "context"]
        return all(_NAME.fullmatch(key) for key in spec) and all(_plain_spec(item) for item in (context, *rest))
    return _NAME.fullmatch(spec) is not None

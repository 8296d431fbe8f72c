# SPDX-License-Identifier: Apache-2.0
"""The native library: found, checked against the installed torch, loaded once. Nothing else in the package touches it.

Every function raises the package's own errors: the core's ErrorKind becomes a class. All calls release the GIL.
"""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import torch

from .errors import InputError, KernelPyTorchError, OptimizationError, UnsupportedError

_PACKAGE = pathlib.Path(__file__).resolve().parent
# In a wheel and in the bundle the libraries lie beside the package; in a source tree in its build folder.
_FOLDERS = (_PACKAGE / "lib", _PACKAGE.parent.parent / "lib", _PACKAGE.parent.parent / "build" / "lib")

_ERRORS: dict[str, type[KernelPyTorchError]] = {
    "bad_input": InputError,
    "unsupported": UnsupportedError,
    "resource": OptimizationError,
    "device": UnsupportedError,
    "internal": OptimizationError,
}
_MARK = "KPT:"


def find_library() -> pathlib.Path:
    """Path of libkpt_torch.so. OptimizationError where there is none, or where it was built for another torch."""
    for folder in _FOLDERS:
        library = folder / "libkpt_torch.so"
        if library.exists():
            break
    else:
        places = ", ".join(str(f) for f in _FOLDERS)
        raise OptimizationError(f"[native] no libkpt_torch.so in {places}; run `make build`")
    facts = json.loads((folder / "kpt_torch.json").read_text())
    if _minor(facts["torch"]) != _minor(torch.__version__):
        raise OptimizationError(
            f"[native] {library} was built for torch {facts['torch']}, this is {torch.__version__}; run `make build`"
        )
    return library


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


@functools.cache
def _load() -> Any:
    """torch.ops.kernel_pytorch. The classes are there from then on, too."""
    torch.ops.load_library(str(find_library()))
    if folders := _cuda_folders():
        _offer_cuda(folders)
    return torch.ops.kernel_pytorch


def _cuda_folders() -> list[str]:
    """Where torch's own pip packages keep NVRTC, cuBLASLt and cuDNN."""
    site = pathlib.Path(torch.__file__).resolve().parent.parent
    return [str(p) for p in sorted(site.glob("nvidia/*/lib")) if p.is_dir()]


def _offer_cuda(folders: list[str]) -> None:
    """Names these folders to the core where the user named none."""
    rows = json.loads(torch.ops.kernel_pytorch.settings())["settings"]
    if next(row["value"] for row in rows if row["name"] == "cuda_path") == "":
        torch.ops.kernel_pytorch.set_setting("cuda_path", ",".join(folders))


def _translated(error: RuntimeError) -> RuntimeError:
    """The package's error for one of the core; any other error as it is."""
    text = str(error)
    start = text.find(_MARK)
    if start < 0:
        return error
    kind, _, message = text[start + len(_MARK) :].partition(": ")
    return _ERRORS.get(kind, OptimizationError)(message.rstrip())


def _call(name: str, *args: Any) -> Any:
    operator: Callable[..., Any] = getattr(_load(), name)
    try:
        return operator(*args)
    except RuntimeError as error:
        raise _translated(error) from None


def distance(x: torch.Tensor, reference: torch.Tensor) -> list[float]:
    """[rel_rmse, cosine, max_abs, nonfinite, elements] of x against the reference, in f64."""
    return _call("distance", x, reference)


def judge(level: str, dtype: str, fresh: list[float], original: list[float], original_bf16: list[float]) -> str:
    """JSON {"ok", "bound", "reason"} by the level's rule; distances as from distance(), original_bf16 may be empty."""
    return _call("judge", level, dtype, fresh, original, original_bf16)


def bootstrap(log_ratios: list[float]) -> list[float]:
    """[median, low, high] of exp(log ratio), 95 % interval over rounds."""
    return _call("bootstrap", log_ratios)


def widen(text: str) -> str:
    """The graph with every float type made f64."""
    return _call("widen", text)


def canonical(text: str) -> str:
    """The graph's text as the core prints it."""
    return _call("canonical", text)


def verify(text: str) -> str:
    """Why the graph is not valid; "" if it is."""
    return _call("verify", text)


def settings() -> str:
    """The settings table with values and sources, as JSON."""
    return _call("settings")


def set_setting(name: str, text: str) -> None:
    _call("set_setting", name, text)


def hardware() -> str:
    """Facts about this machine, as JSON."""
    return _call("hardware")


def gpus() -> str:
    """{"here", "reason", "devices": [..]} as JSON."""
    return _call("gpus")


def version() -> str:
    return _call("version")


class Model:
    """A compiled graph. All methods may be called from many threads; set_weight waits for runs in flight."""

    __slots__ = ("_native", "_run")

    def __init__(self, text: str, fqns: list[str], weights: list[torch.Tensor], options: str):
        """Weights are borrowed: they share memory with the given tensors, and edits in place show at the next run."""
        _load()
        try:
            self._native = torch.classes.kernel_pytorch.Model(text, fqns, weights, options)
        except RuntimeError as error:
            raise _translated(error) from None
        self._run = self._native.run

    def run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Outputs for inputs in graph order. InputError where dtypes or sizes do not fit the graph."""
        try:
            return self._run(inputs)
        except RuntimeError as error:
            raise _translated(error) from None

    def probe(self, inputs: list[torch.Tensor], names: list[str]) -> list[torch.Tensor]:
        """Copies of the values named (names of the optimised graph), in that order."""
        return self._method("probe", inputs, names)

    def profile(self, inputs: list[torch.Tensor], rounds: int) -> dict[str, Any]:
        """Runs `rounds` calls with a clock around every step; what src/kpt/engine/profile.h says."""
        return json.loads(self._method("profile", inputs, rounds))

    def set_weight(self, index: int, tensor: torch.Tensor) -> None:
        """Another tensor of the same dtype and sizes stands for the weight from the next run on."""
        self._method("set_weight", index, tensor)

    def refresh_weights(self) -> None:
        """For edits that torch does not count (through `.data`, of inference tensors): makes derived weights again."""
        self._method("refresh_weights")

    def trim(self) -> None:
        """Frees the memory that idle calls hold; the next calls take theirs again."""
        self._method("trim")

    def report(self) -> str:
        return self._method("report")

    def text(self) -> str:
        return self._method("text")

    def plan_text(self) -> str:
        return self._method("plan_text")

    def explain(self, value: str) -> str:
        return self._method("explain", value)

    def counters(self) -> dict[str, int]:
        return json.loads(self._method("counters"))

    def _method(self, name: str, *args: Any) -> Any:
        try:
            return getattr(self._native, name)(*args)
        except RuntimeError as error:
            raise _translated(error) from None


class History:
    """Measurements in an SQLite file, and verdicts about them: src/kpt/tracking/history_json.h. Objects in and out."""

    __slots__ = ("_native",)

    def __init__(self, path: str, mode: str):
        _load()
        try:
            self._native = torch.classes.kernel_pytorch.History(path, mode)
        except RuntimeError as error:
            raise _translated(error) from None

    def call(self, name: str, /, **fields: Any) -> dict[str, Any]:
        """One of record, list, baseline, compare, export_jsonl, import_jsonl, check."""
        method = getattr(self._native, name)
        try:
            return json.loads(method() if name == "check" else method(json.dumps(fields)))
        except RuntimeError as error:
            raise _translated(error) from None


def history_function(name: str, /, **fields: Any) -> dict[str, Any]:
    """One that needs no database: key, machine, verdict_paired, verdict_historical, verdict_exact, calibrate,
    discoveries."""
    _load()
    function = getattr(torch.classes.kernel_pytorch.History, name)
    try:
        return json.loads(function() if name == "machine" else function(json.dumps(fields)))
    except RuntimeError as error:
        raise _translated(error) from None

# SPDX-License-Identifier: Apache-2.0
"""The native library: found, checked against the installed torch, loaded once. Nothing else in the package touches it.

Every function raises the package's own errors: the core's ErrorKind becomes a class. All calls release the GIL.
"""

from __future__ import annotations

import ctypes
import functools
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import torch

from . import _log
from .errors import (
    ConfigurationError,
    CUDADeviceError,
    CUDANotAvailableError,
    InputError,
    InvalidArchitectureError,
    InvalidComputeCapabilityError,
    KernelLaunchError,
    KernelPyTorchError,
    MemoryAllocationError,
    ModelOptimizationError,
    OptimizationError,
    OutOfMemoryError,
    UnsupportedError,
)

_PACKAGE = pathlib.Path(__file__).resolve().parent
# In a wheel and in the bundle the libraries lie beside the package; in a source tree in its build folder.
_FOLDERS = (_PACKAGE / "lib", _PACKAGE.parent.parent / "lib", _PACKAGE.parent.parent / "build" / "lib")

_ERRORS: dict[str, type[KernelPyTorchError]] = {
    "bad_input": InputError,
    "unsupported": UnsupportedError,
    "device": CUDADeviceError,
    "internal": OptimizationError,
    "no_driver": CUDANotAvailableError,
    "library": ConfigurationError,
    "capability": InvalidComputeCapabilityError,
    "architecture": InvalidArchitectureError,
    "compile": ModelOptimizationError,
    "launch": KernelLaunchError,
    "fault": KernelLaunchError,
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
    library = find_library()
    torch.ops.load_library(str(library))
    _pending.append(ctypes.c_int.in_dll(ctypes.CDLL(str(library)), "kpt_log_pending"))
    torch.ops.kernel_pytorch.keep_log()
    _obey_environment()
    if folders := _cuda_folders():
        _offer_cuda(folders)
    return torch.ops.kernel_pytorch


def library() -> ctypes.CDLL:
    """libkpt_torch.so, loaded, for the few C symbols that it shows."""
    _load()
    return ctypes.CDLL(str(find_library()))


@functools.cache
def _make_direct_calls() -> Any:
    make = ctypes.PyDLL(str(find_library())).kpt_direct_calls
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_int64, ctypes.py_object, ctypes.c_int64, ctypes.py_object]
    return make


def _direct_calls(native: Any) -> tuple[Callable, Callable, Callable, Callable] | None:
    """run, call, teach and seen of python/bridge/direct.h; None where it says so."""
    probe = torch.empty(0)
    return _make_direct_calls()(native.address(), probe, probe._cdata, _hand_on_log)


def _obey_environment() -> None:
    rows = json.loads(torch.ops.kernel_pytorch.settings())["settings"]
    row = next(row for row in rows if row["name"] == "log")
    if row["source"] == "environment" and row["value"] in _log.LEVELS:
        _log.print_from(row["value"])


# How many lines of the core's log wait, once the library is loaded.
_pending: list[ctypes.c_int] = []


def _hand_on_log() -> None:
    """The core's lines to Python's logging."""
    for line in json.loads(torch.ops.kernel_pytorch.take_log()):
        _log.core_line(**line)


def follow_logger() -> None:
    """Lets the core write what the logger `kernel_pytorch` lets through, unless the user chose a level for it."""
    now = next(row for row in json.loads(settings())["settings"] if row["name"] == "log")
    wanted = _log.core_level()
    ours = now["source"] == "default" or (now["source"] == "program" and not _users_level)
    if ours and now["value"] != wanted:
        _call("set_setting", "log", wanted)


_users_level: list[str] = []  # the level of the core's log that was set by set_setting()


def _cuda_folders() -> list[str]:
    """Where torch's own pip packages keep NVRTC, cuBLASLt and cuDNN."""
    site = pathlib.Path(torch.__file__).resolve().parent.parent
    return [str(p) for p in sorted(site.glob("nvidia/*/lib")) if p.is_dir()]


def _offer_cuda(folders: list[str]) -> None:
    """Names these folders to the core where the user named none."""
    rows = json.loads(torch.ops.kernel_pytorch.settings())["settings"]
    if next(row["value"] for row in rows if row["name"] == "cuda_path") == "":
        torch.ops.kernel_pytorch.set_setting("cuda_path", ",".join(folders))


def translated(error: RuntimeError, resource: type[KernelPyTorchError] = OptimizationError) -> RuntimeError:
    """The package's error for one of the core; any other error as it is. `resource`: what a lack of it means there."""
    text = str(error)
    start = text.find(_MARK)
    if start < 0:
        return _lost(text) if isinstance(error, _TORCHS_FAULT) else error
    kind, _, message = text[start + len(_MARK) :].partition(": ")
    made = (resource if kind == "resource" else _ERRORS.get(kind, OptimizationError))(message.rstrip())
    if kind == "fault":
        made.context_lost = True
    return made


# What torch raises for a fault that it was the first to see.
_TORCHS_FAULT: Any = getattr(torch, "AcceleratorError", ())


def _lost(text: str) -> KernelLaunchError:
    error = KernelLaunchError(
        f"[native] got {text.splitlines()[0]}, seen by PyTorch during a call: the GPU is lost to this process, and no "
        "later result could be trusted; try a new process, with KPT_SYNC=1 to learn which step failed"
    )
    error.context_lost = True
    return error


def _call(name: str, *args: Any) -> Any:
    operator: Callable[..., Any] = getattr(_load(), name)
    try:
        return operator(*args)
    except RuntimeError as error:
        raise translated(error) from None
    finally:
        if _pending[0].value:
            _hand_on_log()


def distance(x: torch.Tensor, reference: torch.Tensor) -> list[float]:
    """[rel_rmse, cosine, max_abs, nonfinite, elements] of x against the reference, in f64."""
    return _call("distance", x, reference)


def checksum(x: torch.Tensor) -> list[int]:
    """128 bits that tell the values of one tensor from those of another of its type and sizes (kpt::Checksum), made
    where it lies; strides do not count."""
    return _call("checksum", x)


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
    if name == "log":
        _users_level[:] = [text]


def hardware() -> str:
    """Facts about this machine, as JSON."""
    return _call("hardware")


def gpus() -> str:
    """{"here", "reason", "devices": [..]} as JSON."""
    return _call("gpus")


def device_memory(index: int) -> tuple[int, int]:
    """(free, total) bytes of a GPU as the device says: other processes count. CUDADeviceError for an unknown one."""
    free, total = _call("device_memory", index)
    return free, total


def device_fault() -> str:
    """The first fault that a GPU reported to this process and that cannot be taken back; "" where there was none."""
    return _call("device_fault")


def trim_idle() -> int:
    """Frees what calls of all models left for later ones (arenas, recordings); the bytes they held."""
    return _call("trim_idle")


def version() -> str:
    return _call("version")


class Model:
    """A compiled graph. All methods may be called from many threads; set_weight waits for runs in flight."""

    __slots__ = ("_native", "_pending", "_run", "_short", "call", "seen", "teach")

    def __init__(self, text: str, fqns: list[str], weights: list[torch.Tensor], options: str):
        """Weights are borrowed: they share memory with the given tensors, and edits in place show at the next run."""
        _load()
        on_gpu = re.search(r'"device"\s*:\s*"cuda', options)
        self._short = OutOfMemoryError if on_gpu else MemoryAllocationError
        try:
            self._native = torch.classes.kernel_pytorch.Model(text, fqns, weights, options)
        except RuntimeError as error:
            raise translated(error, self._short) from None
        finally:
            if _pending[0].value:
                _hand_on_log()
        # A whole call in one step, python/bridge/direct.h; None where this Python or this torch is not read so.
        self._run, self.call, self.teach, self.seen = _direct_calls(self._native) or (self._native.run, *[None] * 3)
        self._pending = _pending[0]

    def run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Outputs for inputs in graph order. InputError where dtypes or sizes do not fit the graph."""
        try:
            return self._run(inputs)
        except RuntimeError as error:
            raise translated(error, self._short) from None
        finally:
            if self._pending.value:
                _hand_on_log()

    def failure(self, error: RuntimeError) -> Exception:
        """What `call` raised, as run() raises it."""
        if self._pending.value:
            _hand_on_log()
        return translated(error, self._short)

    def probe(self, inputs: list[torch.Tensor], names: list[str]) -> list[torch.Tensor]:
        """Copies of the values named (names of the optimised graph), in that order."""
        return self._method("probe", inputs, names)

    def profile(self, inputs: list[torch.Tensor], rounds: int) -> dict[str, Any]:
        """Runs `rounds` calls with a clock around every step; what src/kpt/engine/profile.h says."""
        return json.loads(self._method("profile", inputs, rounds))

    def set_weight(self, index: int, tensor: torch.Tensor) -> None:
        """Another tensor of the same dtype and sizes stands for the weight from the next run on."""
        self._method("set_weight", index, tensor)

    def joined_weights(self) -> list[list[int]]:
        """Groups of weights that the plan reads as one: where they lie behind each other in memory it has no copy."""
        return self._method("joined_weights")

    def take_weights(self) -> None:
        """Looks at the weights now, as the next run would."""
        self._method("take_weights")

    def refresh_weights(self) -> None:
        """For edits that torch does not count (through `.data`, of inference tensors): makes derived weights again."""
        self._method("refresh_weights")

    def make_ready(self, inputs: list[torch.Tensor]) -> None:
        """Plans the sizes of these inputs with every choice timed, where a GPU has choices. Nothing runs."""
        self._method("make_ready", inputs)

    def call_bytes(self, inputs: list[torch.Tensor]) -> int:
        """What a call with these inputs takes beside the weights: arena, workspace and outputs. Nothing runs."""
        return self._method("call_bytes", inputs)

    def trim(self) -> int:
        """Frees the memory that idle calls hold; the next calls take theirs again. The bytes that it was."""
        return self._method("trim")

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
            raise translated(error, self._short) from None
        finally:
            if self._pending.value:
                _hand_on_log()


class History:
    """Measurements in an SQLite file, and verdicts about them: src/kpt/tracking/history_json.h. Objects in and out."""

    __slots__ = ("_native",)

    def __init__(self, path: str, mode: str):
        _load()
        try:
            self._native = torch.classes.kernel_pytorch.History(path, mode)
        except RuntimeError as error:
            raise translated(error) from None

    def call(self, name: str, /, **fields: Any) -> dict[str, Any]:
        """One of record, list, baseline, compare, export_jsonl, import_jsonl, check."""
        method = getattr(self._native, name)
        try:
            return json.loads(method() if name == "check" else method(json.dumps(fields)))
        except RuntimeError as error:
            raise translated(error) from None


def history_function(name: str, /, **fields: Any) -> dict[str, Any]:
    """One that needs no database: key, machine, verdict_paired, verdict_historical, verdict_exact, calibrate,
    discoveries."""
    _load()
    function = getattr(torch.classes.kernel_pytorch.History, name)
    try:
        return json.loads(function() if name == "machine" else function(json.dumps(fields)))
    except RuntimeError as error:
        raise translated(error) from None

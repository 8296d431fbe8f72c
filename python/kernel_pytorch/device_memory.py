# SPDX-License-Identifier: Apache-2.0
"""Memory of a device: what is there, and allocation that frees what is idle before it gives up.

The device itself is asked, so that other processes count; what PyTorch's allocator keeps for later and could give back
counts as available, what it keeps in pieces that it cannot give back does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from . import _native
from .errors import CUDANotAvailableError, MemoryAllocationError, OutOfMemoryError, input_error

_MIB = 1 << 20
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryState:
    """Bytes of one device at one moment."""

    device: str
    total: int
    free: int  # as the device says
    cached: int  # held by PyTorch for later, could be given back

    @property
    def available(self) -> int:
        return self.free + self.cached

    def __str__(self) -> str:
        return (
            f"{self.device} has {self.free / _MIB:.0f} MiB free of {self.total / _MIB:.0f}, "
            f"and PyTorch could give back {self.cached / _MIB:.0f}"
        )


def memory_state(device: str | torch.device | None = None) -> MemoryState:
    """What that device says now; None: the current GPU, the CPU where there is none. CUDANotAvailableError and
    CUDADeviceError for a GPU that is not there, InputError for other kinds of devices."""
    place = _device(device)
    if place.type == "cpu":
        return _host()
    free, total = _native.device_memory(place.index)
    return MemoryState(str(place), total, free, _given_back(place))


def check_memory_available(
    required_bytes: int | None = None,
    device: str | torch.device | None = None,
    safety_margin: float = 1.0,
    *,
    required_mb: float | None = None,
) -> bool:
    """True where so much times `safety_margin` is available. For a model: `fast.memory_needed(*inputs)` bytes."""
    if (required_bytes is None) == (required_mb is None):
        raise input_error(
            "memory", f"required_bytes={required_bytes}, required_mb={required_mb}", "one of the two", "required_mb=512"
        )
    need = required_bytes if required_bytes is not None else required_mb * _MIB
    if need < 0:
        raise input_error("memory", f"{need} bytes", "0 or more", "required_mb=512")
    return memory_state(device).available >= need * _margin(safety_margin)


def allocate_with_oom_protection(
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
    requires_grad: bool = False,
    safety_margin: float = 1.2,
    device: str | torch.device | None = None,
) -> torch.Tensor:
    """An uninitialised tensor. Asks first whether so much times `safety_margin` is available; where it is not, or the
    allocation fails, frees what is idle here and in PyTorch and asks once more. Then raises OutOfMemoryError (of the
    CPU: MemoryAllocationError) with the numbers; all that the caller holds is as it was."""
    place = _device(device)
    if any(size < 0 for size in shape):
        raise input_error("memory", f"shape {tuple(shape)}", "sizes of 0 or more", "(2, 3)")
    size = math.prod(shape) * dtype.itemsize
    need = math.ceil(size * _margin(safety_margin))
    freed = 0
    if memory_state(place).available < need:
        freed = free_idle()
        if memory_state(place).available < need:
            raise _short(place, size, need, freed)
    try:
        return torch.empty(tuple(shape), dtype=dtype, device=place, requires_grad=requires_grad)
    except torch.OutOfMemoryError:
        freed += free_idle()
    except RuntimeError as error:
        raise MemoryAllocationError(f"[memory] got no {size} bytes on {place}: {error}") from error
    try:
        return torch.empty(tuple(shape), dtype=dtype, device=place, requires_grad=requires_grad)
    except torch.OutOfMemoryError as error:
        raise _short(place, size, need, freed) from error


def free_idle() -> int:
    """Frees what idle calls of all models hold, then what PyTorch keeps for later on GPUs. The bytes of the first."""
    freed = _native.trim_idle()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return freed


def _short(place: torch.device, size: int, need: int, freed: int) -> MemoryAllocationError:
    kind = OutOfMemoryError if place.type == "cuda" else MemoryAllocationError
    return kind(
        f"[memory] got {memory_state(place)}, want {need / _MIB:.0f} MiB for {size / _MIB:.0f} with its margin, after "
        f"{freed / _MIB:.0f} idle MiB of ours were freed; try smaller sizes, or ending other processes on it"
    )


def _margin(margin: float) -> float:
    if not margin >= 1:
        raise input_error("memory", f"safety_margin={margin}", "1 or more", "safety_margin=1.2")
    return margin


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(device)
    if place.type not in ("cpu", "cuda"):
        raise input_error("memory", f"device {place}", "cpu or cuda", '"cuda:0"')
    if place.type == "cuda" and not torch.cuda.is_available():
        raise CUDANotAvailableError(f"[memory] got device {place}, want one that PyTorch sees, try the device cpu")
    if place.type == "cuda" and place.index is None:
        place = torch.device("cuda", torch.cuda.current_device())
    return place


def _given_back(place: torch.device) -> int:
    """What torch.cuda.empty_cache() would give back: cached segments that no tensor has a part of."""
    stats = torch.cuda.memory_stats(place)
    held = stats.get("active_bytes.all.current", 0) + stats.get("inactive_split_bytes.all.current", 0)
    return max(0, stats.get("reserved_bytes.all.current", 0) - held)


def _file_pages() -> int:
    """Bytes of files that the control group holds and would drop first."""
    for line in (_CGROUP / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0


def _host() -> MemoryState:
    """The system's own estimate of what a new program could have, within the limit of this process' control group."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    words = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines if line.endswith(" kB")}
    total, free = words["MemTotal"], words["MemAvailable"]
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.exists() and limit.read_text().strip() != "max":
        total = min(total, int(limit.read_text()))
        free = max(0, min(free, total - int(used.read_text()) + _file_pages()))
    return MemoryState("cpu", total, free, 0)

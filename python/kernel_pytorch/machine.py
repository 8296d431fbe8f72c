# SPDX-License-Identifier: Apache-2.0
"""What this machine is, in facts for reports: hardware and settings from the core, versions, devices not looked at, and
whether other work kept it busy."""

from __future__ import annotations

import json
import os
import platform
import resource
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from . import __version__, _native
from .config import KernelPyTorchConfig

# Times that a processor was taken away, for each second of processor time. On two cores: 17 for two busy threads and 1
# or 2 for one on a quiet machine; 140 and more for two threads beside one other busy process. Threads of PyTorch and
# ours that take turns do that to each other, too (16 and 72), so others must have had this many processors besides.
_SHARED, _OTHERS = 60, 0.2
_FEWEST = 6


class Interruptions:
    """How often the system gave a processor of this process to other work (getrusage's involuntary context
    switches), since this was made."""

    def __init__(self) -> None:
        self._start, self._before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        self._busy = busy_seconds()

    def note(self) -> str | None:
        """A sentence for the report where it was often. Threads of PyTorch wait for each other in turns of the system's
        scheduler then: softmax of 4x8 on two cores took 8 ms beside a run of the tests, 0.008 alone. None too where the
        system does not say what others had."""
        now, was, busy = resource.getrusage(resource.RUSAGE_SELF), self._before, busy_seconds()
        if busy is None or self._busy is None:
            return None
        wall = time.perf_counter() - self._start
        own = now.ru_utime + now.ru_stime - was.ru_utime - was.ru_stime
        count, others = now.ru_nivcsw - was.ru_nivcsw, busy - self._busy - own
        if count < max(_FEWEST, _SHARED * own) or others < _OTHERS * wall:
            return None
        return (
            f"busy machine: other work had {others:.2f} s of the processors in {wall:.2f} s of timing and took"
            f" them from this one {count} times; on a quiet machine the verdict may be another"
        )


def busy_seconds() -> float | None:
    """Seconds that all processors together were busy since boot; None where the system does not say."""
    try:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(
            int, Path("/proc/stat").read_text(encoding="ascii").split()[1:9]
        )
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@cache
def hardware() -> dict[str, Any]:
    """The core's facts about the CPU."""
    return json.loads(_native.hardware())


def setting(name: str) -> int | bool | str:
    return KernelPyTorchConfig()[name]


def cache_folder() -> Path | None:
    """What is kept between processes lies below: the setting cache_dir, else kernel_pytorch in $XDG_CACHE_HOME or
    ~/.cache (src/kpt/cuda/cache.h). None where there is no home."""
    if named := str(setting("cache_dir")):
        return Path(named)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "kernel_pytorch"
    try:
        return Path.home() / ".cache" / "kernel_pytorch"
    except RuntimeError:  # no $HOME, and no entry of this user
        return None


def versions() -> dict[str, str]:
    return {
        "kernel_pytorch": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def unchecked() -> list[str]:
    """Devices that this report says nothing about, each with its reason."""
    found = gpus()
    return [] if found["here"] else [f"GPU ({found['reason']})"]


@cache
def gpus() -> dict[str, Any]:
    """The core's facts about NVIDIA GPUs: {"here", "reason", "devices"}."""
    return json.loads(_native.gpus())


def gpu() -> str:
    """The GPUs in one line, or why there is none."""
    found = gpus()
    return ", ".join(d["name"] for d in found["devices"]) if found["here"] else found["reason"]

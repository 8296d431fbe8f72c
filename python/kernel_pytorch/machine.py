# SPDX-License-Identifier: Apache-2.0
"""What this machine is, in facts for reports: hardware and settings from the core, versions, devices not looked at."""

from __future__ import annotations

import json
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

from . import __version__, _native
from .config import KernelPyTorchConfig


@cache
def hardware() -> dict[str, Any]:
    """The core's facts about the CPU."""
    return json.loads(_native.hardware())


def setting(name: str) -> int | bool | str:
    return KernelPyTorchConfig()[name]


def versions() -> dict[str, str]:
    return {
        "kernel_pytorch": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def unchecked() -> list[str]:
    """Devices that this report says nothing about, each with its reason."""
    return [f"GPU ({gpu()})"]


def gpu() -> str:
    """Why no GPU is used."""
    if Path("/proc/driver/nvidia/version").exists():
        return "an NVIDIA driver is there, but only CPU is optimised so far"
    return "no driver found"

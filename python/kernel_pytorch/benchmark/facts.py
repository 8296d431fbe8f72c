# SPDX-License-Identifier: Apache-2.0
"""Where a number comes from: machine, versions, commit, date. Also the folder of models and rivals."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..errors import input_error
from .meters import nvml

ROOT = Path(__file__).resolve().parents[3]
_PACKAGES = ("transformers", "torchvision", "numpy", "onnx", "onnxruntime", "openvino", "torchao", "triton")


def benchmarks_folder() -> Path:
    """`benchmarks` of the source tree: models and rivals are not part of the wheel."""
    places = (ROOT / "benchmarks", Path.cwd() / "benchmarks")  # the second: a package that was copied out of its tree
    for folder in places:
        if (folder / "rivals").is_dir():
            return folder
    raise input_error("benchmark", f"no folder {places[0]}", "the source tree", "running from a clone of it")


@cache
def machine(device: str, threads: int) -> dict[str, Any]:
    """The hardware, as every record names it."""
    facts = {"cpu": cpu_name(), "processors": os.cpu_count(), "threads": threads, "memory_gb": _memory_gb()}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "gpu": properties.name,
            "driver": _driver(),
            "gpu_memory_gb": round(properties.total_memory / 2**30, 1),
            "sms": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
        }
    return facts


def device_name(device: str, threads: int) -> str:
    """Name of the folder of results: the part, and for a CPU how many threads."""
    facts = machine(device, threads)
    text = facts["gpu"] if device == "cuda" else f"{facts['cpu']} {threads} threads"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _driver() -> str:
    """Version of the NVIDIA driver, or why it is not known."""
    found = nvml()
    return found if isinstance(found, str) else found.driver()


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


@cache
def versions() -> dict[str, str]:
    found = {"kernel_pytorch": __version__, "torch": torch.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if torch.version.cuda and torch.cuda.is_available():
        found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return found


_told: list[str] = []


def tell_commit(text: str) -> None:
    """The commit of a tree whose repository is not here."""
    _told[:] = [text]


def commit() -> str:
    """Short commit of the source tree, with a + where files differ from it; "" outside a repository."""
    return _told[0] if _told else _git_commit()


@cache
def _git_commit() -> str:
    head = _git("rev-parse", "--short", "HEAD")
    return head + "+" if head and _git("status", "--porcelain", "--untracked-files=no") else head


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def today() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

# SPDX-License-Identifier: Apache-2.0
"""Checks of an installation. A thing that cannot be looked at is "not checked", never a pass."""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import dataclass

OK, WARNING, BROKEN, NOT_CHECKED = "ok", "warning", "broken", "not checked"

_PYTHON = (3, 11)
_DEVELOPED_WITH = "2.11"


@dataclass(frozen=True)
class Check:
    name: str
    status: str
    detail: str


def checks() -> list[Check]:
    """All checks, cheapest first. The native ones are left out where torch is missing: they could only repeat that."""
    found = [_python(), _torch()]
    if found[-1].status != BROKEN:
        found += _native()
    found.append(_transformers())
    found.append(_gpu())
    return found


def _python() -> Check:
    good = sys.version_info >= _PYTHON
    return Check(
        "python", OK if good else BROKEN, f"{platform.python_version()}, want {_PYTHON[0]}.{_PYTHON[1]} or later"
    )


def _torch() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("torch", BROKEN, "not installed, try pip install torch")
    import torch

    status = OK if torch.__version__.startswith(_DEVELOPED_WITH) else WARNING
    return Check(
        "torch", status, f"{torch.__version__}, developed with {_DEVELOPED_WITH}; {torch.get_num_threads()} threads"
    )


def _native() -> list[Check]:
    try:
        from . import machine
        from .config import KernelPyTorchConfig

        facts = machine.hardware()
    except (ImportError, OSError, RuntimeError) as error:
        return [Check("native library", BROKEN, str(error))]
    found = [Check("native library", OK, "loaded")]
    words = ", ".join(f"{key} {value}" for key, value in facts.items() if isinstance(value, (str, int, float)))
    found.append(Check("cpu", OK, words))
    config = KernelPyTorchConfig()
    changed = [f"{s.env}={s.value} ({s.source})" for s in config if s.source != "default"]
    found.append(Check("settings", OK, ", ".join(changed) or "all defaults"))
    if config.unknown:
        found.append(Check("environment", WARNING, f"unknown names, misspelt? {', '.join(config.unknown)}"))
    return [*found, _small_model()]


def _small_model(name: str = "small model", device: str = "cpu") -> Check:
    """One real optimisation: two layers, judged against f64."""
    import torch

    from .errors import KernelPyTorchError
    from .optimize import auto_optimize

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 64)).eval()
        model, sample = model.to(device), torch.randn(8, 64).to(device)
    try:
        report = auto_optimize(model, sample).report
    except KernelPyTorchError as error:
        return Check(name, BROKEN, str(error))
    right = bool(report.error) and all(e.ok for e in report.error)
    return Check(name, OK if right else BROKEN, f"{'right' if right else 'not right'}; {report.reason}")


def _transformers() -> Check:
    if importlib.util.find_spec("transformers") is None:
        return Check("transformers", NOT_CHECKED, "not installed; needed for packaged models only")
    from importlib.metadata import version

    return Check("transformers", OK, version("transformers"))


def _gpu() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("gpu", NOT_CHECKED, "torch is missing")
    import torch

    from .machine import gpu, gpus

    if not gpus()["here"] or not torch.cuda.is_available():
        return Check("gpu", NOT_CHECKED, gpu() if not gpus()["here"] else "PyTorch sees no GPU")
    found = _small_model("gpu", "cuda")
    return Check("gpu", found.status, f"{gpu()}: {found.detail}")

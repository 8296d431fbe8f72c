# SPDX-License-Identifier: Apache-2.0
"""This project at each level: what auto_optimize returns, also where that is the original. A row of the suite `kernels`
runs the plan whatever the judge says of its speed, for there the kernel is what is looked at."""

import atexit
import os
import shutil
import tempfile
from functools import cache

import torch

from kernel_pytorch import _native
from kernel_pytorch.benchmark.systems import Built, Work
from kernel_pytorch.judge import effective_level
from kernel_pytorch.module import OptimizedModule
from kernel_pytorch.optimize import auto_optimize
from kernel_pytorch.plan import Choices, compile_plan
from kernel_pytorch.program import Program
from kernel_pytorch.report import Report

VARIANTS = ("conservative", "balanced", "aggressive")


def missing(variant: str, work: Work) -> str | None:
    if work.kind == "train":
        return "training is not built yet"
    return None


def build(variant: str, work: Work) -> Built:
    if work.device == "cuda":
        _new_cache()
    if work.kind == "kernel":
        return _plan(variant, work)
    sample = work.sample.args or work.sample.kwargs
    fast = auto_optimize(work.model, sample, optimization_level=variant)
    report = fast.report
    launches = sum(report.kernels.values()) if report.kept and work.device == "cpu" else None
    verdict = "kept" if report.kept else "original returned"
    notes = [f"{verdict}: {report.reason}", *_work_done(report)]
    return Built(lambda: work.sample.call(fast), launches=launches, notes=notes)


def _new_cache() -> None:
    """Compiled kernels and timed choices go to a new folder, so that the first build of a process is cold; later ones
    find what it has loaded, from disk or not. A folder that the user names is used as it is."""
    if not os.environ.get("KPT_CACHE_DIR"):
        _native.set_setting("cache_dir", _cache_of_process())


@cache
def _cache_of_process() -> str:
    folder = tempfile.mkdtemp(prefix="kpt-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _work_done(report: Report) -> list[str]:
    """What a reader of a GPU's row wants to know: where the seconds went, which operators PyTorch ran."""
    if not report.kept:
        return []
    seconds = ", ".join(f"{name} {spent:.2f}" for name, spent in report.compile_seconds.items())
    ops = sorted({f.op for f in report.fallbacks})
    return [f"seconds: {seconds}", f"run by PyTorch: {', '.join(ops) or 'nothing'}"]


def _plan(variant: str, work: Work) -> Built:
    program = Program.capture(work.model, work.sample, None, [])
    level, _ = effective_level(variant, next((p.dtype for p in work.model.parameters()), torch.float32))
    plan = compile_plan(program, Choices(level=level, threads=work.threads))
    report = Report(type(work.model).__name__, variant)
    report.take_plan(plan.report)
    fast = OptimizedModule(work.model, program, plan, report, allow_fallback=False)
    kernels = ", ".join(f"{name} x{count}" for name, count in report.kernels.items())
    launches = sum(report.kernels.values()) if work.device == "cpu" else None
    return Built(lambda: work.sample.call(fast), launches=launches, notes=[kernels])

# SPDX-License-Identifier: Apache-2.0
"""This project at each level: what auto_optimize returns, also where that is the original. A row of the suite `kernels`
runs the plan whatever the judge says of its speed, for there the kernel is what is looked at."""

import torch

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
    if work.device != "cpu":
        return "only CPU is optimised so far"
    return None


def build(variant: str, work: Work) -> Built:
    if work.kind == "kernel":
        return _plan(variant, work)
    sample = work.sample.args or work.sample.kwargs
    fast = auto_optimize(work.model, sample, optimization_level=variant)
    report = fast.report
    launches = sum(report.kernels.values()) if report.kept else None
    verdict = "kept" if report.kept else "original returned"
    return Built(lambda: work.sample.call(fast), launches=launches, notes=[f"{verdict}: {report.reason}"])


def _plan(variant: str, work: Work) -> Built:
    program = Program.capture(work.model, work.sample, None, [])
    level, _ = effective_level(variant, next((p.dtype for p in work.model.parameters()), torch.float32))
    plan = compile_plan(program, Choices(level=level, threads=work.threads))
    report = Report(type(work.model).__name__, variant)
    report.take_plan(plan.report)
    fast = OptimizedModule(work.model, program, plan, report, allow_fallback=False)
    kernels = ", ".join(f"{name} x{count}" for name, count in report.kernels.items())
    return Built(lambda: work.sample.call(fast), launches=sum(report.kernels.values()), notes=[kernels])

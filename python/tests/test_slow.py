# SPDX-License-Identifier: Apache-2.0
"""Leaving one rewrite or kernel out: which plans are tried."""

from __future__ import annotations

import torch
from torch import nn

from kernel_pytorch.plan import Choices, Plan, compile_plan
from kernel_pytorch.program import Program
from kernel_pytorch.samples import Sample
from kernel_pytorch.slow import leave_one_out


def test_no_trial_runs_a_reference() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
    sample = Sample((torch.randn(2, 3, 8, 8),), {})
    with torch.no_grad():
        program = Program.capture(model, sample, False, [])
    plan = compile_plan(program, Choices("conservative"))
    assert any(
        r["key"].startswith("conv_act@") for r in plan.report["rewrites"] if r["applied"]
    )  # a fused node, unknown to aten
    tried: list[Plan] = []

    def call(trial: Plan):
        tried.append(trial)
        return lambda: trial.run(program.flatten(sample))

    leave_one_out(program, plan, "2x3x8x8", call, budget_s=30)
    providers = [{step["provider"] for step in p.report["steps"]} for p in tried if p is not plan]
    assert providers and all("reference" not in p for p in providers)
    assert any("aten" in p for p in providers)  # a plain node's kernel left out is PyTorch's

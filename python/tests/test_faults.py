# SPDX-License-Identifier: Apache-2.0
"""Faults planted into the engine are found, named, and only they are put back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import kernel_pytorch as kpt
from conftest import FAMILIES, Family, close

Plant = Callable[[str], None]


def _bisected(report: kpt.Report) -> list[str]:
    return [s.step for s in report.steps if s.step.startswith("bisect: ")]


def _right(family: Family, fast: kpt.OptimizedModule) -> bool:
    with torch.inference_mode():
        new, old = family.call(fast), family.call(family.model)
    if isinstance(old, torch.Tensor):
        return close(new, old)
    return close(new[0], old[0])


@pytest.mark.parametrize("family", ["mlp", "bert"], indirect=True)
def test_a_fusion_that_drops_the_bias(family: Family, plant: Plant, any_speed: None) -> None:
    with torch.no_grad():
        for name, parameter in family.model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    plant("drop_bias")
    fast = kpt.auto_optimize(family.model, family.sample)
    assert fast.report.kept, fast.report.reason
    assert _right(family, fast)
    found = _bisected(fast.report)
    assert found
    assert all("drop_bias" in step for step in found)


def test_a_fault_behind_a_cast_that_f64_has_none_of(plant: Plant, any_speed: None) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.first(x).float()
            h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
            return torch.relu(self.second(h.to(x.dtype)))

    model, x = Net().bfloat16().eval(), torch.randn(6, 32).bfloat16()
    nn.init.normal_(model.second.bias)
    plant("drop_bias")
    fast = kpt.auto_optimize(model, x)
    assert fast.report.kept, fast.report.reason
    assert any("drop_bias" in step for step in _bisected(fast.report))
    torch.testing.assert_close(fast(x), model(x), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("family", ["mlp"], indirect=True)
def test_a_kernel_wrong_only_for_odd_sizes(family: Family, plant: Plant, any_speed: None) -> None:
    plant("odd_sizes")
    fast = kpt.auto_optimize(family.model, family.sample)
    assert _bisected(fast.report)
    assert all("odd_sizes" in step for step in _bisected(fast.report))
    x = torch.randn(7, 32)
    assert close(fast(x), family.model(x))


@pytest.mark.parametrize("family", ["mlp"], indirect=True)
def test_a_pattern_that_matches_too_much(family: Family, plant: Plant, any_speed: None) -> None:
    plant("greedy_pattern")
    fast = kpt.auto_optimize(family.model, family.sample)
    assert fast.report.kept, fast.report.reason
    assert _right(family, fast)
    assert any("greedy_pattern" in step for step in _bisected(fast.report))


@pytest.mark.parametrize("family", ["mlp"], indirect=True)
def test_a_kernel_that_makes_nan_of_one_input(family: Family, plant: Plant, any_speed: None) -> None:
    plant("nan_on_one_input")
    fast = kpt.auto_optimize(family.model, family.sample)
    assert _right(family, fast)
    assert any("nan_on_one_input" in step for step in _bisected(fast.report))


@pytest.mark.parametrize("family", ["mlp"], indirect=True)
def test_a_kernel_that_throws(family: Family, plant: Plant, any_speed: None) -> None:
    plant("throwing_kernel")
    fast = kpt.auto_optimize(family.model, family.sample)
    assert _right(family, fast)
    assert any("throwing_kernel" in step for step in _bisected(fast.report))


def test_a_slow_kernel_is_left_out_or_the_original_returned(plant: Plant, one_thread: None) -> None:
    """One that does its work twice: on one thread, where nobody waits for another, that loses to PyTorch's."""
    plant("slow_kernel")
    model = nn.Sequential(*(nn.Linear(256, 256) for _ in range(3))).eval()
    x = torch.randn(64, 256)
    fast = kpt.auto_optimize(model, x)
    left_out = [s.step for s in fast.report.steps if "slow_kernel" in s.step and not s.applied]
    assert left_out or not fast.report.kept
    assert fast.report.kept is False or fast.report.speedup.low > 1.0
    assert close(fast(x), model(x))


@pytest.mark.parametrize("name", ["mlp", "bert"])
def test_without_a_fault_nothing_is_put_back(name: str, any_speed: None) -> None:
    family = FAMILIES[name]()
    report = kpt.auto_optimize(family.model.eval(), family.sample).report
    assert report.kept
    assert _bisected(report) == []

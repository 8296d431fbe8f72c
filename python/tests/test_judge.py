# SPDX-License-Identifier: Apache-2.0
"""What is compared with what: extra sizes, padding, the capture itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import kernel_pytorch as kpt
from conftest import FAMILIES
from kernel_pytorch import judge
from kernel_pytorch.plan import Choices, compile_plan, compile_reference, defined
from kernel_pytorch.program import Program
from kernel_pytorch.samples import Sample, normalise


def _program(name: str) -> tuple[Program, nn.Module, Sample]:
    family = FAMILIES[name]()
    model = family.model.eval()
    sample = normalise(model, family.sample)[0]
    return Program.capture(model, sample, "auto", []), model, sample


@pytest.mark.parametrize(
    ("hint", "lo", "hi", "want"),
    [(128, 1, 512, 65), (8, 1, 100, 5), (2, 1, 9, 3), (3, 1, 9, 5), (1, 1, 9, 3), (4, 4, 4, None)],
)
def test_odd_size(hint: int, lo: int, hi: int, want: int | None) -> None:
    assert judge.odd_size(hint, lo, hi) == want


def test_an_eighth_of_a_large_size() -> None:
    assert judge.odd_size(2048, 1, 4096, 8) == 257
    assert judge.odd_size(4, 1, 4096, 8) == 3


@pytest.mark.parametrize("hint", range(1, 40))
def test_an_odd_size_is_odd_other_and_inside(hint: int) -> None:
    for hi in (hint, hint + 1, hint + 2, 100):
        size = judge.odd_size(hint, 1, hi)
        assert size is None or (size % 2 == 1 and size != hint and 1 <= size <= hi)


def test_resized_sample_keeps_rows_and_gets_padding() -> None:
    program, _, sample = _program("bert")
    odd = judge.resized(program, sample, judge.odd_sizes(program))
    ids, mask = odd.kwargs["input_ids"], odd.kwargs["attention_mask"]
    assert ids.shape == mask.shape == (3, 7)
    assert torch.equal(ids, sample.kwargs["input_ids"][:3, :7])
    assert mask[0].tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert bool(mask[1:].all())
    assert bool(sample.kwargs["attention_mask"].all())


def test_a_mask_with_padding_of_its_own_stays() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert judge.pad_mask("attention_mask", mask) is mask
    assert judge.pad_mask("input_ids", torch.ones(2, 3)).equal(torch.ones(2, 3))


def test_reference_is_f64_and_close() -> None:
    program, model, sample = _program("mlp")
    reference = compile_reference(program)
    case = judge.make_case("x", program, sample, sample.call(model), reference)
    assert case.reference[0].dtype is torch.float64
    assert 0 < case.distances[0].rel_rmse < 1e-6
    assert judge.capture_fault(program, case) is None


def test_a_capture_that_is_another_function_is_found() -> None:
    program, model, sample = _program("mlp")
    result = sample.call(model) * 1.01
    case = judge.make_case("x", program, sample, result, compile_reference(program))
    assert "capture differs from the original" in judge.capture_fault(program, case)


@pytest.mark.parametrize(("factor", "fault"), [(1.0, False), (1.001, True)])
def test_two_roundings_of_one_function_are_no_fault(
    monkeypatch: pytest.MonkeyPatch, factor: float, fault: bool
) -> None:
    program, model, sample = _program("mlp")
    truth = compile_reference(program).run(program.flatten(sample))

    torch.manual_seed(0)

    def rounded(by: float) -> list[torch.Tensor]:  # further off than any f32 graph of few values
        return [(t * (1 + by * torch.randn(t.shape))).float() for t in truth]

    monkeypatch.setattr(judge, "compile_plain", lambda program: SimpleNamespace(run=lambda inputs: rounded(3e-4)))
    case = judge.make_case("x", program, sample, rounded(6e-4)[0] * factor, compile_reference(program))
    assert (judge.capture_fault(program, case) is not None) == fault


@pytest.mark.parametrize(
    ("dtype", "values", "bound"),
    [
        (torch.bfloat16, 10, 4e-2),
        (torch.bfloat16, 300, 300**0.5 / 256),
        (torch.bfloat16, 10_000, 1e-1),  # what the check of the capture would pass
        (torch.float32, 1440, 1e-5),
        (torch.int64, 1440, 0.0),
    ],
)
def test_what_rounding_explains_grows_with_the_graph(dtype: torch.dtype, values: int, bound: float) -> None:
    assert judge.explained(dtype, values) == pytest.approx(bound)


def test_verdict_names_output_and_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    program, model, sample = _program("mlp")
    case = judge.make_case("6x32", program, sample, sample.call(model), compile_reference(program))
    plan = compile_plan(program, Choices())
    assert judge.judge("conservative", plan, program, [case]).ok
    monkeypatch.setattr(type(plan), "run", lambda self, inputs: [case.original[0] * 1.001])
    verdict = judge.judge("conservative", plan, program, [case])
    assert not verdict.ok
    assert verdict.reason.startswith(f"output {program.output_names[0]} of 6x32: ")
    assert verdict.errors[0].value == pytest.approx(1e-3, rel=1e-2)


def test_wrong_shape_or_dtype_fails_without_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    program, model, sample = _program("mlp")
    case = judge.make_case("6x32", program, sample, sample.call(model), compile_reference(program))
    plan = compile_plan(program, Choices())
    monkeypatch.setattr(type(plan), "run", lambda self, inputs: [case.original[0].double()])
    assert "is torch.float64" in judge.judge("conservative", plan, program, [case]).reason


def test_balanced_is_conservative_unless_the_model_is_bf16() -> None:
    assert judge.effective_level("balanced", torch.float32)[0] == "conservative"
    assert judge.effective_level("balanced", torch.bfloat16)[0] == "balanced"
    assert judge.effective_level("aggressive", torch.float32)[0] == "aggressive"


class _OneIsDifferent(nn.Module):
    """Torch's own broadcasting makes one row another function: x - mean over a row dimension of one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.squeeze(0).cumsum(0)


def test_size_one_is_judged_where_the_sample_does_not_show_it(any_speed: None) -> None:
    fast = kpt.auto_optimize(nn.Linear(8, 8).eval(), torch.randn(4, 8))
    assert {e.shape for e in fast.report.error} == {"4x8", "sizes b=3", "sizes b=1"}


def test_where_size_one_is_another_computation_the_original_runs_it(any_speed: None) -> None:
    model = _OneIsDifferent()
    fast = kpt.auto_optimize(model, torch.randn(4, 8))
    x = torch.randn(1, 8)
    with pytest.warns(RuntimeWarning, match=r"b in \[2, "):
        assert torch.equal(fast(x), model(x))


def test_defined_names_in_order() -> None:
    text = (
        "kpt.graph 1\ninput %x : f32[2]\n%a = aten.f(%x) : f32[2]\n%b, %c.1 = aten.g(%a) : f32[2], i64[2]\nreturn %b\n"
    )
    assert defined(text) == ["a", "b", "c.1"]


def test_other_sizes_are_few_many_and_within_the_bounds() -> None:
    program, _, _ = _program("bert")
    sizes, bounds = judge.other_sizes(program), program.symbols
    assert {name for one in sizes for name in one} == set(bounds)
    for one in sizes:
        ((name, size),) = one.items()
        assert bounds[name].lo <= size <= bounds[name].hi and size != bounds[name].hint
    assert len({tuple(one.items()) for one in sizes}) == len(sizes)
    assert judge.other_sizes(Program.capture(nn.Linear(8, 8).eval(), Sample((torch.randn(4, 8),), {}), False, [])) == []

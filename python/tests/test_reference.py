# SPDX-License-Identifier: Apache-2.0
"""The f64 reference by pieces of the batch is the reference of the whole; where rows see each other it is not used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from conftest import FAMILIES
from kernel_pytorch import reference, rows
from kernel_pytorch.errors import MemoryAllocationError
from kernel_pytorch.plan import Choices, compile_plan, compile_reference
from kernel_pytorch.program import Program
from kernel_pytorch.samples import Sample, normalise


class _MinusMean(nn.Module):
    """Rows see each other, and every shape says that they might not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0, keepdim=True)


class _FirstRow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[0] * 2


class _TwoBatches(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x @ y.T


def _capture(model: nn.Module, sample: object) -> tuple[Program, Sample]:
    made = normalise(model, sample)[0]
    return Program.capture(model.eval(), made, "auto", []), made


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every sample is cut; the list gets the rows of each run of the reference."""
    seen: list[int] = []
    monkeypatch.setattr(reference, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(reference, "_PIECE_BYTES", 1)
    run = reference.Plan.run

    def counted(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        seen.append(inputs[0].shape[0])
        return run(self, inputs)

    monkeypatch.setattr(reference.Plan, "run", counted)
    return seen


@pytest.mark.parametrize("name", ["mlp", "bert"])
def test_pieces_put_together_are_the_whole(name: str, in_pieces: list[int]) -> None:
    family = FAMILIES[name]()
    program, sample = _capture(family.model, family.sample)
    large = _repeated(program, sample, 11)
    found = reference.Reference(program).run(large)
    assert in_pieces == [5, 2, 3, 6]  # the first piece, its parts alone, the rest
    for got, want in zip(found, compile_reference(program).run(large), strict=True):
        assert got.shape == want.shape
        assert reference._same(got, want)


def test_rows_that_see_each_other_are_computed_together(in_pieces: list[int]) -> None:
    program, _ = _capture(_MinusMean(), torch.randn(4, 8))
    x = torch.randn(16, 8)
    assert torch.allclose(reference.Reference(program).run([x])[0], (x - x.mean(0)).double(), atol=1e-6)
    assert in_pieces == [4, 2, 16]


def test_an_output_without_the_batch_is_computed_whole(in_pieces: list[int]) -> None:
    program, _ = _capture(_FirstRow(), torch.randn(4, 8))
    x = torch.randn(16, 8)
    assert torch.equal(reference.Reference(program).run([x])[0], (x[0] * 2).double())
    assert in_pieces[-1] == 16


def test_small_samples_stay_whole() -> None:
    program, sample = _capture(nn.Linear(8, 8), torch.randn(64, 8))
    assert len(reference.Reference(program)._pieces(program.flatten(sample))) == 1


def test_batch_axis() -> None:
    assert rows.batch_axis(_capture(nn.Linear(8, 8), torch.randn(4, 8))[0]) == [0]
    assert rows.batch_axis(_capture(_TwoBatches(), (torch.randn(4, 8), torch.randn(5, 8)))[0]) is None
    fixed = Program.capture(nn.Linear(8, 8).eval(), Sample((torch.randn(4, 8),)), False, [])
    assert rows.batch_axis(fixed) is None


def test_shortened_keeps_what_fits() -> None:
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8))
    program, sample = _capture(model, torch.randn(32, 64))
    plan = compile_plan(program, Choices())
    needed = rows.call_bytes(program, plan, sample)
    assert rows.shortened(program, plan, sample, needed) is sample
    assert rows.shortened(program, plan, sample, needed // 4).tensors()[0].shape == (8, 64)
    assert rows.shortened(program, plan, sample, 1).tensors()[0].shape == (1, 64)


def _repeated(program: Program, sample: Sample, count: int) -> list[torch.Tensor]:
    return [t[torch.arange(count) % t.shape[0]].clone() for t in program.flatten(sample)]


def test_a_gpu_takes_whole_what_fits_and_larger_pieces() -> None:
    gib = 1 << 30
    assert reference.limits(False, None) == (48 << 20, 12 << 20)
    assert reference.limits(False, 80 * gib) == (4 * gib, gib)
    assert reference.limits(False, 8 * gib) == (gib, gib // 4)
    assert reference.limits(False, 0) == (48 << 20, 12 << 20)  # cut as on a CPU, where little is free
    assert reference.limits(True, 80 * gib) == reference.limits(True, None) == (24 << 20, 12 << 20)


def test_a_whole_run_without_memory_is_made_in_small_pieces(
    in_pieces: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, sample = _capture(nn.Linear(4, 4), torch.randn(8, 4))
    made = reference.Reference(program)
    made._whole_bytes, made._piece_bytes = 1 << 30, 1 << 28  # as on a GPU
    run = reference.Plan.run

    def short(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        if inputs[0].shape[0] == 8:
            in_pieces.append(0)
            raise MemoryAllocationError("[memory] got none")
        return run(self, inputs)

    monkeypatch.setattr(reference.Plan, "run", short)
    inputs = program.flatten(sample)
    (found,) = made.run(inputs)
    assert in_pieces[0] == 0 and max(in_pieces[1:]) == 4
    want = compile_reference(program)
    monkeypatch.setattr(reference.Plan, "run", run)
    torch.testing.assert_close(found, want.run(inputs)[0])
    monkeypatch.setattr(reference.Plan, "run", short)
    monkeypatch.setattr(reference, "_WHOLE_BYTES", 1 << 30)  # small pieces are all there is
    with pytest.raises(MemoryAllocationError):
        made._whole_bytes, made._piece_bytes = reference.limits(False, None)
        made.run(inputs)


@pytest.mark.parametrize(
    "made",
    [
        lambda y: torch.where(y > 0, 0.5, 1.5),
        lambda y: torch.where(y > 0, y > 0.5, 0.25),
        lambda y: torch.where(y > 0, y.argmax(), 0.25),
        lambda y: (y > 0) * 0.5,
        lambda y: torch.eye(4, 8),
    ],
)
def test_what_is_made_of_no_float_is_f64_too(made: Callable[[torch.Tensor], torch.Tensor]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            return y * made(y)

    model = Net()
    program, sample = _capture(model, torch.randn(4, 8))
    found = compile_reference(program).run(program.flatten(sample))[0]
    want = model.double()(sample.args[0].double())
    assert found.dtype is torch.float64
    torch.testing.assert_close(found, want, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])  # two operators: transformers' own, aten._grouped_mm
def test_experts_are_f64_too(dtype: torch.dtype, experts: nn.Module) -> None:
    model = experts.to(dtype)
    program, sample = _capture(model, {"input_ids": torch.randint(0, 99, (2, 12))})
    assert "grouped_mm" in program.text
    found = compile_reference(program).run(program.flatten(sample))
    model = model.double()
    model.set_experts_implementation("eager")
    want = model(**sample.kwargs)
    assert len(found) == 5  # with the cache of two layers
    torch.testing.assert_close(found[0], want.logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("offsets", [[0, 5, 4], [2, 7, 6], [-1, 2, 6], [2, 4]])
def test_offsets_of_experts_are_checked(offsets: list[int]) -> None:
    x, w = torch.randn(6, 4, dtype=torch.float64), torch.randn(3, 4, 2, dtype=torch.float64)
    grouped = torch.ops.kernel_pytorch.grouped_mm
    found = grouped(x, w, torch.tensor([2, 2, 5], dtype=torch.int32))
    torch.testing.assert_close(found, torch.cat([x[:2] @ w[0], x[2:5] @ w[2], torch.zeros(1, 2, dtype=x.dtype)]))
    with pytest.raises(RuntimeError, match="got offset|want \\[S, K\\]"):
        grouped(x, w, torch.tensor(offsets, dtype=torch.int32))

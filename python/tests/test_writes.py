# SPDX-License-Identifier: Apache-2.0
"""Models that write their own buffers: a key-value cache in small."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kernel_pytorch import auto_optimize
from kernel_pytorch.capture import capture, capture_pt2
from kernel_pytorch.errors import CaptureError
from kernel_pytorch.plan import Choices, compile_plain, compile_plan, compile_reference
from kernel_pytorch.program import Program
from kernel_pytorch.samples import Sample


class Cached(nn.Module):
    """Puts a row for each sequence at places `at` and reads all of the cache."""

    def __init__(self, how: str = "index_copy"):
        super().__init__()
        torch.manual_seed(0)
        self.how = how
        self.key = nn.Linear(4, 6)
        self.register_buffer("cache", torch.zeros(2, 9, 6))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        k = self.key(x)
        if self.how == "index_copy":
            self.cache.index_copy_(1, at, k)
        elif self.how == "index_put":
            self.cache[:, at] = k
        elif self.how == "add":
            self.cache.index_add_(1, at, k)
        elif self.how == "read":
            k = k + self.cache.mean()
            self.cache.index_copy_(1, at, k)
        elif self.how == "counter":
            self.count.add_(1)
        return torch.tanh(self.cache).sum(1) + self.count


def sample(place: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(place)), torch.tensor([place])


def program(how: str = "index_copy") -> tuple[Cached, Program]:
    model = Cached(how).eval()
    return model, Program.capture(model, Sample(sample(), {}), "auto", [])


@pytest.mark.parametrize("how", ["index_copy", "index_put"])
def test_a_write_is_captured_as_one(how):
    text = capture(Cached(how).eval(), sample(), dynamic="none").text
    assert text.count("= kpt.write_(%b_cache, %at, ") == 1
    assert ", dim=1) : f32[2, 9, 6]" in text
    assert text.rstrip().rpartition("\nreturn ")[2].count("%") == 1


@pytest.mark.parametrize(
    ("how", "what"), [("add", "buffer cache"), ("read", "buffer cache"), ("counter", "buffer count")]
)
def test_state_that_depends_on_itself_is_refused(how, what):
    with pytest.raises(CaptureError, match=f"forward writes to {what}.*test_writes.py"):
        capture(Cached(how).eval(), sample())


def test_a_plan_writes_the_slice_where_the_model_keeps_it():
    model, captured = program()
    plan = compile_plan(captured, Choices())
    twin = Cached().eval()
    assert [t.data_ptr() for t in captured.state] == [model.cache.data_ptr()]
    for place in (3, 0, 8, 3):
        x, at = sample(place)
        version = model.cache._version
        with torch.no_grad():
            want = twin(x, at)
        got = plan.run([x, at])[0]
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(model.cache, twin.cache)
        assert model.cache._version == version + 1


def test_an_edit_of_the_state_is_seen():
    model, captured = program()
    plan = compile_plan(captured, Choices())
    x, at = sample()
    plan.run([x, at])
    with torch.no_grad():
        model.cache.zero_()
        twin = Cached().eval()
        torch.testing.assert_close(plan.run([x, at])[0], twin(x, at))


def test_references_leave_the_state_alone():
    model, captured = program()
    x, at = sample()
    with torch.no_grad():
        want = Cached().eval()(x, at)
    for reference in (compile_plain(captured), compile_reference(captured)):
        got = reference.run([x, at])[0]
        torch.testing.assert_close(got.float(), want)
        assert not model.cache.any()


def test_optimising_leaves_the_state_alone_and_the_result_writes_it():
    model, twin = Cached().eval(), Cached().eval()
    x, at = sample()
    fast = auto_optimize(model, (x, at))
    assert not model.cache.any()
    with torch.no_grad():
        torch.testing.assert_close(fast(x, at), twin(x, at))
    torch.testing.assert_close(model.cache, twin.cache)


def test_samples_at_several_places_do_not_disturb_each_other():
    model, twin = Cached().eval(), Cached().eval()
    with torch.no_grad():
        model.cache.normal_(generator=torch.Generator().manual_seed(1))
        twin.cache.copy_(model.cache)
    fast = auto_optimize(model, [sample(7), sample(2), sample(5)])
    assert "not right" not in fast.report.reason
    assert "differs" not in fast.report.reason
    torch.testing.assert_close(model.cache, twin.cache, rtol=0, atol=0)


def test_a_saved_program_with_state_is_refused(tmp_path):
    path = tmp_path / "cached.pt2"
    torch.export.save(torch.export.export(Cached().eval(), sample(), strict=False), path)
    with pytest.raises(CaptureError, match="saved program writes to b_cache"):
        capture_pt2(path)


def test_strided_state_is_refused():
    model = Cached().eval()
    model.cache = torch.zeros(9, 2, 6).transpose(0, 1)
    captured = Program.capture(model, Sample(sample(), {}), "auto", [])
    with pytest.raises(Exception, match="want it contiguous"):
        compile_plan(captured, Choices())


class Views(nn.Module):
    """Reads its cache through a view that was made before the write, or after it."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.register_buffer("cache", torch.zeros(2, 9, 6))
        self.register_buffer("same", self.cache.view(-1) if how == "shared" else torch.zeros(1))

    def forward(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        early = self.cache.transpose(0, 1) if self.how == "early" else self.same
        self.cache.index_copy_(1, at, x)
        if self.how == "twice":
            self.cache.index_copy_(1, at + 1, x)
        late = self.cache.transpose(0, 1)
        return torch.cat([late.sum((0, 2)), early.sum().reshape(1)])


def _views(how: str) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    return Views(how).eval(), (torch.ones(2, 1, 6), torch.tensor([3]))


def test_a_write_that_later_reads_see_needs_no_second_trace(monkeypatch: pytest.MonkeyPatch):
    def no(*_: object) -> None:
        raise AssertionError("traced again")

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", no)
    model, call = _views("late")
    captured = Program.capture(model, Sample(call, {}), "none", [])
    with torch.no_grad():
        torch.testing.assert_close(compile_plain(captured).run(list(call))[0], Views("late")(*call))
    with pytest.raises(CaptureError, match="traced again"):
        Program.capture(_views("early")[0], Sample(call, {}), "none", [])


@pytest.mark.parametrize("how", ["early", "twice", "shared"])
def test_memory_that_is_read_by_another_name_is_right_or_refused(how: str):
    model, call = _views(how)
    try:
        captured = Program.capture(model, Sample(call, {}), "none", [])
    except CaptureError:  # torch's own words for two buffers on one memory
        return
    with torch.no_grad():
        torch.testing.assert_close(compile_plain(captured).run(list(call))[0], Views(how)(*call))

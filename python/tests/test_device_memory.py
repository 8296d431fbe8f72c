# SPDX-License-Identifier: Apache-2.0
"""Memory is asked for before it is taken; where it is short, what is idle goes, and nothing of the caller's is lost."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

import kernel_pytorch as kpt
from kernel_pytorch import _native, device_memory, errors

Model = tuple[nn.Module, kpt.OptimizedModule]
Plant = Callable[[str], None]
RESOURCE, FAULT = 2, 11  # of ErrorKind in src/kpt/base/error.h

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="not checked: no GPU")


@pytest.fixture
def refuse(plant: Plant) -> Callable[[int, int], None]:
    """refuse(n, kind): the next n calls of a planted kernel throw that kind of error."""
    plant("refusing_kernel")
    library = ctypes.CDLL(str(_native.find_library().parent / "libkpt_faults.so"))
    return library.kpt_set_refusals


def test_what_is_there_is_less_than_all_and_enough_for_little() -> None:
    state = device_memory.memory_state("cpu")
    assert 0 < state.free <= state.total
    assert kpt.check_memory_available(1 << 20, "cpu")
    assert kpt.check_memory_available(required_mb=1, device="cpu")
    assert not kpt.check_memory_available(state.total + 1, "cpu")
    assert not kpt.check_memory_available(state.available // 2, "cpu", safety_margin=4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "one of the two"),
        ({"required_bytes": 1, "required_mb": 1}, "one of the two"),
        ({"required_bytes": -1}, "0 or more"),
        ({"required_bytes": 1, "safety_margin": 0.5}, "1 or more"),
        ({"required_bytes": 1, "device": "meta"}, "cpu or cuda"),
    ],
)
def test_wrong_questions(arguments: dict, words: str) -> None:
    with pytest.raises(kpt.InputError, match=words):
        kpt.check_memory_available(**{"device": "cpu", **arguments})


def test_an_allocation_is_what_was_asked_for() -> None:
    made = kpt.allocate_with_oom_protection((3, 5), torch.bfloat16, device="cpu")
    assert made.shape == (3, 5)
    assert made.dtype is torch.bfloat16
    assert not made.requires_grad
    assert kpt.allocate_with_oom_protection((2,), requires_grad=True, device="cpu").requires_grad


def test_too_much_is_refused_with_numbers_before_it_is_tried(mlp: Model) -> None:
    _, fast = mlp
    x = torch.randn(6, 32)
    before = fast(x)
    total = device_memory.memory_state("cpu").total
    with pytest.raises(kpt.MemoryAllocationError, match=r"MiB free of \d+.* want \d+ MiB .* were freed; try") as caught:
        kpt.allocate_with_oom_protection((total // 4 + 1,), device="cpu")
    assert isinstance(caught.value, MemoryError)
    assert not isinstance(caught.value, kpt.OutOfMemoryError)  # that one is a GPU's
    assert torch.equal(fast(x), before)


def test_idle_memory_goes_first(mlp: Model) -> None:
    _, fast = mlp
    fast(torch.randn(64, 32))
    assert device_memory.free_idle() > 0
    assert device_memory.free_idle() == 0
    fast(torch.randn(6, 32))


def test_what_a_call_takes_is_known_before_it_runs(mlp: Model) -> None:
    _, fast = mlp
    calls = fast._plan.native.counters()["calls"]
    small, large = fast.memory_needed(torch.randn(6, 32)), fast.memory_needed(torch.randn(600, 32))
    assert fast._plan.native.counters()["calls"] == calls
    assert small >= 6 * 8 * 4
    assert large > 10 * small
    fast._plan.native.trim()
    fast(torch.randn(600, 32))
    assert fast._plan.native.trim() == large - 600 * 8 * 4  # the arena; the outputs are the caller's


def test_a_shortage_in_a_call_is_got_over(family_model: Model, refuse: Callable[[int, int], None]) -> None:
    model, fast = family_model
    x = torch.randn(6, 32)
    refuse(1, RESOURCE)
    assert torch.allclose(fast(x), model(x), atol=1e-5)
    assert fast.report.calls_to_original == {}


def test_a_shortage_that_stays_sends_the_call_to_the_original(
    family_model: Model, refuse: Callable[[int, int], None]
) -> None:
    model, fast = family_model
    x = torch.randn(6, 32)
    refuse(4, RESOURCE)  # twice in the engine, and once more after all that is idle was freed
    with pytest.warns(RuntimeWarning, match="got no memory for"):
        assert torch.equal(fast(x), model(x))
    assert fast.report.calls_to_original == {"memory": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast(x)  # the plan again
    assert fast.report.calls_to_original == {"memory": 1}


def test_without_the_original_it_is_an_error_and_the_next_call_works(
    family_model: Model, refuse: Callable[[int, int], None]
) -> None:
    model, fast = family_model
    fast.__dict__["_allow_fallback"] = False
    x = torch.randn(6, 32)
    refuse(4, RESOURCE)
    with pytest.raises(kpt.MemoryAllocationError, match="got no memory for"):
        fast(x)
    assert torch.allclose(fast(x), model(x), atol=1e-5)


def test_a_fault_is_not_run_again_and_never_by_the_original(
    family_model: Model, refuse: Callable[[int, int], None]
) -> None:
    _, fast = family_model
    refuse(1, FAULT)
    with pytest.raises(kpt.KernelLaunchError) as caught:
        fast(torch.randn(6, 32))
    assert caught.value.context_lost
    assert fast.report.calls_to_original == {}


@pytest.fixture
def family_model(refuse: Callable[[int, int], None], any_speed: None) -> Model:
    """A model whose linear layers can be made to refuse."""
    refuse(0, RESOURCE)
    model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)).eval()
    fast = kpt.auto_optimize(model, torch.randn(6, 32))
    assert fast.report.kept, fast.report.reason
    return model, fast


def test_a_kernel_that_never_gets_its_memory_is_put_back(refuse: Callable[[int, int], None], any_speed: None) -> None:
    model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)).eval()
    refuse(1 << 20, RESOURCE)
    fast = kpt.auto_optimize(model, torch.randn(6, 32))
    assert any("refusing_kernel" in s.step for s in fast.report.steps)
    x = torch.randn(6, 32)
    assert torch.allclose(fast(x), model(x), atol=1e-5)
    refuse(0, RESOURCE)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, kpt.OutOfMemoryError])
def test_short_of_memory_while_optimising_returns_the_original(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, any_speed: None
) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise kind("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr("kernel_pytorch.optimize.Deferred", none_left)
    model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)).eval()
    fast = kpt.auto_optimize(model, torch.randn(6, 32))
    assert not fast.report.kept
    assert "Tried to allocate 20 GiB" in fast.report.reason
    x = torch.randn(6, 32)
    assert torch.equal(fast(x), model(x))


def test_a_lost_gpu_ends_an_optimisation(monkeypatch: pytest.MonkeyPatch, any_speed: None) -> None:
    def fails(*_: object, **__: object) -> None:
        raise kpt.KernelLaunchError("[cuda] got an illegal address")

    monkeypatch.setattr("kernel_pytorch.optimize.compile_plan", fails)
    model = nn.Sequential(nn.Linear(32, 8)).eval()
    assert not kpt.auto_optimize(model, torch.randn(6, 32)).report.kept  # refused, but the GPU is there
    monkeypatch.setattr(_native, "device_fault", lambda: "an illegal address seen by step")
    with pytest.raises(kpt.KernelLaunchError, match="seen by step"):
        kpt.auto_optimize(model, torch.randn(6, 32))


def test_each_kind_of_the_core_is_a_class_with_the_shared_base() -> None:
    nvidia = {"no_driver", "device", "library", "capability", "architecture", "compile", "launch", "fault"}
    for kind in nvidia:
        assert isinstance(_native.translated(RuntimeError(f"KPT:{kind}: [x] y")), kpt.NVIDIABackendError), kind
    short = _native.translated(RuntimeError("KPT:resource: [x] y"), kpt.OutOfMemoryError)
    assert isinstance(short, kpt.NVIDIABackendError)
    assert isinstance(short, MemoryError)
    assert str(short) == "[x] y"
    everything = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert all(issubclass(c, kpt.KernelPyTorchError) for c in everything)
    assert all(getattr(kpt, c.__name__) is c for c in everything)


def test_a_fault_that_torch_sees_first_is_one_too() -> None:
    seen = _native.translated(torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with ..."))
    assert isinstance(seen, kpt.KernelLaunchError)
    assert seen.context_lost
    assert "device-side assert triggered, seen by PyTorch" in str(seen)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_each_question_about_one_says_so() -> None:
    for ask in (
        lambda: kpt.check_memory_available(1, "cuda"),
        lambda: kpt.allocate_with_oom_protection((1,), device="cuda:0"),
        lambda: _native.device_memory(0),
        lambda: _native.Model("kpt.graph 1\ninput %x : f32[2]\n%y = aten.relu(%x) : f32[2]\nreturn %y\n", [], [],
                              '{"device": "cuda:0"}'),
    ):  # fmt: skip
        with pytest.raises(kpt.CUDANotAvailableError):
            ask()
    assert _native.device_fault() == ""


@gpu
def test_a_gpu_counts_what_others_hold_and_what_torch_can_give_back() -> None:
    before = device_memory.memory_state("cuda")
    held = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    during = device_memory.memory_state("cuda")
    assert before.available - during.available >= 250 << 20
    del held
    after = device_memory.memory_state("cuda")
    assert after.available - during.available >= 250 << 20


@gpu
def test_a_gpu_that_is_full_says_so_and_goes_on() -> None:
    state = device_memory.memory_state("cuda")
    with pytest.raises(kpt.OutOfMemoryError, match=r"cuda:0 has \d+ MiB free of"):
        kpt.allocate_with_oom_protection((state.total,), torch.uint8, device="cuda")
    assert kpt.allocate_with_oom_protection((1 << 20,), torch.uint8, device="cuda").numel() == 1 << 20


@gpu
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(kpt.CUDADeviceError, match="want one of"):
        _native.device_memory(torch.cuda.device_count())

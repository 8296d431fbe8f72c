# SPDX-License-Identifier: Apache-2.0
"""auto_optimize, line by line of its contract."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn

import kernel_pytorch as kpt
from conftest import FAMILIES, Family, close
from kernel_pytorch import kept_captures, machine
from kernel_pytorch.ledger import Ledger
from kernel_pytorch.optimize import _Job
from kernel_pytorch.program import Program
from kernel_pytorch.report import Report
from kernel_pytorch.samples import normalise
from kernel_pytorch.timing import Timing

pytestmark = pytest.mark.usefixtures("any_speed")


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
@pytest.mark.parametrize("level", ["conservative", "balanced"])
def test_family_is_captured_whole_and_right(family: Family, level: str) -> None:
    fast = kpt.auto_optimize(family.model, family.sample, level)
    assert fast.report.kept, fast.report.reason
    assert all(e.ok for e in fast.report.error)
    with torch.inference_mode():
        old, new = family.call(family.model), family.call(fast)
    assert type(new) is type(old)
    if isinstance(old, torch.Tensor):
        old, new = {"y": old}, {"y": new}
    assert list(new.keys()) == list(old.keys())
    assert all(close(new[key], old[key]) for key in old if old[key] is not None)


@pytest.mark.parametrize("family", ["bert", "vit", "llama"], indirect=True)
def test_samples_of_a_huggingface_model_are_derived(family: Family) -> None:
    fast = kpt.auto_optimize(family.model)
    assert fast.report.kept, fast.report.reason
    assert fast.report.samples[0]["shape"] == normalise(family.model, None)[0].describe()


def test_a_cache_of_encoder_and_decoder_is_no_sample() -> None:
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    with pytest.raises(kpt.InputError, match="an? EncoderDecoderCache, which every call makes longer"):
        kpt.auto_optimize(nn.Linear(4, 4), {"input": torch.randn(2, 4), "past_key_values": cache})


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_a_decoder_returns_the_cache_that_it_fills(kind: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.cache_utils import DynamicCache

    torch.manual_seed(0)
    layers = {"n_embd": 32, "n_layer": 2, "n_head": 4} if kind == "gpt2" else {"num_hidden_layers": 2}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = AutoConfig.for_model(
        kind, vocab_size=99, bos_token_id=0, eos_token_id=0, **layers, **({} if kind == "gpt2" else sizes)
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(99, (2, 7))
    fast = kpt.auto_optimize(model, {"input_ids": ids})
    assert fast.report.kept, fast.report.reason
    with torch.inference_mode():
        old, new = model(input_ids=ids), fast(input_ids=ids)
        assert isinstance(new.past_key_values, DynamicCache)
        assert close(new.logits, old.logits)
        for ours, theirs in zip(new.past_key_values.layers, old.past_key_values.layers, strict=True):
            assert close(ours.keys, theirs.keys) and close(ours.values, theirs.values)
        with pytest.raises(kpt.InputError, match="a DynamicCache, which every call makes longer"):
            kpt.auto_optimize(model, {"input_ids": ids, "past_key_values": old.past_key_values})
        assert old.past_key_values.get_seq_length() == 7
        # The cache is the caller's: the next step, which is another call, goes on from it.
        old = model(input_ids=ids[:, :1], past_key_values=old.past_key_values)
        with pytest.warns(RuntimeWarning, match="runs the original model"):
            new = fast(input_ids=ids[:, :1], past_key_values=new.past_key_values)
    assert close(new.logits, old.logits)
    assert new.past_key_values.get_seq_length() == 8


def test_no_sample_for_a_plain_model_says_what_to_pass() -> None:
    with pytest.raises(kpt.InputError, match=r"got no sample_inputs .* try sample_inputs=x"):
        kpt.auto_optimize(nn.Linear(4, 4))


class _Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, a: torch.Tensor, b: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.linear(a) + scale * b


@pytest.mark.parametrize("form", ["tuple", "dict", "list"])
def test_forms_of_samples(form: str) -> None:
    model = _Sum().eval()
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    pair = (a, b)
    sample = {"tuple": pair, "dict": {"a": a, "b": b, "scale": 2.0}, "list": [pair, (a[:2], b[:2])]}[form]
    fast = kpt.auto_optimize(model, sample)
    assert fast.report.kept, fast.report.reason
    assert len(fast.report.samples) == (2 if form == "list" else 1)
    keywords = {"scale": 2.0} if form == "dict" else {}
    assert close(fast(a[:3], b=b[:3], **keywords), model(a[:3], b[:3], **keywords))
    assert fast.report.calls_to_original == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimization_level": "fastest"}, r"got optimization_level='fastest', want one of conservative"),
        ({"optimization_level": 3}, "got optimization_level=3"),
        ({"sample_inputs": "text"}, "got sample_inputs of type str"),
        ({"sample_inputs": []}, "got an empty list of samples"),
        ({"sample_inputs": (1, 2)}, "got sample_inputs without a tensor"),
        ({"sample_inputs": {1: torch.ones(2)}}, "with the key 1"),
        ({"evaluate": 0.5}, "got evaluate=0.5"),
        ({"sample_inputs": torch.randn(4, 7)}, "that the model itself refuses: RuntimeError"),
    ],
)
def test_wrong_arguments(wrong: dict, message: str) -> None:
    arguments = {"sample_inputs": torch.randn(4, 8)} | wrong
    with pytest.raises(kpt.InputError, match=message) as caught:
        kpt.auto_optimize(nn.Linear(8, 8), **arguments)
    assert isinstance(caught.value, ValueError)
    assert ", try " in str(caught.value)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(kpt.InputError, match=r"want a torch\.nn\.Module"):
        kpt.auto_optimize(torch.sin, torch.randn(2))


def test_an_optimised_module_is_refused(mlp: tuple) -> None:
    with pytest.raises(kpt.InputError, match=r"auto_optimize\(fast\.original"):
        kpt.auto_optimize(mlp[1], torch.randn(6, 32))


def test_training_is_refused_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(kpt.UnsupportedError, match="for_inference=False"):
        kpt.auto_optimize(model, torch.randn(4, 8), for_inference=False)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("alias", "level"), [("basic", "conservative"), ("production", "balanced"), ("auto", "balanced")]
)
def test_level_aliases(alias: str, level: str) -> None:
    assert kpt.auto_optimize(nn.Linear(8, 8).eval(), torch.randn(4, 8), alias).report.level == level


def test_balanced_f32_on_cpu_says_that_the_conservative_rule_applies() -> None:
    report = kpt.auto_optimize(nn.Linear(8, 8).eval(), torch.randn(4, 8)).report
    assert report.level == "balanced"
    assert report.rule.startswith("conservative rule")


def test_bfloat16_model_is_judged_by_its_own_rounding() -> None:
    family = FAMILIES["mlp"]()
    model = family.model.eval().bfloat16()
    sample = family.sample.bfloat16()
    fast = kpt.auto_optimize(model, sample)
    assert fast.report.kept, fast.report.reason
    assert fast.report.dtype == "bfloat16"
    assert fast(sample).dtype is torch.bfloat16
    assert max(e.original for e in fast.report.error) > 1e-4


class _Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_a_model_that_cannot_be_captured_comes_back_with_the_reason() -> None:
    model = _Branch()
    fast = kpt.auto_optimize(model, torch.ones(4))
    assert not fast.report.kept
    assert fast.report.reason.startswith("not captured whole: ")
    assert fast.original is model
    assert fast.graph == ""
    assert torch.equal(fast(-torch.ones(4)), torch.full((4,), -2.0))


class _Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + 1


def test_a_model_with_state_comes_back_unchanged() -> None:
    model = _Counter()
    fast = kpt.auto_optimize(model, torch.ones(4))
    assert not fast.report.kept
    assert "calls" in fast.report.reason
    assert float(model.calls) == 0.0


class _Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@dataclass
class _Record:
    first: torch.Tensor
    second: torch.Tensor


class _Structured(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.linear = form, nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> object:
        y = self.linear(x)
        if self.form == "dict":
            return {"a": y, "b": [y + 1, (y * 2, None)], "c": 3}
        return {"tuple": (y, y + 1), "list": [y, y + 1], "named": _Pair(y, y + 1)}[self.form]


@pytest.mark.parametrize("form", ["dict", "tuple", "list", "named"])
def test_results_keep_their_structure(form: str) -> None:
    model = _Structured(form).eval()
    x = torch.randn(4, 8)
    fast = kpt.auto_optimize(model, x)
    assert fast.report.kept, fast.report.reason
    new, old = fast(x), model(x)
    assert type(new) is type(old)
    if form == "dict":
        assert list(new) == ["a", "b", "c"]
        assert new["c"] == 3
        assert new["b"][1][1] is None
        assert close(new["b"][1][0], old["b"][1][0])
    else:
        assert close(new[1], old[1])


def test_the_original_is_left_untouched() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).train()
    model[1].eval()
    model(torch.randn(4, 8)).sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random.seed(5)
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    kpt.auto_optimize(model, torch.randn(4, 8, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert [m.training for m in model] == [True, False, True]
    assert model.training
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_model_in_train_mode_is_optimised_as_if_in_eval_mode() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).train()
    x = torch.randn(4, 8)
    fast = kpt.auto_optimize(model, x)
    assert not fast.training
    assert close(fast(x), model[0](x))


def test_an_original_in_train_mode_that_is_returned_runs_for_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timing, "verdict", lambda self: (False, "no gain"))
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).train()
    x = torch.randn(4, 8)
    fast = kpt.auto_optimize(model, x)
    assert not fast.report.kept
    assert torch.equal(fast(x), model[0](x))
    assert model.training


def test_evaluate_keeps_a_small_drop_and_refuses_a_large_one() -> None:
    model, x = nn.Linear(8, 8).eval(), torch.randn(4, 8)
    scores = iter([100.0, 99.5])
    assert kpt.auto_optimize(model, x, evaluate=lambda m: next(scores)).report.kept
    scores = iter([100.0, 98.0])
    report = kpt.auto_optimize(model, x, evaluate=lambda m: next(scores)).report
    assert not report.kept
    assert report.reason == "evaluate fell from 100 to 98, more than 1%"
    assert report.evaluation == {"before": 100.0, "after": 98.0}


def test_strict_mode_names_operators_and_lines() -> None:
    class Special(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    with pytest.raises(kpt.FallbackError, match=r"bessel_j0.*test_optimize\.py:\d+"):
        kpt.auto_optimize(Special(), torch.randn(4), allow_fallback=False)


def test_fixed_sizes() -> None:
    model = nn.Linear(8, 8).eval()
    fast = kpt.auto_optimize(model, torch.randn(4, 8), dynamic_shapes=False)
    assert fast.report.shapes["bounds"] == {}
    with pytest.warns(RuntimeWarning, match="runs the original model"):
        fast(torch.randn(5, 8))


def test_report_has_the_promised_fields() -> None:
    fast = kpt.auto_optimize(FAMILIES["mlp"]().model.eval(), torch.randn(6, 32))
    report = json.loads(fast.report.to_json())
    assert report["kept"] is True
    assert set(report["speedup"]) == {"median", "low", "high"}
    assert set(report["latency_ms"]) == {"before", "after"}
    assert {"output", "value", "original", "bound", "cosine"} <= set(report["error"][0])
    assert {"capture", "compile", "judge", "time", "total"} <= set(report["compile_seconds"])
    assert report["unchecked"]
    assert report["memory"]["arena_bytes"] <= report["memory"]["no_reuse_bytes"]
    times = report["samples"][0]
    assert len(times["before_ms"]) == len(times["after_ms"])
    low, high = report["speedup"]["low"], report["speedup"]["high"]
    # Two rounds, a ratio each way, where the interval is clear of 1 by its whole width.
    assert len(times["before_ms"]) >= (4 if low - (high - low) > 1 else 6)
    for name in ("reason", "steps", "fallbacks", "shapes", "hardware", "versions"):
        assert name in report
    assert "error vs fp64" in str(fast.report)


def test_progress_tells_the_stages() -> None:
    seen: list[str] = []
    kpt.auto_optimize(nn.Linear(8, 8).eval(), torch.randn(4, 8), progress=lambda stage, share: seen.append(stage))
    assert list(dict.fromkeys(seen)) == ["original", "capture", "reference", "compile", "judge", "time"]


def test_sizes_that_cannot_be_made_ready_are_said_and_stop_nothing(mlp: tuple) -> None:
    model, _ = mlp
    sample = normalise(model, torch.randn(5, 32))[0]
    program = Program.capture(model, sample, "auto", [])
    asked: list[int] = []

    def make_ready(tensors: list[torch.Tensor]) -> None:
        asked.append(tensors[0].shape[0])
        if len(asked) == 1:
            raise kpt.MemoryAllocationError("[memory] got none")

    job = object.__new__(_Job)
    job.ledger, job.samples, job.report = Ledger(None, "balanced", False), [sample], Report("mlp", "balanced")
    plan = SimpleNamespace(native=SimpleNamespace(make_ready=make_ready))
    job._make_ready(program, plan)
    assert len(asked) > 1
    (said,) = job.report.unchecked
    assert f"={asked[0]}" in said and "got none" in said

    def lost(tensors: list[torch.Tensor]) -> None:
        error = kpt.KernelLaunchError("[launch] gone")
        error.context_lost = True
        raise error

    with pytest.raises(kpt.KernelLaunchError, match="gone"):
        job._make_ready(program, SimpleNamespace(native=SimpleNamespace(make_ready=lost)))


def test_a_second_process_does_not_make_sizes_ready_again(
    mlp: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_captures, "folder", lambda: tmp_path)
    monkeypatch.setattr(kept_captures, "beside", lambda key, device, level, kind: tmp_path / f"{key}.{level}.{kind}")
    (tmp_path / "k.json").write_text("{}")
    model, _ = mlp
    sample = normalise(model, torch.randn(5, 32))[0]
    program = Program.capture(model, sample, "auto", [])
    asked: list[int] = []
    short = [True]

    def make_ready(tensors: list[torch.Tensor]) -> None:
        asked.append(tensors[0].shape[0])
        if short[0]:
            raise kpt.MemoryAllocationError("[memory] got none")

    def calls(level: str = "balanced", samples: int = 1) -> int:
        job = object.__new__(_Job)
        job.ledger, job.samples, job.report = Ledger("k", level, False), [sample] * samples, Report("mlp", level)
        job.compile_level = level
        asked.clear()
        job._make_ready(program, SimpleNamespace(native=SimpleNamespace(make_ready=make_ready)))
        return len(asked)

    assert calls() > 1
    short[0] = False
    assert calls() > 1  # they failed, so nothing was kept
    assert calls() == 0
    assert calls(samples=3) == 2  # the caller's own sizes are looked at
    assert calls("aggressive") > 1  # other kernels


@pytest.mark.parametrize(("limit", "size"), [(1 << 40, 33), (0, 9)])
def test_a_sample_with_a_large_reference_is_checked_at_an_eighth(
    monkeypatch: pytest.MonkeyPatch, limit: int, size: int
) -> None:
    monkeypatch.setattr("kernel_pytorch.optimize._LARGE_REFERENCE", limit)
    fast = kpt.auto_optimize(nn.Sequential(nn.Linear(8, 8), nn.Tanh()).eval(), torch.randn(64, 8))
    assert f"sizes b={size}" in {error.shape for error in fast.report.error}


def _load(monkeypatch: pytest.MonkeyPatch, switches: int, own: float, others: float | None) -> None:
    """What the system says before and after: involuntary context switches, seconds of processor time of this process
    and of others, in ten seconds."""
    rest = [
        SimpleNamespace(ru_nivcsw=n, ru_utime=s, ru_stime=1.0) for n, s in [(100, 7.0), (100 + switches, 7.0 + own)]
    ]
    busy = [50.0, None if others is None else 50.0 + own + others]
    clock = [0.0, 10.0]
    monkeypatch.setattr(machine.resource, "getrusage", lambda who: rest.pop(0))
    monkeypatch.setattr(machine, "busy_seconds", lambda: busy.pop(0))
    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=lambda: clock.pop(0)))


@pytest.mark.parametrize(
    ("switches", "own", "others", "told"),
    [
        (5, 0.01, 9.0, False),
        (6, 0.01, 9.0, True),
        (599, 10.0, 9.0, False),
        (600, 10.0, 9.0, True),
        (600, 10.0, 1.9, False),  # its own threads took turns
        (600, 10.0, 2.1, True),
        (600, 10.0, None, False),
    ],
)
def test_a_busy_machine_is_told(
    monkeypatch: pytest.MonkeyPatch, switches: int, own: float, others: float | None, told: bool
) -> None:
    _load(monkeypatch, switches, own, others)
    note = machine.Interruptions().note()
    assert (note is not None) == told
    if told:
        assert f"had {others:.2f} s of the processors in 10.00 s" in note and f"from this one {switches} times" in note


@pytest.mark.parametrize("count", [0, 1000])
def test_the_report_says_that_the_machine_was_busy(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    _load(monkeypatch, count, 1.0, 9.0)
    notes = kpt.auto_optimize(nn.Linear(8, 8).eval(), torch.randn(4, 8)).report.notes
    assert any(note.startswith("busy machine") for note in notes) == (count > 0)


def test_the_system_says_how_busy_it_is() -> None:
    before, own = machine.busy_seconds(), time.process_time()
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        pass
    assert machine.busy_seconds() - before >= 0.5 * (time.process_time() - own)


def test_outputs_are_tensors_of_their_own_with_default_strides() -> None:
    class Net(nn.Linear):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            y = super().forward(x)
            return x, self.weight, y, y, y[1:], y.t()

    model, x = Net(8, 8).eval(), torch.randn(4, 8)
    fast = kpt.auto_optimize(model, x)
    assert fast.report.kept, fast.report.reason
    with torch.inference_mode():
        found, want = fast(x), model(x)
    for ours, theirs in zip(found, want, strict=True):
        assert close(ours, theirs) and ours.is_contiguous()
    assert len({t.untyped_storage().data_ptr() for t in (*found, x, model.weight)}) == 8


def test_a_mixture_of_experts_is_captured_whole(experts: nn.Module) -> None:
    fast = kpt.auto_optimize(experts, {"input_ids": torch.randint(0, 99, (2, 12))})
    assert fast.report.kept, fast.report.reason
    ids = torch.randint(0, 99, (3, 7))
    with torch.inference_mode():
        found, want = fast(input_ids=ids), experts(input_ids=ids)
    assert close(found.logits, want.logits)
    assert all(
        close(a.keys, b.keys) for a, b in zip(found.past_key_values.layers, want.past_key_values.layers, strict=True)
    )
    assert fast.report.calls_to_original == {}


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: x[:, -x.shape[1] :],
        lambda x: x[:, -(x.shape[1] // 2) :],
        lambda x: x[:, -x.shape[1]],
    ],
)
def test_places_told_from_the_end_by_a_size(cut: Callable[[torch.Tensor], torch.Tensor]) -> None:
    class Net(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(cut(x))

    model = Net(8, 8).eval()
    fast = kpt.auto_optimize(model, torch.randn(3, 12, 8))
    assert fast.report.kept, fast.report.reason
    for rows in (5, 12, 30):
        x = torch.randn(2, rows, 8)
        assert close(fast(x), model(x))
    assert fast.report.calls_to_original == {}

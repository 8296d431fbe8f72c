# SPDX-License-Identifier: Apache-2.0
"""The optimised module as an nn.Module: weights, modes, gradients, copies, threads, wrong calls."""

from __future__ import annotations

import copy
import ctypes
import gc
import json
import os
import pickle
import threading
import warnings
import weakref
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree

import kernel_pytorch as kpt
from conftest import FAMILIES, close
from kernel_pytorch import _native, module
from kernel_pytorch.trees import OutputTree

Pair = tuple[nn.Sequential, kpt.OptimizedModule]


def _x(rows: int = 5) -> torch.Tensor:
    return torch.randn(rows, 32)


def _by_plan(fast: kpt.OptimizedModule) -> bool:
    return fast.report.calls_to_original == {}


# ---- weights -------------------------------------------------------------------------------------------------------


def test_edits_in_place_are_seen(mlp: Pair) -> None:
    model, fast = mlp
    x = _x()
    before = fast(x)
    with torch.no_grad():
        model[0].weight.mul_(2.0)
        model[2].bias.add_(1.0)
    assert not close(fast(x), before)
    assert close(fast(x), model(x))
    assert _by_plan(fast)


@pytest.mark.parametrize("assign", [False, True])
def test_loaded_weights_are_taken_over(mlp: Pair, assign: bool) -> None:
    model, fast = mlp
    other = FAMILIES["mlp"]().model.eval()
    x = _x()
    fast.load_state_dict(other.state_dict(), assign=assign)
    assert close(fast(x), other(x))
    assert close(model(x), other(x))
    assert _by_plan(fast)


def test_a_replaced_parameter_is_taken_over(mlp: Pair) -> None:
    model, fast = mlp
    model[3].weight = nn.Parameter(torch.randn(8, 64))
    x = _x()
    assert close(fast(x), model(x))
    assert _by_plan(fast)


def test_weights_derived_by_the_plan_follow_their_sources(any_speed: None) -> None:
    family = FAMILIES["bert"]()
    model = family.model.eval()
    fast = kpt.auto_optimize(model, family.sample)
    assert fast.report.kept, fast.report.reason
    with torch.no_grad():
        model.encoder.layer[0].attention.self.query.weight.normal_()
    assert close(family.call(fast).last_hidden_state, family.call(model).last_hidden_state)
    assert _by_plan(fast)


def test_a_replaced_submodule_makes_the_plan_stale(mlp: Pair) -> None:
    model, fast = mlp
    model[1] = nn.ReLU()
    x = _x()
    with pytest.warns(RuntimeWarning, match=r"the submodule '1' was replaced.*Call auto_optimize again"):
        new = fast(x)
    assert torch.equal(new, model(x))
    assert fast.report.calls_to_original == {"stale": 1}


def test_half_runs_the_original_and_says_so_once(mlp: Pair) -> None:
    model, fast = mlp
    assert fast.half() is fast
    x = _x().half()
    with pytest.warns(RuntimeWarning, match=r"the weight 0\.weight is now torch\.float16"):
        new = fast(x)
    assert torch.equal(new, model(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast(x)
    assert fast.report.calls_to_original == {"stale": 2}


def test_half_of_the_original_alone_is_noticed(mlp: Pair) -> None:
    model, fast = mlp
    model.half()
    x = _x().half()
    with pytest.warns(RuntimeWarning):
        assert torch.equal(fast(x), model(x))


def test_moving_to_where_it_is_keeps_the_plan(mlp: Pair) -> None:
    _, fast = mlp
    fast.to("cpu").float()
    fast(_x())
    assert _by_plan(fast)


# ---- modes and gradients -------------------------------------------------------------------------------------------


def test_a_warning_names_the_line_of_the_call(mlp: Pair) -> None:
    _, fast = mlp
    fast(_x())
    fast(_x())  # in one step from now on, where Python tells of changes
    hooked = fast.register_forward_hook(lambda *_: None)
    for call in (lambda: fast(torch.randn(2, 5, 32)), lambda: fast(_x().requires_grad_())):
        with pytest.warns(RuntimeWarning, match="runs the original") as seen:
            call()
        assert {w.filename for w in seen} == {__file__}
        hooked.remove()
        fast(_x())


def test_train_goes_to_the_original_and_eval_back(any_speed: None) -> None:
    model = nn.Sequential(nn.Linear(32, 32), nn.Dropout(0.9)).eval()
    fast = kpt.auto_optimize(model, _x())
    fast.train()
    assert model.training
    with pytest.warns(RuntimeWarning, match="train mode"):
        dropped = fast(_x(64))
    assert (dropped == 0).float().mean() > 0.5
    fast.eval()
    x = _x()
    assert close(fast(x), model(x))
    assert fast.report.calls_to_original == {"train mode": 1}


def test_an_input_that_requires_grad_gets_its_gradient(mlp: Pair) -> None:
    model, fast = mlp
    x = _x().requires_grad_()
    with pytest.warns(RuntimeWarning, match="requires grad"):
        fast(x).sum().backward()
    want = torch.autograd.grad(model(x).sum(), x)[0]
    assert torch.equal(x.grad, want)
    with torch.no_grad():
        fast(x)
    assert fast.report.calls_to_original == {"grad": 1}


def test_outputs_of_the_plan_do_not_require_grad(mlp: Pair) -> None:
    assert not mlp[1](_x()).requires_grad


def test_inference_mode(mlp: Pair) -> None:
    model, fast = mlp
    with torch.inference_mode():
        x = _x()
        assert close(fast(x), model(x))
    assert _by_plan(fast)


# ---- nn.Module -----------------------------------------------------------------------------------------------------


def test_keys_and_parameters_are_the_originals(mlp: Pair) -> None:
    model, fast = mlp
    assert list(fast.state_dict()) == list(model.state_dict())
    assert all(a is b for a, b in zip(fast.parameters(), model.parameters(), strict=True))
    assert [name for name, _ in fast.named_modules()] == [name for name, _ in model.named_modules()]


def test_attributes_of_the_original_are_reachable(any_speed: None) -> None:
    family = FAMILIES["bert"]()
    fast = kpt.auto_optimize(family.model.eval(), family.sample)
    assert fast.config is family.model.config
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fast.no_such_name


def test_deepcopy_has_weights_of_its_own(mlp: Pair) -> None:
    model, fast = mlp
    twin = copy.deepcopy(fast)
    x = _x()
    before = model(x)
    with torch.no_grad():
        model[0].weight.zero_()
    assert close(twin(x), before)
    assert close(fast(x), model(x))
    assert _by_plan(twin)
    assert _by_plan(fast)


def test_pickling_is_refused_with_a_way_out(mlp: Pair) -> None:
    with pytest.raises(kpt.KernelPyTorchError, match=r"try torch\.save\(fast\.state_dict\(\)"):
        pickle.dumps(mlp[1])


def test_graph_and_explain(mlp: Pair) -> None:
    _, fast = mlp
    assert fast.graph.startswith("kpt.graph 1\n")
    name = fast.graph.rstrip().rpartition("%")[2]
    assert name in fast.explain(name)
    assert fast.explain("%" + name) == fast.explain(name)
    with pytest.raises(kpt.InputError, match="no value 'nonsense'"):
        fast.explain("nonsense")


def test_graph_of_a_returned_original_is_empty() -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    fast = kpt.auto_optimize(Branch(), torch.ones(2))
    assert fast.graph == fast.plan_text == ""
    assert fast.explain("x").startswith("the original runs: not captured whole")


# ---- wrong and unusual calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [torch.randn(5, 31), torch.randint(0, 9, (5, 32)), torch.randn(5, 32, dtype=torch.float64), "text", None],
    ids=["size", "integers", "f64", "text", "none"],
)
def test_wrong_input_raises_what_the_original_raises(mlp: Pair, wrong: object) -> None:
    model, fast = mlp
    with pytest.raises((RuntimeError, TypeError, AttributeError)) as want:
        model(wrong)
    with pytest.raises(type(want.value)) as got:
        fast(wrong)
    assert str(got.value).splitlines()[0] == str(want.value).splitlines()[0]


def test_missing_argument_raises_what_the_original_raises(mlp: Pair) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        mlp[1]()


def test_a_size_outside_the_bounds_runs_the_original(any_speed: None) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval()
    fast = kpt.auto_optimize(model, torch.randn(4, 8), dynamic_shapes={"b": (2, 6)})
    x = torch.randn(9, 8)
    with pytest.warns(RuntimeWarning, match=r"f32\[9, 8\].*b in \[2, 6\]"):
        assert torch.equal(fast(x), model(x))
    assert fast.report.calls_to_original == {"inputs": 1}
    assert any("[9, 8]" in note for note in fast.report.notes)


def test_strict_mode_refuses_a_size_outside_the_bounds(any_speed: None) -> None:
    model = nn.Linear(8, 8).eval()
    fast = kpt.auto_optimize(model, torch.randn(4, 8), dynamic_shapes={"b": (2, 6)}, allow_fallback=False)
    with pytest.raises(kpt.InputError, match=r"f32\[9, 8\].*b in \[2, 6\]"):
        fast(torch.randn(9, 8))


@pytest.mark.parametrize("rows", [0, 1, 2, 17])
def test_other_batch_sizes_take_the_plan(mlp: Pair, rows: int) -> None:
    model, fast = mlp
    x = _x(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if rows else "ignore")
        new = fast(x)
    assert new.shape == (rows, 8)
    assert rows == 0 or close(new, model(x))


def test_non_contiguous_input(mlp: Pair) -> None:
    model, fast = mlp
    x = torch.randn(32, 10).t()[::2]
    assert close(fast(x), model(x))


def test_nan_stays_in_its_row(mlp: Pair) -> None:
    model, fast = mlp
    x = _x(4)
    x[2, 3] = float("nan")
    new = fast(x)
    assert torch.isnan(new[2]).all()
    assert close(new[[0, 1, 3]], model(x)[[0, 1, 3]])


# ---- many callers --------------------------------------------------------------------------------------------------


def test_hooks_are_called(mlp: Pair) -> None:
    (_, fast), x = mlp, _x()
    seen: list[str] = []
    own = fast.register_forward_hook(lambda *_: seen.append("own"))
    before = fast.register_forward_pre_hook(lambda *_: seen.append("before"))
    everywhere = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.append("everywhere") if module is fast else None
    )
    fast(x)
    assert seen == ["before", "everywhere", "own"]
    for handle in (own, before, everywhere):
        handle.remove()
    fast(x)
    assert len(seen) == 3


def test_hooks_are_seen_when_the_counter_tells_of_them(mlp: Pair) -> None:
    (_, fast), x = mlp, _x()
    counter = ctypes.c_uint64(1)
    fast.__dict__["_changes"] = counter
    fast(x)
    seen: list[str] = []
    handle = fast.register_forward_hook(lambda *_: seen.append("own"))
    counter.value += 1
    fast(x)
    assert seen == ["own"]
    handle.remove()
    counter.value += 1
    fast(x)
    assert seen == ["own"]


def test_a_trace_is_of_the_original(mlp: Pair) -> None:
    (model, fast), x = mlp, _x()
    fast.requires_grad_(False)  # torch traces a function with no other weights
    with pytest.warns(RuntimeWarning, match="traces the call"):
        traced = torch.jit.trace(lambda x: fast(x) + x.mean(), x)
    other = _x()
    assert close(traced(other), model(other) + other.mean())


def test_fake_tensors_run_the_original(mlp: Pair) -> None:
    _, fast = mlp
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        out = fast(mode.from_tensor(_x()))
    assert (type(out), out.shape[0]) == (FakeTensor, 5)
    assert fast.report.calls_to_original == {"inputs": 1}


def test_an_export_is_of_the_original_and_leaves_the_plan(mlp: Pair) -> None:
    (model, fast), x = mlp, _x()
    with pytest.warns(RuntimeWarning, match="no memory"):
        exported = torch.export.export(fast, (x,))
    assert close(exported.module()(x), model(x))
    before = dict(fast.report.calls_to_original)
    assert close(fast(x), model(x))
    assert fast.report.calls_to_original == before == {"inputs": 1}


def test_vmap_runs_the_original(mlp: Pair) -> None:
    model, fast = mlp
    x = torch.randn(3, 5, 32)
    assert close(torch.vmap(fast)(x), torch.vmap(model)(x))
    assert fast.report.calls_to_original == {"inputs": 1}


def test_compile_of_the_module_itself_is_used(mlp: Pair) -> None:
    (_, fast), x = mlp, _x()
    calls: list[int] = []
    fast._compiled_call_impl = lambda *args: calls.append(1) or fast.forward(*args)
    assert torch.equal(fast(x), fast.forward(x))
    assert calls == [1]


def test_eight_threads_get_the_answers_of_one(mlp: Pair) -> None:
    _, fast = mlp
    inputs = [torch.randn(1 + i % 5, 32) for i in range(16)]
    want = [fast(x) for x in inputs]
    wrong: list[int] = []

    def work(start: int) -> None:
        for step in range(250):
            i = (start + step) % len(inputs)
            if not torch.equal(fast(inputs[i]), want[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_can_call_the_plan(mlp: Pair) -> None:
    model, fast = mlp
    x = _x()
    want = fast(x)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of every fork of a threaded process
        child = os.fork()
    if child == 0:
        os.write(writer, b"same" if torch.equal(fast(x), want) else b"diff")
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 4)
    os.waitpid(child, 0)
    assert answer == b"same"


# ---- release -------------------------------------------------------------------------------------------------------


def test_release_drops_the_original_and_keeps_the_keys(any_speed: None) -> None:
    family = FAMILIES["mlp"]()
    model = family.model.eval()
    keys, x = list(model.state_dict()), _x()
    want = model(x)
    fast = kpt.auto_optimize(model, family.sample, release_original=True)
    assert fast.report.kept
    assert fast.original is None
    assert list(fast.state_dict()) == keys
    assert close(fast(x), want)
    state = {name: torch.zeros_like(value) for name, value in fast.state_dict().items()}
    fast.load_state_dict(state)
    assert float(fast(x).abs().max()) == 0.0
    with pytest.raises(kpt.InputError, match="it was released"):
        fast(torch.randn(5, 31))
    with pytest.raises(kpt.FallbackError, match="it was released"):
        fast(x.requires_grad_())


class Heads(nn.Module):
    """Three products of one input, which the plan makes one; `tied`: two of them with the same weight."""

    def __init__(self, tied: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v = (nn.Linear(64, 64) for _ in range(3))
        if tied:
            self.k.weight = self.q.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.q(x)) + self.k(x) * torch.relu(self.v(x))


def _derived_bytes(fast: nn.Module) -> int:
    return json.loads(fast._plan.native.report())["memory"]["derived_bytes"]


def test_merged_weights_have_no_copy_after_release(any_speed: None) -> None:
    x, twin = torch.randn(8, 64), Heads().eval()
    kept = kpt.auto_optimize(Heads().eval(), x)
    assert kept.report.kept and _derived_bytes(kept) == 3 * (64 + 1) * 64 * 4
    fast = kpt.auto_optimize(Heads().eval(), x, release_original=True)
    assert fast.report.kept and _derived_bytes(fast) == 0

    def check() -> None:
        with torch.no_grad():
            torch.testing.assert_close(fast(x), twin(x), rtol=1e-4, atol=1e-4)
        for (name, p), (other, q) in zip(fast.named_parameters(), twin.named_parameters(), strict=True):
            assert name == other and torch.equal(p, q)

    check()
    with torch.no_grad():
        for model in (fast, twin):
            model.k.weight.mul_(2.0)
            model.v.bias.add_(1.0)
    check()
    assert _derived_bytes(fast) == 0
    state = {name: torch.randn_like(p) for name, p in twin.named_parameters()}
    for model in (fast, twin):
        model.load_state_dict(state)
    check()
    new = torch.randn(64, 64)
    fast.q.weight, twin.q.weight = nn.Parameter(new.clone()), nn.Parameter(new)
    check()
    assert _derived_bytes(fast) > 0  # it lies elsewhere now


def test_release_frees_the_memory_that_merged_weights_had(any_speed: None) -> None:
    model, held = Heads().eval(), []
    for layer in (model.q, model.k, model.v):
        memory = layer.weight.detach().numpy().copy()
        held.append(weakref.ref(memory))
        layer.weight = nn.Parameter(torch.from_numpy(memory))
    del memory, layer
    fast = kpt.auto_optimize(model, torch.randn(8, 64), release_original=True)
    gc.collect()
    assert fast.report.kept and [memory() for memory in held] == [None] * 3


def test_release_leaves_shared_memory_alone(any_speed: None) -> None:
    x, model = torch.randn(8, 64), Heads(tied=True).eval()
    with torch.no_grad():
        want = model(x)
    fast = kpt.auto_optimize(model, x, release_original=True)
    assert fast.k.weight is fast.q.weight
    whole = torch.randn(2, 64, 64)
    model = Heads().eval()
    model.q.weight, model.k.weight = nn.Parameter(whole[0]), nn.Parameter(whole[1])  # the caller's own arrangement
    other = kpt.auto_optimize(model, x, release_original=True)
    assert other.q.weight.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    with torch.no_grad():
        torch.testing.assert_close(fast(x), want, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(other(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_model_output_is_what_its_constructor_makes():
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    tensors = [torch.randn(2, 3), torch.randn(2)]
    made = BaseModelOutputWithPooling(last_hidden_state=tensors[0], pooler_output=tensors[1])
    leaves, spec = pytree.tree_flatten(made)
    tree = OutputTree(spec, [0, 1])
    for _ in range(2):
        got = tree.unflatten(leaves)
        assert type(got) is type(made) and list(got) == list(made) and got.keys() == made.keys()
        assert vars(got).keys() == vars(made).keys() and got.hidden_states is None
        assert all(a is b for a, b in zip(got.to_tuple(), tensors, strict=True))
        assert got.last_hidden_state is tensors[0] and got["pooler_output"] is tensors[1]
    got.last_hidden_state = tensors[1]  # as with the constructor's: an attribute and its entry stay one
    assert got["last_hidden_state"] is tensors[1] and got[0] is tensors[1]


def test_an_ordered_dictionary_with_a_computed_field_keeps_its_constructor():
    class Scaled(OrderedDict):
        def __init__(self, x):
            super().__init__(x=x)
            self.twice = 2 * x

    pytree.register_pytree_node(
        Scaled, lambda d: (list(d.values()), None), lambda values, _: Scaled(*values), serialized_type_name="Scaled"
    )
    x = torch.randn(3)
    _, spec = pytree.tree_flatten(Scaled(x))
    got = OutputTree(spec, [0]).unflatten([x])
    assert torch.equal(got.twice, 2 * x)


def test_a_result_whose_constructor_validates_is_only_made_of_real_outputs() -> None:
    class Checked(OrderedDict):
        def __init__(self, x):
            if x.dim() != 1:
                raise ValueError("want one dimension")
            super().__init__(x=x)
            self.x = x

    pytree.register_pytree_node(
        Checked, lambda d: (list(d.values()), None), lambda values, _: Checked(*values), serialized_type_name="Checked"
    )
    _, spec = pytree.tree_flatten(Checked(torch.randn(3)))
    tree = OutputTree(spec, [0])
    for _ in range(3):
        x = torch.randn(3)
        got = tree.unflatten([x])
        assert type(got) is Checked and got.x is x and got["x"] is x


def test_the_native_counter_counts_changes() -> None:
    library = _native.library()
    changes = ctypes.c_uint64.in_dll(library, "kpt_dict_changes")
    before = changes.value
    assert library.kpt_dict_changed(0, None, None, None) == 0
    assert changes.value >= before + 1


def test_weights_are_looked_at_only_after_a_change(any_speed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ctypes.c_uint64(0)
    monkeypatch.setattr(module, "watch", lambda dictionaries: changes)
    model, x = FAMILIES["mlp"]().model.eval(), _x()
    fast = kpt.auto_optimize(model, x)
    before = fast(x)
    model[3].weight = nn.Parameter(torch.randn(8, 64))
    assert torch.equal(fast(x), before)  # as long as the counter is silent nobody looks
    changes.value += 1
    assert close(fast(x), model(x))
    assert _by_plan(fast)


# ---- several GPUs --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="not checked: fewer than two NVIDIA GPUs")
@pytest.mark.parametrize("at", [0, 1])
def test_a_call_works_where_another_gpu_is_current(at: int) -> None:
    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 32)).eval().to(f"cuda:{at}")
    x = torch.randn(8, 64, device=f"cuda:{at}")
    with torch.inference_mode():
        fast, want = kpt.auto_optimize(model, x), model(x)
        with torch.cuda.device(1 - at):
            for _ in range(4):  # step by step, recorded, replayed
                got = fast(x)
                assert got.device == x.device
                assert torch.allclose(got, want, rtol=1e-2, atol=1e-2)
            assert torch.cuda.current_device() == 1 - at
    assert _by_plan(fast)

# SPDX-License-Identifier: Apache-2.0
"""The bridge: torch's operators as a provider, weights shared with the module, errors, threads, the judge's ops."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import threading
import types
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kernel_pytorch import _native
from kernel_pytorch.capture import capture
from kernel_pytorch.errors import InputError, KernelPyTorchError, OptimizationError, UnsupportedError

PLAIN = json.dumps({"rewrite": False, "prologue": False, "providers": ["aten"]})


class Function(nn.Module):
    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def graph(statement: str, returned: str, *inputs: str) -> str:
    rows = [f"input %x{i} : {kind}" for i, kind in enumerate(inputs)]
    return "\n".join(["kpt.graph 1", "sym b in [1, 64] hint 4", *rows, statement, f"return {returned}"]) + "\n"


def compiled(text: str, options: str = PLAIN, **weights: torch.Tensor) -> _native.Model:
    return _native.Model(text, list(weights), list(weights.values()), options)


def tensors_of(result: Any) -> list[torch.Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]


# ---- the provider -----------------------------------------------------------------------------------------------

X = torch.linspace(-2, 2, 24).reshape(2, 3, 4)
INDEX = torch.tensor([[0, 2, 1], [1, 0, 2]])
IMAGE = torch.linspace(-1, 1, 2 * 4 * 6 * 6).reshape(2, 4, 6, 6)

CASES = {
    "alpha": (lambda x: torch.add(x, x, alpha=3), X),
    "number_first": (lambda x: 2 - x, X),
    "number_keeps_dtype": (lambda x: x * 2.5, X.half()),
    "integer_and_number": (lambda i: i * 2.5, INDEX),
    "bool_number": (lambda x: torch.where(x > 0, x, True), X),
    "where_numbers": (lambda x: torch.where(x > 0, 1.0, -1.0), X),
    "pow_scalar_base": (lambda x: 2.0**x, X),
    "clamp_one_side": (lambda x: x.clamp(max=0.5), X),
    "clamp_tensors": (lambda x: torch.clamp(x, x.mean(), None), X),
    "sum_dims": (lambda x: x.sum((0, 2), keepdim=True), X),
    "sum_dtype": (lambda x: x.sum(1, dtype=torch.float64), X),
    "mean_all": (lambda x: x.mean(), X),
    "max_pair": (lambda x: torch.max(x, 1), X),
    "topk": (lambda x: torch.topk(x, 2, dim=-1, sorted=True), X),
    "sort": (lambda x: torch.sort(x, dim=1, descending=True), X),
    "std_mean": (lambda x: torch.std_mean(x, dim=1), X),
    "split_list": (lambda x: x.split([1, 2], dim=1), X),
    "unbind": (lambda x: x.unbind(1)[1], X),
    "chunk": (lambda x: x.chunk(2, -1), X),
    "meshgrid": (lambda x: torch.meshgrid(x[0, 0], x[0, 1], indexing="ij"), X),
    "cat_list": (lambda x: torch.cat([x, x * 2], 1), X),
    "stack_list": (lambda x: torch.stack((x, -x), -1), X),
    "index_with_none": (lambda x, i: x[:, i], X, INDEX),
    "index_two": (lambda x, i: x[i[0] % 2, :, i[1]], X, INDEX),
    "gather": (lambda x, i: x.gather(1, i[:, :, None].expand(2, 3, 4)), X, INDEX),
    "scatter": (lambda x: x.scatter(1, torch.zeros(2, 1, 4, dtype=torch.long), 9.0), X),
    "index_put": (lambda x, i: torch.index_put(x, (i[0] % 2,), torch.tensor(7.0)), X, INDEX),
    "einsum": (lambda x: torch.einsum("abc,adc->abd", x, x), X),
    "matmul_broadcast": (lambda x: x @ x[0].T, X),
    "baddbmm": (lambda x: torch.baddbmm(x[:, :, :3], x, x.mT, beta=0.5, alpha=2.0), X),
    "softmax_dtype": (lambda x: x.softmax(-1, dtype=torch.float64), X),
    "layer_norm_bare": (lambda x: F.layer_norm(x, [4]), X),
    "group_norm": (lambda x: F.group_norm(x, 2), IMAGE),
    "embedding": (lambda x, i: F.embedding(i, x[0], padding_idx=1), X, INDEX),
    "embedding_bag": (lambda x, i: F.embedding_bag(i, x[0], mode="mean"), X, INDEX),
    "conv_same": (lambda x: F.conv2d(x, IMAGE[:, :, :3, :3], padding="same"), IMAGE),
    "conv_transpose": (lambda x: F.conv_transpose2d(x, IMAGE[:1, :, :2, :2].expand(4, 4, 2, 2), stride=2), IMAGE),
    "max_pool_indices": (lambda x: F.max_pool2d(x, 2, return_indices=True), IMAGE),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"), IMAGE),
    "interpolate_size": (lambda x: F.interpolate(x, size=(3, 4), mode="nearest"), IMAGE),
    "pad_reflect": (lambda x: F.pad(x, (1, 1, 2, 0), mode="reflect"), IMAGE),
    "pad_value": (lambda x: F.pad(x, (1, 0, 0, 2), value=-1.0), IMAGE),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), IMAGE),
    "grid_sample": (lambda x: F.grid_sample(x, torch.zeros(2, 3, 3, 2), align_corners=False), IMAGE),
    "unfold": (lambda x: x.unfold(2, 3, 2), IMAGE),
    "roll": (lambda x: x.roll((1, -1), (0, 2)), X),
    "flip": (lambda x: x.flip(0, 2), X),
    "cumsum": (lambda x: x.cumsum(-1), X),
    "triu": (lambda x: x.triu(1), X),
    "one_hot": (lambda i: F.one_hot(i, 4), INDEX),
    "arange_like": (lambda x: x + torch.arange(4, dtype=torch.float32), X),
    "full_like": (lambda x: torch.full_like(x, 3, dtype=torch.int32), X),
    "linspace": (lambda x: x + torch.linspace(0, 1, 4), X),
    "casts": (lambda x: (x.to(torch.bfloat16), x.to(torch.int8), x > 0, x.double()), X),
    "isin_like": (lambda i: torch.bucketize(i, torch.tensor([1, 2])), INDEX),
    "bitwise": (lambda i: (i & 1) | (i << 2), INDEX),
    "norm": (lambda x: torch.linalg.vector_norm(x, ord=3, dim=-1), X),
    "logsumexp": (lambda x: torch.logsumexp(x, (0, 1)), X),
    "cdist": (lambda x: torch.cdist(x, x), X),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), X),
    "view_of_permuted": (lambda x: x.permute(1, 0, 2).contiguous().view(3, -1), X),
    "sdpa_causal": (lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True), X),
    "scalar_output": (lambda x: x[0, 0, 0] * 2, X),
    "no_elements": (lambda x: x[:, :0], X),
}


@pytest.mark.parametrize("name", CASES)
def test_operator_gives_what_torch_gives(name: str):
    function, *args = CASES[name]
    captured = capture(Function(function), tuple(args), dynamic="none")
    weights = [w.tensor for w in captured.weights]
    model = _native.Model(captured.text, [w.fqn for w in captured.weights], weights, PLAIN)
    want = tensors_of(function(*args))
    got = model.run(captured.inputs.flatten(tuple(args), {}))
    assert [(t.shape, t.dtype) for t in got] == [(t.shape, t.dtype) for t in want]
    for g, w in zip(got, want, strict=True):
        assert torch.equal(g, w)


def test_every_node_of_such_a_plan_is_torchs():
    model = compiled(graph("%y = aten.tanh(%x0) : f32[b]", "%y", "f32[b]"))
    assert [(f["op"], f["value"]) for f in json.loads(model.report())["fallbacks"]] == [("aten.tanh", "y")]


@pytest.mark.parametrize("view", [lambda x: x.T, lambda x: x[:, ::2], lambda x: x[1:], lambda x: x[:1].expand(5, 6)])
def test_inputs_of_any_strides(view: Any):
    x = view(torch.randn(6, 6))
    text = graph("%y = aten.mul.Tensor(%x0, 2) : f32[b, " + str(x.shape[1]) + "]", "%y", f"f32[b, {x.shape[1]}]")
    assert torch.equal(compiled(text).run([x])[0], x * 2)


def test_views_of_strided_values_go_by_value():
    rows = ["%t = aten.permute(%x0, dims=[1, 0]) : f32[3, 4]", "%y = aten.view(%t, size=[2, 6]) : f32[2, 6]"]
    x = torch.arange(12.0).reshape(4, 3)
    text = graph("\n".join(rows), "%y", "f32[4, 3]").replace("sym b in [1, 64] hint 4\n", "")
    assert torch.equal(compiled(text).run([x])[0], x.T.reshape(2, 6))


def test_missing_named_arguments_take_the_schemas_defaults():
    model = compiled(graph("%y = aten.cumsum(%x0, dim=1) : f32[b, 3]", "%y", "f32[b, 3]"))
    x = torch.randn(2, 3)
    assert torch.equal(model.run([x])[0], x.cumsum(1))


def test_results_of_other_sizes_or_dtypes_are_faults():
    wrong_size = compiled(graph("%y = aten.cdist(%x0, %x0, p=2.0, compute_mode=none) : f32[b, 7]", "%y", "f32[b, 3]"))
    with pytest.raises(OptimizationError, match=r"aten\.cdist gave output 0 as .*\[4, 4\], want f32\[4, 7\]"):
        wrong_size.run([torch.randn(4, 3)])
    wrong_dtype = compiled(graph("%y = aten.argsort(%x0, dim=0, descending=false) : f32[b]", "%y", "f32[b]"))
    with pytest.raises(OptimizationError, match="want f32"):
        wrong_dtype.run([torch.randn(4)])


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("%y = aten.no_such_operator(%x0) : f32[b]", "no operator aten.no_such_operator"),
        ("%y = aten.cumsum(%x0, dim=0, extra=1) : f32[b]", "extra=1"),
        ("%y = aten.cumsum(%x0) : f32[b]", "dim of type int: is missing"),
        ('%y = aten.renorm(%x0, p=2.0, dim="x", maxnorm=1.0) : f32[b]', "want an integer"),
        ("%y = aten.erfinv_(%x0) : f32[b]", "in-place"),
    ],
)
def test_what_the_dispatcher_cannot_take_is_declined_with_a_reason(statement: str, reason: str):
    with pytest.raises(UnsupportedError, match=reason):
        compiled(graph(statement, "%y", "f32[b]"))


def test_index_out_of_range_is_the_callers_fault():
    text = graph("%y = aten.index_select(%x0, %x1, dim=0) : f32[3]", "%y", "f32[b]", "i64[3]")
    with pytest.raises(KernelPyTorchError, match="out of range"):
        compiled(text).run([torch.randn(4), torch.tensor([0, 1, 9])])


def test_custom_operators_of_this_process_run():
    with torch.library._scoped_library("kpt_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CPU")
        model = compiled(graph("%y = kpt_test.twice(%x0) : f32[b]", "%y", "f32[b]"))
        assert model.run([torch.ones(3)])[0].tolist() == [2, 2, 2]


def test_autocast_and_grad_of_the_caller_change_nothing():
    text = graph("%y = aten.mm(%x0, %x0) : f32[b, 4]", "%y", "f32[b, 4]")
    model, x = compiled(text), torch.randn(4, 4, requires_grad=True)
    want = (x @ x).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = model.run([x])[0]
    assert torch.equal(got, want)
    assert not got.requires_grad
    assert not got.is_inference()
    got.add_(1)  # outputs are the caller's to edit


# ---- weights ----------------------------------------------------------------------------------------------------

SCALED = """kpt.graph 1
sym b in [1, 64] hint 4
input %x : f32[b, 3]
weight %w "w" : f32[3]
%v = aten.exp(%w) : f32[3]
%y = aten.mul.Tensor(%x, %v) : f32[b, 3]
return %y
"""


@pytest.mark.parametrize("options", [PLAIN, "{}"])
def test_edits_in_place_show_at_the_next_run(options: str):
    w = nn.Parameter(torch.zeros(3))
    model, x = compiled(SCALED, options, w=w), torch.ones(2, 3)
    assert model.run([x])[0].tolist() == [[1.0] * 3] * 2
    with torch.no_grad():
        w.fill_(1.0)
    assert torch.allclose(model.run([x])[0], torch.full((2, 3), torch.e))
    with torch.inference_mode():
        w.fill_(0.0)
    assert torch.equal(model.run([x])[0], x)
    w.data = torch.ones(3)
    assert torch.allclose(model.run([x])[0], torch.full((2, 3), torch.e))


TWO = """kpt.graph 1
sym b in [1, 64] hint 4
input %x : f32[b, 2]
weight %w "w" : f32[2, 2]
weight %c "c" : f32[2]
%v = aten.exp(%w) : f32[2, 2]
%y = aten.matmul(%x, %v) : f32[b, 2]
%z = aten.add.Tensor(%y, %c, alpha=1) : f32[b, 2]
return %z
"""


@pytest.mark.parametrize("options", [PLAIN, "{}"])
def test_each_way_that_memory_changes_is_noticed_alone(options: str):
    memory = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    w, c = nn.Parameter(memory[:4].view(2, 2)), nn.Parameter(torch.zeros(2))
    model, x = compiled(TWO, options, w=w, c=c), torch.ones(1, 2)

    def check() -> None:
        for _ in range(2):
            torch.testing.assert_close(model.run([x])[0], (x @ w.exp() + c).detach())

    check()
    w.data = w.data.t()  # the same address
    check()
    for begin in (2, 1):  # the same storage, another offset
        w.data = memory[begin : begin + 4].view(2, 2)
        check()
    w.data = w.data.clone()
    check()
    with torch.no_grad():
        c.add_(1.0)
    check()
    c.data = memory[:2]
    check()
    runs = model.counters()["prologue_runs"]
    check()
    assert model.counters()["prologue_runs"] == runs


FILTER = """kpt.graph 1
sym b in [1, 64] hint 4
input %x : f32[b, 2, 2, 2]
weight %w "w" : f32[2, 2, 2, 2]
%v = aten.exp(%w) : f32[2, 2, 2, 2]
%y = aten.mul.Tensor(%x, %v) : f32[b, 2, 2, 2]
return %y
"""


def test_changes_of_a_filter_are_noticed():
    memory = torch.arange(18.0) / 8
    w = nn.Parameter(memory[:16].view(2, 2, 2, 2))
    model, x = compiled(FILTER, "{}", w=w), torch.ones(2, 2, 2, 2)

    def check() -> None:
        for _ in range(2):
            torch.testing.assert_close(model.run([x])[0], (x * w.exp()).detach())

    check()
    for order in ((0, 2, 3, 1), (3, 1, 2, 0)):
        w.data = w.data.permute(order)  # the same address and sizes
        check()
    w.data = memory[2:].view(2, 2, 2, 2)
    check()
    with torch.no_grad():
        w.mul_(2.0)
    check()
    w.data = memory[2:].view(1, 2, 2, 2, 2)
    with pytest.raises(InputError, match="w"):
        model.run([x])


@pytest.mark.parametrize(
    "other",
    [(2, 2, 1), (4,), (1, 2, 2), (1, 1, 1, 1, 2, 2), (2, 1)],
    ids=lambda sizes: "x".join(map(str, sizes)),
)
def test_a_weight_of_another_shape_over_the_same_memory_is_noticed(other: tuple[int, ...]):
    w, c = nn.Parameter(torch.arange(4.0).view(2, 2)), nn.Parameter(torch.zeros(2))
    model, x = compiled(TWO, "{}", w=w, c=c), torch.ones(1, 2)
    first = model.run([x])[0]
    square = w.data
    w.data = square.as_strided(other, [1] * len(other)) if len(other) == 2 else square.view(other)
    with pytest.raises(InputError, match="w"):
        model.run([x])
    w.data = square
    assert torch.equal(model.run([x])[0], first)
    c.data = c.data.view(2, 1)
    with pytest.raises(InputError, match="c"):
        model.run([x])


def test_derived_weights_are_made_once_and_again_when_asked():
    w = torch.zeros(3)
    model, x = compiled(SCALED, "{}", w=w), torch.ones(2, 3)
    model.run([x])
    model.run([x])
    assert model.counters()["prologue_runs"] == 1
    w.data.fill_(1.0)  # torch counts no version for this
    model.refresh_weights()
    assert torch.allclose(model.run([x])[0], torch.full((2, 3), torch.e))
    assert model.counters()["prologue_runs"] == 2


def test_trim_frees_idle_arenas_and_changes_no_result():
    w = torch.zeros(3)
    model, x = compiled(SCALED, "{}", w=w), torch.ones(2, 3)
    first = model.run([x])[0]
    model.run([x])
    assert model.counters()["frames"] == 1
    model.trim()
    assert torch.equal(model.run([x])[0], first)
    assert model.counters()["frames"] == 2
    assert model.counters()["prologue_runs"] == 1


def test_replaced_memory_is_held_until_the_engine_has_seen_the_new_one():
    # Else another tensor could get the old address, and look as if nothing had changed.
    memory = np.zeros(3, dtype=np.float32)
    held = weakref.ref(memory)
    w = nn.Parameter(torch.from_numpy(memory))
    model, x = compiled(SCALED, "{}", w=w), torch.ones(1, 3)
    w.data = torch.ones(3)
    del memory
    gc.collect()
    assert held() is not None
    assert torch.allclose(model.run([x])[0], torch.full((1, 3), torch.e))
    gc.collect()
    assert held() is None


def test_set_weight():
    model, x = compiled(SCALED, "{}", w=torch.zeros(3)), torch.ones(1, 3)
    model.set_weight(0, torch.ones(6)[::2])
    assert torch.allclose(model.run([x])[0], torch.full((1, 3), torch.e))
    for wrong in (torch.ones(4), torch.ones(3).double()):
        with pytest.raises(InputError, match="got w as"):
            model.set_weight(0, wrong)
    with pytest.raises(InputError, match="weight 1"):
        model.set_weight(1, torch.ones(3))


def test_inference_tensors_as_weights():
    with torch.inference_mode():
        w = torch.zeros(3)
    assert compiled(SCALED, "{}", w=w).run([torch.ones(1, 3)])[0].tolist() == [[1.0] * 3]


def test_weights_must_fit_the_graph():
    with pytest.raises(InputError, match="no tensor for weight w"):
        compiled(SCALED, PLAIN)
    with pytest.raises(InputError, match="got w as"):
        compiled(SCALED, PLAIN, w=torch.ones(4))
    with pytest.raises(InputError, match="1 names and 0 weights"):
        _native.Model(SCALED, ["w"], [], PLAIN)


# ---- calls ------------------------------------------------------------------------------------------------------

IDENTITY = graph("%y = aten.tanh(%x0) : f32[b, 4]", "%y", "f32[b, 4]")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([], "got 0 inputs, want 1"),
        ([torch.ones(2, 4, dtype=torch.long)], "dtype"),
        ([torch.ones(4)], "rank"),
        ([torch.ones(2, 5)], "axis 1"),
        ([torch.ones(65, 4)], r"b in \[1, 64\]"),
        ([torch.ones(2, 4, device="meta")], "x0 is on meta, want cpu"),
    ],
)
def test_inputs_that_do_not_fit_say_why(inputs: list[torch.Tensor], reason: str):
    with pytest.raises(InputError, match=reason):
        compiled(IDENTITY).run(inputs)


@pytest.mark.parametrize("x", [torch.ones(2, 4, dtype=torch.complex64), torch.eye(4).to_sparse()])
def test_tensors_the_core_does_not_know(x: torch.Tensor):
    with pytest.raises(UnsupportedError, match="x0"):
        compiled(IDENTITY).run([x])


def test_outputs_are_new_memory_of_torch():
    model, x = compiled(graph("%y = aten.relu(%x0) : f32[b]", "%x0, %y, %y", "f32[b]")), torch.ones(3)
    a, b, c = model.run([x])
    again = model.run([x])
    assert len({t.data_ptr() for t in (x, a, b, c, *again)}) == 7
    a.zero_()
    assert x.tolist() == b.tolist() == c.tolist() == [1, 1, 1]


# The direct function and torch's class method, which stands in where the first cannot be had.
@pytest.fixture(params=["direct", "method"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "method":
        monkeypatch.setattr(_native, "_direct_calls", lambda native: None)
    return request.param


def test_both_ways_of_a_call_give_the_same(way: str):
    model, x = compiled(IDENTITY), torch.randn(3, 4)
    assert (type(model._run) is types.BuiltinFunctionType) == (way == "direct")
    out = model.run([x])
    assert type(out) is list
    assert torch.equal(out[0], x.tanh())
    with pytest.raises(InputError, match="axis 1"):
        model.run([torch.ones(2, 5)])
    with pytest.raises((InputError, RuntimeError), match="[Tt]ensor"):
        model.run([None])
    with pytest.raises((TypeError, SystemError, RuntimeError)):
        model.run(None)
    assert torch.equal(model.run([nn.Parameter(x)])[0], x.tanh())  # faults before left nothing behind


def test_a_foreign_tensor_layout_is_no_direct_call():
    make, native, probe = _native._make_direct_calls(), compiled(IDENTITY)._native, torch.empty(0)
    assert len(make(native.address(), probe, probe._cdata, print)) == 4
    assert make(native.address(), probe, probe._cdata + 8, print) is None
    assert make(native.address(), 3, probe._cdata, print) is None


def test_a_call_keeps_no_tensor_and_no_model(way: str):
    model, x = compiled(IDENTITY), torch.randn(3, 4)
    before, held = sys.getrefcount(x), weakref.ref(model._native)
    inputs = [x]
    for _ in range(100):
        out = model.run(inputs)
    assert (sys.getrefcount(x), sys.getrefcount(out[0])) == (before + 1, 2)
    tensor = weakref.ref(out[0])
    run = model._run
    del out, model
    assert (tensor(), held()) == (None, None)
    assert torch.equal(run(inputs)[0], x.tanh())  # the function has the model


def _now() -> int:
    return ctypes.c_uint64.in_dll(_native.library(), "kpt_dict_changes").value


def test_a_whole_call_is_one_step_where_its_form_is_known():
    model, x, y = (
        compiled(graph("%y = aten.sub.Tensor(%x1, %x0) : f32[b]", "%y", "f32[b]", "f32[b]")),
        torch.ones(3),
        2.5,
    )
    b = torch.full((3,), 5.0)
    call = model.call
    model.teach((1, ("b", "scale"), (1, 0), ((2, y),)))  # f(x, b=.., scale=y); the graph's first input is b
    assert call((x,), {"b": b, "scale": y}) is None  # nobody has looked at the watched dictionaries
    model.seen(_now())
    (out,) = call((x,), {"b": b, "scale": y})
    assert torch.equal(out, x - b)
    for args, kwargs in [
        ((x, b), {"scale": y}),
        ((x,), {"scale": y, "b": b}),
        ((x,), {"b": b, "scale": 2}),
        ((x,), {"b": b}),
        ((x,), {"b": b, "scale": y, "more": None}),
        ((x,), {"b": None, "scale": y}),
        ((x,), {"b": [b], "scale": y}),
        ((x,) * 70, {}),
    ]:
        assert call(args, kwargs) is None, (args, kwargs)
    wants = torch.ones(3, requires_grad=True)
    assert call((wants,), {"b": b, "scale": y}) is None
    with torch.no_grad():
        assert torch.equal(call((wants,), {"b": b, "scale": y})[0], x - b)
    with pytest.raises(RuntimeError, match="KPT:bad_input"):
        call((x.int(),), {"b": b, "scale": y})
    model.seen(_now() + 1)
    assert call((x,), {"b": b, "scale": y}) is None
    model.seen(_now())
    assert torch.equal(call((x,), {"b": b, "scale": y})[0], x - b)


def test_a_traced_call_is_not_one_step():
    model = compiled(IDENTITY)
    model.teach((1, (), (0,), ()))
    model.seen(_now())
    met = []

    def f(x: torch.Tensor) -> torch.Tensor:
        met.append(model.call((x,), {}))
        return x.tanh()

    torch.jit.trace(f, torch.ones(1, 2), check_trace=False)
    assert met == [None]


@pytest.mark.parametrize(
    "form",
    [None, (), (1, (), (0,)), (-1, (), (), ()), ("1", (), (0,), ()), (1, [], (0,), ()), (1, (), (1,), ())]
    + [
        (1, (), ("0",), ()),
        (1, (), (0,), (0,)),
        (1, (), (0,), ((0,),)),
        (1, (), (0,), ((1, None),)),
        (65, (), (0,), ()),
    ],
    ids=repr,
)
def test_a_form_that_is_none_is_refused(form: object):
    model = compiled(IDENTITY)
    with pytest.raises(RuntimeError, match="KPT:bad_input.*got a form"):
        model.teach(form)
    model.seen(_now())
    assert model.call((torch.ones(1, 2),), {}) is None


def test_a_whole_call_wants_a_tuple_and_a_dictionary():
    model = compiled(IDENTITY)
    model.seen(_now())
    for bad in [((),), ((), {}, {})]:
        with pytest.raises(RuntimeError, match="got . arguments, want a tuple and a dictionary"):
            model.call(*bad)
    for bad in [([], {}), ((), ()), (None, None)]:
        with pytest.raises((TypeError, SystemError)):
            model.call(*bad)
    with pytest.raises((TypeError, OverflowError)):
        model.seen("1")


def test_whole_calls_keep_nothing_but_their_forms():
    model, x, constant = compiled(IDENTITY), torch.randn(3, 4), object()
    name = "a name of its own".replace(" ", "_")
    before = sys.getrefcount(x), sys.getrefcount(constant), sys.getrefcount(name), sys.getrefcount(None)
    model.teach((1, (name,), (0,), ((1, constant),)))
    model.seen(_now())
    kwargs = {name: constant}
    for _ in range(1000):
        assert model.call((x,), kwargs)
        assert model.call((x,), {}) is None
    assert sys.getrefcount(x) == before[0]
    assert abs(sys.getrefcount(None) - before[3]) < 100
    del kwargs, model
    assert (sys.getrefcount(constant), sys.getrefcount(name)) == before[1:3]


def test_probe_gives_the_values_named():
    text = graph("%h = aten.tanh(%x0) : f32[b]\n%y = aten.neg(%h) : f32[b]", "%y", "f32[b]")
    y, h = compiled(text).probe([torch.ones(2)], ["y", "h"])
    assert torch.equal(h, torch.ones(2).tanh())
    assert torch.equal(y, -h)
    with pytest.raises(InputError):
        compiled(text).probe([torch.ones(2)], ["no_such_value"])


def test_threads_share_a_model_and_python_goes_on():
    weight = torch.randn(64, 64)
    text = "\n".join(
        ["kpt.graph 1", "sym b in [1, 512] hint 8", "input %x : f32[b, 64]", 'weight %w "w" : f32[64, 64]']
        + ["%y = aten.mm(%x, %w) : f32[b, 64]", "%z = aten.hstack([%x, %y]) : f32[b, 128]", "return %z", ""]
    )
    model, wrong = compiled(text, '{"threads": 1}', w=weight), []

    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for rows in range(1, 40):
            x = torch.randn(rows, 64, generator=generator)
            if not torch.allclose(model.run([x])[0], torch.hstack([x, x @ weight]), atol=1e-4):
                wrong.append((seed, rows))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert model.counters()["calls"] == 8 * 39


def test_lists_of_one_call_are_not_seen_by_another():
    names = ", ".join(["%x0"] * 32)  # long enough to be filled in by two threads at once
    model = compiled(
        graph(f"%y = aten.hstack([{names}]) : f32[32]", "%y", "f32[1]").replace("sym b in [1, 64] hint 4\n", "")
    )
    wrong = []

    def work(number: int) -> None:
        x = torch.full((1,), float(number))
        for _ in range(3000):
            if model.run([x])[0].tolist() != [number] * 32:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_the_lock_of_python_is_free_during_a_run():
    text = graph("%y = kpt_gil.wait(%x0) : f32[b]", "%y", "f32[b]")
    entered, leave = threading.Event(), threading.Event()

    def wait(x: torch.Tensor) -> torch.Tensor:
        entered.set()
        assert leave.wait(10)
        return x.clone()

    with torch.library._scoped_library("kpt_gil", "DEF") as library:
        library.define("wait(Tensor x) -> Tensor")
        library.impl("wait", wait, "CPU")
        model = compiled(text)
        thread = threading.Thread(target=model.run, args=([torch.ones(2)],))
        thread.start()
        assert entered.wait(10)
        assert compiled(IDENTITY).run([torch.zeros(1, 4)])[0].sum() == 0  # a second call while the first one stands
        leave.set()
        thread.join(10)
        assert not thread.is_alive()


# ---- text, options, errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ('{"levle": "balanced"}', "option levle"),
        ('{"level": 3}', "must be string"),
        ("{", "parse error"),
        ('{"level": "fastest"}', "level fastest"),
        ('{"device": "abacus"}', "device abacus"),
    ],
)
def test_wrong_options(options: str, reason: str):
    with pytest.raises(KernelPyTorchError, match=reason):
        compiled(IDENTITY, options)


def test_verify_and_canonical():
    assert _native.verify(IDENTITY) == ""
    assert "line 4" in _native.verify(IDENTITY.replace("aten.tanh(%x0) : f32[b, 4]", "aten.tanh(%x0) : f32[b, 5]"))
    with pytest.raises(InputError, match=r"\[ir.parse\] line 1"):
        _native.verify("nonsense")
    assert _native.canonical(_native.canonical(IDENTITY)) == _native.canonical(IDENTITY)


def test_widen_makes_every_float_f64():
    text = _native.widen(SCALED)
    w, x = torch.randn(3), torch.randn(2, 3)
    got = _native.Model(text, ["w"], [w], PLAIN).run([x])[0]
    assert got.dtype is torch.float64
    assert torch.equal(got, x.double() * w.double().exp())


def test_distance_of_tensors():
    ref = torch.randn(50, 3)
    rel, cosine, _, nonfinite, elements = _native.distance(ref * 1.01, ref)
    assert rel == pytest.approx(0.01, rel=1e-4)
    assert cosine == pytest.approx(1.0)
    assert (nonfinite, elements) == (0, 150)
    assert _native.distance(ref.T[:, ::2], ref.T[:, ::2].contiguous())[0] == 0


def test_a_checksum_tells_values_places_and_ends():
    x = torch.arange(1003, dtype=torch.int16)
    swapped = x.clone()
    swapped[[0, 8]] = x[[8, 0]]
    last = x.clone()
    last[-1] = -1
    others = [x + 0, x.flip(0), swapped, last, x[:-1], torch.cat([x, x[:1] * 0 + 1])]
    sums = [tuple(_native.checksum(t)) for t in others]
    assert len(set(sums)) == len(sums)
    grid = x[:1000].reshape(20, 50)
    assert _native.checksum(grid.T) == _native.checksum(grid.T.contiguous()) != _native.checksum(grid)
    assert _native.checksum(x[1:]) == _native.checksum(x[1:].clone())  # at an address that 8 does not divide
    large = torch.arange(5 << 20, dtype=torch.int32)  # pieces for threads
    assert _native.checksum(large) != _native.checksum(large.roll(1 << 20))


def test_judge_and_bootstrap():
    good, bad = [1e-7, 1.0, 0.0, 0.0, 10.0], [1e-2, 1.0, 0.0, 0.0, 10.0]
    assert json.loads(_native.judge("conservative", "float32", good, good, []))["ok"]
    assert not json.loads(_native.judge("conservative", "f32", bad, good, []))["ok"]
    with pytest.raises(InputError, match="dtype complex64"):
        _native.judge("conservative", "complex64", good, good, [])
    median, low, high = _native.bootstrap([0.1] * 5)
    assert median == low == high == pytest.approx(1.1051709, rel=1e-6)


def test_facts_and_settings():
    assert json.loads(_native.hardware())["processors"] >= 1
    assert {"name", "env", "value"} <= set(json.loads(_native.settings())["settings"][0])
    with pytest.raises(KernelPyTorchError, match="no_such_setting"):
        _native.set_setting("no_such_setting", "1")


def test_library_for_another_torch_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_native, "_FOLDERS", (tmp_path,))
    with pytest.raises(OptimizationError, match="make build"):
        _native.find_library()
    (tmp_path / "libkpt_torch.so").write_bytes(b"")
    (tmp_path / "kpt_torch.json").write_text('{"torch": "1.13.0", "version": "0.1.0"}')
    with pytest.raises(OptimizationError, match=r"built for torch 1\.13\.0"):
        _native.find_library()

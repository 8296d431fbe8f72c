# SPDX-License-Identifier: Apache-2.0
"""Capture: the text, sizes, calls to tensors and back, models that are refused, and no trace left behind."""

from __future__ import annotations

import operator
import re
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from kernel_pytorch import _functional
from kernel_pytorch.capture import capture, capture_pt2
from kernel_pytorch.captured import Captured
from kernel_pytorch.errors import CaptureError, InputError


class Function(nn.Module):
    """A module whose forward is one function."""

    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def of(function: Any, *args: Any, **options: Any) -> Captured:
    return capture(Function(function), args, **options)


def ops(captured: Captured) -> list[str]:
    return re.findall(r"^%.*? = ([\w.]+)\(", captured.text, re.MULTILINE)


def line(captured: Captured, op: str) -> str:
    """The statement of an operator, without its source location."""
    found = [row for row in captured.text.splitlines() if f" = {op}(" in row]
    assert len(found) == 1, captured.text
    return found[0].partition("  @ ")[0]


def symbols(captured: Captured) -> dict[str, tuple[int, int, int]]:
    return {s.name: (s.lo, s.hi, s.hint) for s in captured.symbols}


# ---- text -------------------------------------------------------------------------------------------------------


def test_linear_is_written_whole():
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    captured = capture(model, (torch.randn(2, 4),))
    assert captured.text.splitlines()[:5] == [
        "kpt.graph 1",
        "sym b in [1, 1048576] hint 2",
        "input %input : f32[b, 4]",
        'weight %p_0_weight "0.weight" : f32[3, 4]',
        'weight %p_0_bias "0.bias" : f32[3]',
    ]
    assert line(captured, "aten.linear") == "%linear = aten.linear(%input, %p_0_weight, %p_0_bias) : f32[b, 3]"
    assert captured.text.endswith("\nreturn %linear\n")


def test_tensors_first_then_named_arguments_with_defaults():
    captured = of(lambda x: torch.nn.functional.layer_norm(x, [4]), torch.randn(2, 4))
    assert line(captured, "aten.layer_norm").endswith(
        "aten.layer_norm(%args_0, none, none, normalized_shape=[4], eps=1e-05, cudnn_enable=false) : f32[b, 4]"
    )


def test_number_in_a_tensor_slot_stays_a_number():
    captured = of(lambda x: (x * 2 + 0.5) / x.shape[0], torch.randn(3, 4))
    assert "aten.mul.Tensor(%args_0, 2)" in line(captured, "aten.mul.Tensor")
    assert "aten.add.Tensor(%mul, 0.5, alpha=1)" in line(captured, "aten.add.Tensor")
    assert "aten.div.Tensor(%add, b)" in line(captured, "aten.div.Tensor")


@pytest.mark.parametrize(
    ("number", "text"), [(1e-12, "1e-12"), (1e300, "1e+300"), (3.0, "3.0"), (float("-inf"), "-inf"), (0.1, "0.1")]
)
def test_floats_read_back(number: float, text: str):
    captured = of(lambda x, m: x.masked_fill(m, number), torch.randn(2, 3), torch.ones(2, 3, dtype=torch.bool))
    assert f"value={text})" in line(captured, "aten.masked_fill.Scalar")


def test_sizes_are_expressions_and_their_nodes_vanish():
    captured = of(lambda x: x.reshape(x.shape[0] * x.shape[1], -1).repeat(2, 1)[1:], torch.randn(2, 6, 4))
    assert not [op for op in ops(captured) if "sym_size" in op]
    assert re.search(r"aten\.reshape\(%args_0, shape=\[b \* s, -1\]\)", captured.text)
    assert re.search(r": f32\[\(-1 \+ 2 \* b \* s\), 4\]", captured.text)


def test_floor_division_and_modulo_of_sizes():
    captured = of(lambda x: x.new_zeros(x.shape[0] // 3 + 5, x.shape[0] % 3 + 5), torch.randn(17, 2))
    assert ": f32[(5 + floordiv(b, 3)), (5 + mod(b, 3))]" in captured.text


def test_several_results_and_unused_ones_have_names():
    captured = of(lambda x: torch.max(x, dim=1)[1], torch.randn(2, 4))
    assert re.search(
        r"^%(\w[\w.]*), %getitem_1 = aten\.max\.dim\(.*\) : f32\[b\], i64\[b\]", captured.text, re.MULTILINE
    )
    assert captured.text.endswith("return %getitem_1\n")


def test_scope_and_stack_name_the_users_lines():
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    row = next(r for r in capture(Outer(), (torch.randn(2, 2),)).text.splitlines() if "tanh" in r)
    assert re.search(r'  @ "inner:Inner" "test_capture\.py:\d+ forward < test_capture\.py:\d+ forward"$', row)


def test_tied_weights_are_one_and_unused_ones_are_dropped():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.unused = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False), nn.Linear(4, 4)
            self.b.weight = self.a.weight
            self.register_buffer("scale", torch.ones(4), persistent=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(ids) * self.scale) + torch.tensor([1.0])

    model = Tied()
    captured = capture(model, (torch.zeros(2, 3, dtype=torch.long),))
    assert [w.tensor.shape for w in captured.weights] == [(5, 4), (4,), (1,)]
    assert captured.weights[0].tensor is model.a.weight
    assert captured.weights[1].current() is model.scale
    assert captured.weights[2].module is None


def test_recurrent_operators_stay_whole_with_right_state_shapes():
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True)

        def forward(self, x: torch.Tensor) -> tuple:
            out, (h, _) = self.lstm(x)
            return out, h[-1]

    captured = capture(Tagger().eval(), (torch.randn(2, 7, 4),))
    assert line(captured, "aten.lstm.input").endswith(" : f32[b, s, 12], f32[4, b, 6], f32[4, b, 6]")
    assert line(captured, "aten.select.int").endswith(" : f32[b, 6]")


# ---- sizes ------------------------------------------------------------------------------------------------------


def test_batch_and_sequence_are_shared_by_inputs_of_the_same_sizes():
    captured = of(lambda ids, mask: ids * mask, torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.long))
    assert "input %args_0 : i64[b, s]\ninput %args_1 : i64[b, s]\n" in captured.text
    assert symbols(captured) == {"b": (1, 1 << 20, 2), "s": (1, 1 << 20, 5)}


def test_equal_sizes_by_accident_stay_apart():
    captured = of(lambda ids: ids.float().sum(1), torch.ones(8, 8, dtype=torch.long))
    assert "input %args_0 : i64[b, s]" in captured.text
    assert symbols(captured)["b"][2] == 8
    assert symbols(captured)["s"][2] == 8


def test_sample_of_one_still_gives_a_symbol():
    captured = of(lambda ids: ids + 1, torch.ones(1, 1, dtype=torch.long))
    assert symbols(captured) == {"b": (1, 1 << 20, 1), "s": (1, 1 << 20, 1)}
    assert all(s.assumed_one for s in captured.symbols)


def test_upper_bound_comes_from_the_model():
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("position", torch.arange(64).float())

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return ids + self.position[: ids.shape[1]]

    assert symbols(capture(Positions(), (torch.ones(2, 5, dtype=torch.long),)))["s"] == (1, 64, 5)


def test_size_the_model_fixes_becomes_a_constant_with_a_note():
    captured = of(lambda ids: ids.reshape(-1, 7), torch.ones(2, 7, dtype=torch.long))
    assert "input %args_0 : i64[b, 7]" in captured.text or captured.notes
    fixed = of(lambda ids: ids + torch.ones(7, dtype=torch.long), torch.ones(2, 7, dtype=torch.long))
    assert "input %args_0 : i64[b, 7]" in fixed.text
    assert any("size s" in note and "7" in note for note in fixed.notes)


def test_condition_that_is_no_range_fixes_the_size():
    def even_only(x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[0] % 2 == 0 else x

    captured = of(even_only, torch.randn(6, 3))
    assert "input %args_0 : f32[6, 3]" in captured.text
    assert any("fixed" in note for note in captured.notes)


def test_dynamic_none_keeps_every_size():
    assert "input %args_0 : f32[2, 3]" in of(torch.tanh, torch.randn(2, 3), dynamic="none").text


def test_named_dimensions_and_bounds():
    captured = of(torch.tanh, torch.randn(2, 3, 4), dynamic={"args[0]": {1: "width"}, "width": (2, 10)})
    assert "input %args_0 : f32[2, width, 4]" in captured.text
    assert symbols(captured) == {"width": (2, 10, 3)}


@pytest.mark.parametrize("option", ["sometimes", {"nothing": {0: "b"}}, {"zz": (1, 2)}])
def test_wrong_dynamic_option_is_an_input_error(option: Any):
    with pytest.raises(InputError, match=r"\[capture\]"):
        of(torch.tanh, torch.randn(2, 3), dynamic=option)


def test_more_samples_split_and_find_sizes():
    samples = [((torch.randn(2, 3), torch.randn(4, 3)), {})]
    captured = of(lambda x, y: (x + 1, y + 1), torch.randn(2, 3), torch.randn(2, 3), more_samples=samples)
    assert "input %args_0 : f32[b, 3]\ninput %args_1 : f32[d0, 3]" in captured.text
    wide = of(lambda x: x + 1, torch.randn(2, 3), more_samples=[((torch.randn(2, 5),), {})])
    assert "input %args_0 : f32[b, d0]" in wide.text


# ---- in-place ---------------------------------------------------------------------------------------------------


def test_in_place_on_fresh_values_is_a_renaming():
    def chain(x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(x)
        h.add_(1.0)
        torch.relu_(h)
        return h.mul_(x)

    captured = of(chain, torch.randn(2, 3))
    assert ops(captured) == ["aten.tanh", "aten.add.Tensor", "aten.relu", "aten.mul.Tensor"]


def test_in_place_on_one_of_several_results_is_a_renaming(monkeypatch: pytest.MonkeyPatch):
    def chain(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values, places = torch.sort(x)
        odd = places >= 2
        places.clamp_(max=1)
        return values, places, odd

    monkeypatch.delattr(torch.export.ExportedProgram, "run_decompositions")
    captured = of(chain, torch.randn(2, 3))
    assert ops(captured) == ["aten.sort", "aten.ge.Scalar", "aten.clamp"]
    places = re.search(r"^%([\w.]+) = aten\.clamp", captured.text, re.MULTILINE).group(1)
    assert re.search(rf"^return %\w+, %{re.escape(places)}, %ge$", captured.text, re.MULTILINE)


def test_a_result_that_two_nodes_read_is_not_read_once():
    graph = torch.fx.Graph()
    both = graph.call_function(torch.ops.aten.sort.default, (graph.placeholder("x"),))
    first = graph.call_function(operator.getitem, (both, 0))
    graph.call_function(operator.getitem, (both, 1))
    assert _functional._is_read_once(first)
    graph.call_function(operator.getitem, (both, 0))
    assert not _functional._is_read_once(first)


def test_a_view_of_one_of_several_results_sees_the_write():
    def aliased(x: torch.Tensor) -> torch.Tensor:
        values, _ = torch.sort(x)
        flat = values.view(-1)
        values.add_(1.0)
        return flat * 2

    captured = of(aliased, torch.randn(2, 3), dynamic="none")
    source = re.search(r"aten\.mul\.Tensor\(%([\w.]+), 2\)", captured.text).group(1)
    assert "aten.add.Tensor" in _history(captured.text, source)


def test_write_through_a_view_is_functionalised_and_keeps_composites():
    def scatter(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        h = torch.nn.functional.linear(x, w)
        h[:, 0] = 5.0
        return torch.nn.functional.gelu(torch.nn.functional.layer_norm(h, [3]))

    captured = of(scatter, torch.randn(2, 4), torch.randn(3, 4), dynamic="none")
    assert {"aten.linear", "aten.layer_norm", "aten.gelu"} <= set(ops(captured))
    assert any(op.startswith("aten.select_scatter") for op in ops(captured))
    assert not [op for op in ops(captured) if op.split(".")[1].endswith("_")]


def test_old_value_read_after_a_write_sees_the_write():
    def aliased(x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(x)
        flat = h.view(-1)
        h.add_(1.0)
        return flat * 2

    captured = of(aliased, torch.randn(2, 3), dynamic="none")
    text = captured.text
    assert text.index("aten.add.Tensor") < text.index("aten.mul.Tensor")
    source = re.search(r"aten\.mul\.Tensor\(%([\w.]+), 2\)", text).group(1)
    assert "aten.add.Tensor" in _history(text, source)


def test_in_place_keeps_its_dtype_where_the_functional_form_would_promote():
    def mixed(x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(x.half())
        return h.add_(x)

    captured = of(mixed, torch.randn(2, 3), dynamic="none")
    returned = re.search(r"^return %([\w.]+)$", captured.text, re.MULTILINE).group(1)
    assert re.search(rf"^%{re.escape(returned)} = .* : f16\[2, 3\]", captured.text, re.MULTILINE)
    assert not re.search(r"= aten\.add\.Tensor\(.* : f16", captured.text)  # f16 + f32 is f32, then cast back


def test_dropout_in_eval_is_its_argument():
    def aliased(x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(x)
        torch.nn.functional.dropout(h, 0.5, training=False).add_(1.0)
        return h * 2

    captured = of(aliased, torch.randn(2, 3), dynamic="none")
    source = re.search(r"aten\.mul\.Tensor\(%([\w.]+), 2\)", captured.text).group(1)
    assert "aten.add.Tensor" in _history(captured.text, source)


def _history(text: str, name: str) -> set[str]:
    """Operators that a value is computed from."""
    found: set[str] = set()
    for row in reversed(text.splitlines()):
        match = re.match(r"%([\w.]+) = ([\w.]+)\((.*)\) : ", row)
        if match and match.group(1) == name:
            found.add(match.group(2))
            for operand in re.findall(r"%([\w.]+)", match.group(3)):
                found |= _history(text, operand)
            break
    return found


# ---- refused ----------------------------------------------------------------------------------------------------


class _Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count.add_(1)
        return x + self.count


def _branch(x: torch.Tensor) -> torch.Tensor:
    return x + 1 if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("model", "sample", "reason"),
    [
        (_Counter(), torch.randn(2), "buffer count"),
        (Function(lambda x: x.add_(1)), torch.randn(2), "input"),
        (Function(torch.nonzero), torch.randn(3), "data"),
        (Function(_branch), torch.randn(3), "torch.export"),
        (Function(lambda x: x + torch.rand(3)), torch.randn(2, 3), "random"),
        (nn.Dropout(0.5), torch.randn(2, 3), r"random.*eval\(\)"),
        (nn.BatchNorm1d(3), torch.randn(2, 3), "buffer|statistics"),
        (Function(lambda x: torch.fft.fft(x).real), torch.randn(2, 4), "complex"),
        (Function(lambda x: x.reshape(1, 1, 1, 1, 1, 1, 1, 1, -1)), torch.randn(4), "rank 9"),
        (Function(lambda x: x.shape[0]), torch.randn(4), "tensor|sizes"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_a_reason(model: nn.Module, sample: torch.Tensor, reason: str):
    with pytest.raises(CaptureError, match=reason):
        capture(model, (sample,))


def test_refusal_names_the_users_line():
    with pytest.raises(CaptureError, match=r"at test_capture\.py:\d+ forward"):
        of(lambda x: x + torch.rand(3), torch.randn(2, 3))


def test_model_errors_are_reported_not_swallowed():
    with pytest.raises(CaptureError, match="reduction dim"):
        capture(nn.Linear(4, 3), (torch.randn(2, 5),))


# ---- state ------------------------------------------------------------------------------------------------------


def test_capture_leaves_no_trace():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    model.eval()
    model[1].train()
    model[0].weight.grad = torch.ones(4, 4)
    model[0].bias.requires_grad_(False)
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    versions = [p._version for p in model.parameters()]
    flags = [m.training for m in model.modules()]
    parameters = list(model.parameters())
    x = torch.randn(3, 4, requires_grad=True)
    random = torch.get_rng_state()
    capture(model, (x,))
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == flags
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert [p._version for p in model.parameters()] == versions
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]
    assert torch.equal(model[0].weight.grad, torch.ones(4, 4))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert x.requires_grad
    assert x.grad is None
    assert torch.is_grad_enabled()


# ---- calls ------------------------------------------------------------------------------------------------------


class _Result(NamedTuple):
    a: torch.Tensor
    rest: dict


class _Caller(nn.Module):
    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, *, scale: float = 1.0, extra: Any = None
    ) -> _Result:
        return _Result(ids * scale, {"mask": mask, "n": 3, "sum": ids + (mask if mask is not None else 0)})


def test_calls_of_the_same_meaning_are_the_same():
    ids, mask = torch.ones(2, 3, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long)
    tree = capture(_Caller(), (ids, mask), {"scale": 2.0}).inputs
    calls = [
        ((ids, mask), {"scale": 2.0}),
        ((ids,), {"scale": 2.0, "mask": mask}),
        ((), {"scale": 2.0, "mask": mask, "ids": ids}),
        ((ids, mask), {"scale": 2.0, "extra": None}),
    ]
    for args, kwargs in calls * 2:  # the second time through the cache of call forms
        flat = tree.flatten(args, kwargs)
        assert flat[0] is ids
        assert flat[1] is mask
        assert len(flat) == 2


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {"scale": 2.0}, "does not fit forward"),
        ((torch.ones(2, 3),), {"scale": 2.0}, r"missing \['mask'\]"),
        ((torch.ones(2, 3), torch.ones(2, 3)), {"scale": 3.0}, r"scale is 3\.0, the plan was made for 2\.0"),
        ((torch.ones(2, 3), torch.ones(2, 3)), {"scale": 2}, "scale is 2, the plan"),
        ((torch.ones(2, 3), 5), {"scale": 2.0}, "mask is 5, the plan was made for a tensor"),
        ((torch.ones(2, 3), torch.ones(2, 3)), {"scale": 2.0, "extra": 1}, r"not in the sample: \['extra'\]"),
    ],
)
def test_calls_that_do_not_fit_say_why(args: tuple, kwargs: dict, words: str):
    ids, mask = torch.ones(2, 3, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long)
    tree = capture(_Caller(), (ids, mask), {"scale": 2.0}).inputs
    for _ in range(2):
        tree.flatten((ids, mask), {"scale": 2.0})
        with pytest.raises(InputError, match=words):
            tree.flatten(args, kwargs)


def test_results_keep_their_structure_and_constants():
    ids, mask = torch.ones(2, 3, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long)
    captured = capture(_Caller(), (ids, mask), {"scale": 2.0})
    assert len(captured.text.splitlines()[-1].split("%")) == 4  # return of three tensors
    result = captured.outputs.unflatten([torch.tensor(1), torch.tensor(2), torch.tensor(3)])
    assert isinstance(result, _Result)
    assert (result.a.item(), result.rest["mask"].item(), result.rest["n"], result.rest["sum"].item()) == (1, 2, 3, 3)
    original = _Caller()(ids, mask, scale=2.0)
    assert [t.shape for t in captured.outputs.tensors(original)] == [(2, 3)] * 3


def test_nested_inputs():
    class Nested(nn.Module):
        def forward(self, batch: dict) -> torch.Tensor:
            return batch["x"][0] + batch["x"][1]

    sample = {"x": [torch.ones(2, 3), torch.zeros(2, 3)]}
    captured = capture(Nested(), (sample,))
    assert captured.inputs.tensor_names == ["batch['x'][0]", "batch['x'][1]"]
    assert len(captured.inputs.flatten((), {"batch": sample})) == 2
    with pytest.raises(InputError, match="structure"):
        captured.inputs.flatten((), {"batch": {"x": [torch.ones(2, 3)]}})


def test_what_cat_passes_over_is_not_written():
    def joined(x: torch.Tensor, y: torch.Tensor):
        nothing = torch.tensor([], dtype=x.dtype, device=x.device)
        return torch.cat([nothing, x], dim=-2), torch.cat([x, nothing, y], dim=1), torch.cat([nothing, y + 1], dim=0)

    captured = of(joined, torch.randn(2, 3, 4), torch.randn(2, 5, 4), dynamic="none")
    assert line(captured, "aten.cat") == "%cat_1 = aten.cat([%args_0, %args_1], dim=1) : f32[2, 8, 4]"
    assert captured.text.endswith("\nreturn %args_0, %cat_1, %add\n")


def test_what_decides_the_dtype_of_cat_stays():
    captured = of(lambda x: torch.cat([torch.tensor([]), x]), torch.ones(2, 3, dtype=torch.bfloat16), dynamic="none")
    assert line(captured, "aten.cat").endswith(", %args_0], dim=0) : f32[2, 3]")


def test_a_number_that_is_drawn_for_training_alone_is_no_obstacle():
    class Drops(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            chance = torch.rand([])
            return x if self.training and chance < 0.1 else x + 1

    captured = capture(Drops().eval(), (torch.randn(2, 3),))
    assert ops(captured) == ["aten.add.Tensor"]


def test_caches_of_an_encoder_with_a_decoder():
    from transformers import BartConfig, BartForConditionalGeneration
    from transformers.cache_utils import EncoderDecoderCache

    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes |= {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    model = BartForConditionalGeneration(BartConfig(d_model=8, vocab_size=50, **sizes)).eval()
    call = {"input_ids": torch.full((2, 5), 4), "decoder_input_ids": torch.full((2, 3), 5)}
    captured = capture(model, (), call)
    original = model(**call)
    rebuilt = captured.outputs.unflatten(captured.outputs.tensors(original))
    assert type(rebuilt) is type(original)
    cache, before = rebuilt.past_key_values, original.past_key_values
    assert isinstance(cache, EncoderDecoderCache)
    assert cache.is_updated == before.is_updated == {0: True}
    assert cache.get_seq_length() == 3
    assert torch.equal(cache.cross_attention_cache.layers[0].keys, before.cross_attention_cache.layers[0].keys)


def test_unused_input_stays_an_input():
    captured = of(lambda x, y: x + 1, torch.randn(2, 3), torch.randn(2, 3))
    assert captured.input_names == ["args_0", "args_1"]
    assert captured.input_order == [0, 1]


def test_saved_program(tmp_path: Any):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    dim = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(model, (torch.randn(8, 4),), dynamic_shapes=({0: dim},), strict=False)
    torch.export.save(program, tmp_path / "m.pt2")
    captured = capture_pt2(tmp_path / "m.pt2")
    assert ops(captured) == ["aten.linear", "aten.relu"]
    assert [(s.lo, s.hi) for s in captured.symbols] == [(1, 64)]
    assert torch.equal(captured.weights[0].tensor, model[0].weight)


def test_extra_keywords_and_key_value_caches():
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.cache_utils import DynamicCache

    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2)).eval()
    ids = torch.ones(2, 5, dtype=torch.long)
    captured = capture(model, (ids,))
    assert len(captured.outputs.slots) == 5  # logits, keys and values of two layers
    original = model(ids)
    rebuilt = captured.outputs.unflatten(captured.outputs.tensors(original))
    assert type(rebuilt) is type(original)
    assert isinstance(rebuilt.past_key_values, DynamicCache)
    assert torch.equal(rebuilt.past_key_values.layers[1].values, original.past_key_values.layers[1].values)
    without = capture(model, (ids,), {"use_cache": False, "return_dict": False})
    assert len(without.outputs.slots) == 1

# SPDX-License-Identifier: Apache-2.0
"""A captured model as the rest of the package uses it: calls to flat tensors and back, sizes, weights by place."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import torch

from .captured import Captured, Symbol, WeightRef
from .samples import Sample

_WRITE = re.compile(r" = kpt\.write_\(%([\w.]+),")
_WEIGHT = re.compile(r"^weight %(\S+) ", re.MULTILINE)
_INPUT = re.compile(r"^input %\S+ : \w+\[(.*)\]$", re.MULTILINE)

# A dictionary of a module, the key in it, the tensor there, and its index among the graph's weights.
Watched = tuple[dict[str, Any], str, torch.Tensor, int]


class Program:
    """Wraps a Captured. Immutable once compiled; flatten_call and results are safe from many threads."""

    def __init__(self, captured: Captured):
        self._captured = captured
        self.text = captured.text
        self.weights: list[WeightRef] = captured.weights
        self.symbols: dict[str, Symbol] = {s.name: s for s in captured.symbols}
        self.seconds = captured.seconds
        self.notes = list(captured.notes)
        self.input_names = [captured.inputs.tensor_names[i] for i in captured.input_order]
        self.input_dims = [_dims(match.group(1)) for match in _INPUT.finditer(captured.text)]
        self.output_names = captured.text.rstrip().rpartition("\nreturn ")[2].replace("%", "").split(", ")
        self.weight_types = [(w.tensor.dtype, tuple(w.tensor.shape)) for w in captured.weights]
        written = set(_WRITE.findall(captured.text))
        names = _WEIGHT.findall(captured.text)
        self.state = [w.tensor for w, name in zip(captured.weights, names, strict=True) if name in written]
        tensors = [w.tensor for w in captured.weights] or captured.inputs.tensors
        self.device = tensors[0].device
        self.results = captured.outputs
        self.output_tensors = captured.outputs.tensors
        order = captured.input_order
        self._order = None if order == list(range(len(order))) else order
        # The common case costs no call more than the flattening itself.
        self.flatten_call = captured.inputs.flatten if self._order is None else self._flatten_ordered

    @classmethod
    def capture(cls, model: torch.nn.Module, sample: Sample, dynamic_shapes: Any, more: list[Sample]) -> Program:
        """Raises CaptureError where the model cannot be captured whole, InputError where the option does not fit."""
        from .capture import capture  # seconds of imports, which a kept capture does without

        dynamic = "none" if dynamic_shapes is False or dynamic_shapes is None else dynamic_shapes
        further = [(s.args, s.kwargs) for s in more]
        return cls(capture(model, sample.args, sample.kwargs, dynamic=dynamic, more_samples=further))

    @property
    def captured(self) -> Captured:
        return self._captured

    @property
    def pure_text(self) -> str:
        """The text with state written to fresh memory: what a reference runs, which must leave the state alone."""
        return self.text.replace(" = kpt.write_(", " = aten.index_copy(")

    def _flatten_ordered(self, args: tuple, kwargs: dict[str, Any]) -> list[torch.Tensor]:
        tensors = self._captured.inputs.flatten(args, kwargs)
        return [tensors[i] for i in self._order]

    def flatten(self, sample: Sample) -> list[torch.Tensor]:
        return self.flatten_call(sample.args, sample.kwargs)

    def form(self, args: tuple, kwargs: dict[str, Any]) -> tuple | None:
        """InputTree.form with the tensors in graph order."""
        form = self._captured.inputs.form(args, kwargs)
        if form is None or self._order is None:
            return form
        return *form[:2], tuple(form[2][i] for i in self._order), form[3]

    def sample_of(self, tensors: list[torch.Tensor]) -> Sample:
        """The sample's call with other tensors, given in graph order."""
        leaves = list(tensors)
        if self._order is not None:
            for value, position in zip(tensors, self._order, strict=True):
                leaves[position] = value
        args, kwargs = self._captured.inputs.replace(leaves)
        return Sample(tuple(args), dict(kwargs))

    def shapes(self) -> dict[str, Any]:
        """Inputs with their sizes and the bounds of the symbols, for the report."""
        return {
            "inputs": dict(zip(self.input_names, self.input_dims, strict=True)),
            "bounds": {s.name: [s.lo, s.hi] for s in self.symbols.values()},
        }

    def without_size_one(self, names: list[str]) -> Program:
        """The same program that refuses size 1 for these symbols: there the model does something else."""
        captured = dataclasses.replace(self._captured)
        symbols = []
        for s in captured.symbols:
            if s.name in names:
                head = f"sym {s.name} in [{s.lo}, "
                captured.text = captured.text.replace(head, f"sym {s.name} in [2, ", 1)
                s = dataclasses.replace(s, lo=2, assumed_one=False)
            symbols.append(s)
        captured.symbols = symbols
        return Program(captured)

    # ---- weights --------------------------------------------------------------------------------------------------

    def weights_in(self, model: torch.nn.Module) -> list[Watched]:
        """Every place in `model` that holds a weight of the graph: a tied weight has several."""
        index = {id(w.tensor): i for i, w in enumerate(self.weights)}
        found: list[Watched] = []
        for module in model.modules():
            for holder in (module._parameters, module._buffers):
                for name, tensor in holder.items():
                    if tensor is not None and id(tensor) in index:
                        found.append((holder, name, tensor, index[id(tensor)]))
        return found

    def rebind(self, model: torch.nn.Module) -> Program:
        """The same program on the weights of another module of the same structure."""
        weights = []
        for w in self.weights:
            if w.module is None:
                weights.append(w)
                continue
            owner, _, attribute = w.fqn.rpartition(".")
            module = model.get_submodule(owner)
            weights.append(dataclasses.replace(w, module=module, tensor=getattr(module, attribute)))
        return Program(dataclasses.replace(self._captured, weights=weights, text=self.text))

    def skeleton(self, model: torch.nn.Module) -> torch.nn.Module:
        """Empty modules that hold the graph's weights under the names they have in `model`, tied ones included."""
        kept = {id(w.tensor) for w in self.weights if w.module is not None}
        persistent = set(model.state_dict(keep_vars=True))
        root = torch.nn.Module()
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if id(parameter) in kept:
                owner, _, attribute = name.rpartition(".")
                _container(root, owner).register_parameter(attribute, parameter)
        for name, buffer in model.named_buffers(remove_duplicate=False):
            if id(buffer) in kept:
                owner, _, attribute = name.rpartition(".")
                _container(root, owner).register_buffer(attribute, buffer, persistent=name in persistent)
        return root.eval()


def _dims(text: str) -> list[int | str]:
    return [int(word) if word.isdigit() else word for word in re.split(r", (?![^(]*\))", text) if word]


def _container(root: torch.nn.Module, path: str) -> torch.nn.Module:
    for word in path.split(".") if path else ():
        if word not in root._modules:
            root.add_module(word, torch.nn.Module())
        root = root._modules[word]
    return root

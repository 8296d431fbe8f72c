# SPDX-License-Identifier: Apache-2.0
"""What a measurement is of: the text of the captured graph, shapes, dtypes, device, versions."""

from __future__ import annotations

import re
from typing import Any

import torch

from .. import __version__, _native
from ..errors import KernelPyTorchError
from ..module import OptimizedModule
from ..program import Program
from ..samples import Sample
from .store import key_of, machine

# What the text form says of where a node comes from: the same model has it another way after an edit of a file.
_ORIGIN = re.compile(r'  @ "(?:[^"\\]|\\.)*"(?: "(?:[^"\\]|\\.)*")?$', re.MULTILINE)


def graph_text(model: torch.nn.Module, sample: Sample) -> str:
    """The graph as captured, without the lines of code it comes from; of an optimised module that of its original, so
    that a better plan is still the same benchmark. A model that cannot be captured is known by its modules and the
    shapes of its weights, under a head that no graph has."""
    original = model
    if isinstance(model, OptimizedModule):
        if model._released:
            return _text(model._program)
        original = model._original
    try:
        return _text(Program.capture(original, sample, None, []))
    except KernelPyTorchError:
        weights = "\n".join(f"{n} {t.dtype} {list(t.shape)}" for n, t in original.state_dict().items())
        return f"not captured\n{original}\n{weights}"


def _text(program: Program) -> str:
    return _ORIGIN.sub("", _native.canonical(program.text))


def device_facts(sample: Sample) -> tuple[dict[str, Any], dict[str, Any]]:
    """(device, versions) of a measurement of this sample: the processor and its threads, or the GPU."""
    device, versions = machine()
    versions |= {"torch": torch.__version__, "kernel_pytorch": __version__}
    if any(t.is_cuda for t in sample.tensors()):
        properties = torch.cuda.get_device_properties(0)
        device |= {"gpu": properties.name, "sms": properties.multi_processor_count}
        versions |= {"cuda": torch.version.cuda}
    return device | {"threads": torch.get_num_threads()}, versions


def key(system: str, graph: str, sample: Sample, device: dict[str, Any], versions: dict[str, Any]) -> str:
    """The key of a system on a graph."""
    tensors = sample.tensors()
    shapes, dtypes = [list(t.shape) for t in tensors], [str(t.dtype).removeprefix("torch.") for t in tensors]
    return key_of(f"system {system}\n{graph}", shapes, dtypes, device, versions)

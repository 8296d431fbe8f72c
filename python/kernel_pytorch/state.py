# SPDX-License-Identifier: Apache-2.0
"""Runs the original for inference and leaves no trace: mode, buffers, gradients and random state come back as they
were."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterable, Iterator

import torch

_MODE_LOCK = threading.RLock()  # mode flags are shared by every caller of a model


@contextlib.contextmanager
def eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """Sets eval() where the root is in train mode and puts every module's own flag back. Flags of a root that is
    already in eval mode are the user's choice and stay."""
    if not model.training:
        yield
        return
    with _MODE_LOCK:
        flags = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            yield
        finally:
            for module, flag in flags:
                module.training = flag


@contextlib.contextmanager
def kept(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """After: these tensors hold what they held before, where they are."""
    held = [(t, t.detach().clone(), _version(t)) for t in tensors if not t.is_meta]
    try:
        yield
    finally:
        for tensor, saved, version in held:
            if version is None or tensor._version != version:
                with torch.inference_mode() if tensor.is_inference() else torch.no_grad():
                    tensor.copy_(saved)


@contextlib.contextmanager
def untouched(model: torch.nn.Module) -> Iterator[None]:
    """Inside: inference mode of the model, no gradients. After: nothing of the model or the random state has
    changed."""
    gradients = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    gpu_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        with kept(model.buffers()), eval_mode(model), torch.no_grad():
            yield
    finally:
        torch.set_rng_state(torch_state)
        if gpu_states:
            torch.cuda.set_rng_state_all(gpu_states)
        random.setstate(python_state)
        for parameter, gradient, requires in gradients:
            parameter.grad = gradient
            parameter.requires_grad_(requires)


def _version(tensor: torch.Tensor) -> int | None:
    """Torch's count of edits in place; inference tensors have none."""
    return None if tensor.is_inference() else tensor._version

# SPDX-License-Identifier: Apache-2.0
"""A training step, the same for each system: forward, backward, AdamW. The loss is the mean square of the outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from .systems import Work, tensors_of


def step(work: Work, wrap: Callable[[Any], Callable[..., Any]] = lambda model: model) -> Callable[[], torch.Tensor]:
    """A function that makes one step on a copy of the model and returns its loss; `wrap` compiles the forward."""
    model = copy.deepcopy(work.model).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # else no two systems compute the same loss
    forward = wrap(model)
    # A rate of 0 costs the same and leaves the weights as they are: every step has the loss that the reference has.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)

    def run() -> torch.Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            outputs = tensors_of(forward(*work.sample.args, **work.sample.kwargs))
            loss = sum(t.float().square().mean() for t in outputs)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return run

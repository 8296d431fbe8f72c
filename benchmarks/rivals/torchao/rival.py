# SPDX-License-Identifier: Apache-2.0
"""torchao with torch.compile: weights and activations in fp8 or int8, scales found at each call."""

import copy
import os
from pathlib import Path
from typing import Any

import torch

from kernel_pytorch.benchmark.compiling import inductor_cache, own_code
from kernel_pytorch.benchmark.systems import Built, Work, inference_only, needs

VARIANTS = ("fp8", "int8")


def missing(variant: str, work: Work) -> str | None:
    if variant == "fp8" and (work.device != "cuda" or torch.cuda.get_device_capability() < (8, 9)):
        return "fp8 needs a GPU of compute capability 8.9"
    return needs("torchao") or inference_only(work)


def build(variant: str, work: Work) -> Built:
    from torchao import quantization

    config = (
        quantization.Float8DynamicActivationFloat8WeightConfig(granularity=quantization.PerRow())
        if variant == "fp8"
        else quantization.Int8DynamicActivationInt8WeightConfig()
    )
    model = copy.deepcopy(work.model)
    # As in torchao's own examples: the head of a language model stays as it is.
    quantization.quantize_(
        model, config, filter_fn=lambda m, name: isinstance(m, torch.nn.Linear) and "lm_head" not in name
    )
    return _compiled(model, work, work.folder / f"torchao-{variant}-{len(os.listdir(work.folder))}")


def _compiled(model: torch.nn.Module, work: Work, folder: Path) -> Built:
    with inductor_cache(folder), work.mode():
        compiled = torch.compile(own_code(model), dynamic=False)

        def call() -> Any:
            return compiled(*work.sample.args, **work.sample.kwargs)

        call()
    return Built(call, reload=lambda: _compiled(model, work, folder))

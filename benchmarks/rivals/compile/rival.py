# SPDX-License-Identifier: Apache-2.0
"""torch.compile in its three modes, shapes fixed. Each first build has a new cache folder, so it is cold."""

import os
import sys
from typing import Any

import torch

from kernel_pytorch.benchmark import train
from kernel_pytorch.benchmark.compiling import inductor_cache, own_code
from kernel_pytorch.benchmark.systems import Built, Work

VARIANTS = ("", "reduce-overhead", "max-autotune")


def missing(variant: str, work: Work) -> str | None:
    if variant == "reduce-overhead" and work.device == "cpu":
        return "CUDA graphs: on a CPU the same as compile"
    return None


def build(variant: str, work: Work) -> Built:
    folder = work.folder / f"inductor-{variant or 'default'}-{len(os.listdir(work.folder))}"
    return _make(variant, work, folder)


def _make(variant: str, work: Work, folder: Any) -> Built:
    mode = variant or "default"
    first = "torch._inductor.compile_fx" not in sys.modules
    notes = ["the first compile of the process: cold holds its imports, too"] if first else []
    _print_no_choices()
    with inductor_cache(folder), work.mode():
        if work.kind == "train":
            call = train.step(work, lambda model: torch.compile(own_code(model), mode=mode, dynamic=False))
        else:
            compiled = torch.compile(own_code(work.model), mode=mode, dynamic=False)

            def call() -> Any:
                return compiled(*work.sample.args, **work.sample.kwargs)

        call()
    return Built(call, reload=lambda: _make(variant, work, folder), notes=notes)


def _print_no_choices() -> None:
    """max-autotune would print what it tried into the live table."""
    from torch._inductor import config, select_algorithm

    select_algorithm.PRINT_AUTOTUNE = False
    config.max_autotune_report_choices_stats = False

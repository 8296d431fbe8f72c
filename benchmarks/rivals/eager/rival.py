# SPDX-License-Identifier: Apache-2.0
"""PyTorch as it is; on the GPU also inside one CUDA graph."""

from kernel_pytorch.benchmark import train
from kernel_pytorch.benchmark.clock import graphed
from kernel_pytorch.benchmark.systems import Built, Work

VARIANTS = ("", "graph")


def missing(variant: str, work: Work) -> str | None:
    if variant == "graph" and (work.device != "cuda" or work.kind == "train"):
        return "CUDA graphs are for inference on a GPU"
    return None


def build(variant: str, work: Work) -> Built:
    if work.kind == "train":
        return Built(train.step(work))
    with work.mode():
        return Built(graphed(work.call) if variant == "graph" else work.call)

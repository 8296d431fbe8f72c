# SPDX-License-Identifier: Apache-2.0
"""The suites: rows by name. A row is data; models and their inputs are built by benchmarks/models/zoo.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import input_error

BOTH, CPU, GPU = ("cpu", "cuda"), ("cpu",), ("cuda",)


@dataclass(frozen=True)
class Row:
    """A model, a shape and a dtype. `shape` is what the model's inputs are made from."""

    name: str
    model: str
    shape: tuple[int, ...]
    dtype: str = "fp32"
    devices: tuple[str, ...] = BOTH
    kind: str = "model"  # model, train, kernel

    def shape_text(self) -> str:
        return "x".join(map(str, self.shape))


@dataclass(frozen=True)
class Suite:
    """`systems`: what is compared unless the caller says otherwise; () is everything there is."""

    name: str
    rows: tuple[Row, ...]
    systems: tuple[str, ...] = ()
    about: str = ""


def _gpu(name: str, model: str, *shape: int) -> Row:
    return Row(name, model, shape, "bf16", GPU)


def _cpu(name: str, model: str, *shape: int) -> Row:
    return Row(name, model, shape, "fp32", CPU)


_ENCODERS = (
    _cpu("MiniLM 1x16", "minilm", 1, 16),
    _cpu("MiniLM 1x128", "minilm", 1, 128),
    _cpu("MiniLM 8x128", "minilm", 8, 128),
    _cpu("MiniLM 32x128", "minilm", 32, 128),
    _cpu("BERT-base 32x128", "bert_base", 32, 128),
    _gpu("BERT-large 32x128", "bert_large", 32, 128),
    _gpu("BERT-large 32x512", "bert_large", 32, 512),
)
_DECODERS = (
    _cpu("GPT-2 small shape 4x64", "gpt2_small", 4, 64),
    _cpu("Llama small shape 4x64", "llama_small", 4, 64),
    _cpu("GPT-2 medium 1x128", "gpt2_medium", 1, 128),
    _gpu("GPT-2 medium 8x1024", "gpt2_medium", 8, 1024),
    _gpu("Llama-3-8B shape, prefill 4x2048", "llama_8b", 4, 2048),
    _gpu("Llama-3-8B shape, decode b16, 2048 cached", "llama_8b_decode", 16, 2048),
)
_VISION = (
    _cpu("CNN 8x64x64", "cnn", 8, 64),
    _cpu("ViT small shape b4", "vit_small", 4, 96),
    _cpu("ResNet-50 b2", "resnet50", 2, 224),
    _gpu("ViT-L/16 b32", "vit_large", 32, 224),
    _gpu("ResNet-50 b64", "resnet50", 64, 224),
)
_LATENCY = (
    _cpu("MiniLM 1x16", "minilm", 1, 16),
    Row("MiniLM 1x128", "minilm", (1, 128)),
    Row("BERT-base 1x128", "bert_base", (1, 128)),
    Row("ViT-L b1", "vit_large", (1, 224)),
    Row("ResNet-50 b1", "resnet50", (1, 224)),
    Row("GPT-2 medium 1x128", "gpt2_medium", (1, 128)),
)
_RAGGED = (
    Row("MiniLM 8 sentences", "minilm_sentences", (8,)),
    Row("MiniLM 32 sentences", "minilm_sentences", (32,)),
    Row("BERT-base 32 sentences", "bert_base_sentences", (32,)),
)
_TRAIN = (
    Row("train step BERT small shape 4x64, AdamW", "bert_small", (4, 64), "fp32", CPU, "train"),
    Row("train step GPT-2 medium 8x1024, AdamW", "gpt2_medium", (8, 1024), "bf16", GPU, "train"),
    Row("train step Llama-1B shape 4x2048, bf16", "llama_1b", (4, 2048), "bf16", GPU, "train"),
)


def _kernel(name: str, cpu: tuple[int, ...], gpu: tuple[int, ...]) -> tuple[Row, Row]:
    return tuple(
        Row(f"{name} {'x'.join(map(str, shape))}", name, shape, dtype, devices, "kernel")
        for shape, dtype, devices in ((cpu, "fp32", CPU), (gpu, "bf16", GPU))
    )


# CPU: the shapes of MiniLM and BERT-base at 8x128. GPU: those of BERT-large 32x128 and of an 8 B decoder.
_KERNELS = (
    *_kernel("linear", (1024, 1536, 384), (4096, 4096, 1024)),
    *_kernel("linear_gelu", (1024, 3072, 768), (4096, 4096, 1024)),
    *_kernel("attention", (8, 12, 128, 32), (32, 16, 128, 64)),
    *_kernel("attention_causal", (4, 8, 256, 64), (4, 32, 2048, 128)),
    *_kernel("layer_norm", (4096, 768), (8192, 4096)),
    *_kernel("add_layer_norm", (4096, 768), (8192, 4096)),
    *_kernel("rms_norm", (4096, 768), (8192, 4096)),
    *_kernel("softmax", (4096, 512), (8192, 4096)),
    *_kernel("gelu", (4096, 3072), (8192, 8192)),
    *_kernel("swiglu", (4096, 2048), (8192, 14336)),
    *_kernel("embedding", (4096, 768), (8192, 4096)),
    *_kernel("conv", (4, 64, 56), (64, 64, 56)),
)
# The rows by which the GPU is judged: large models, then batch 1.
_GPU_ROWS = (
    *(r for rows in (_ENCODERS, _DECODERS, _VISION) for r in rows if r.devices == GPU),
    *(replace(r, dtype="bf16", devices=GPU) for r in _LATENCY if r.devices == BOTH),
)
_GPU_SYSTEMS = ("eager", "compile", "compile:reduce-overhead", "compile:max-autotune", "ours:balanced")
_QUICK = (
    Row("MiniLM 1x16", "minilm", (1, 16)),
    Row("MiniLM 1x128", "minilm", (1, 128)),
    Row("CNN 8x64x64", "cnn", (8, 64)),
    Row("MLP 32x256", "mlp", (32,)),
)

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("quick", _QUICK, ("eager", "compile", "onnxruntime", "openvino", "ours:conservative"), "two minutes"),
        Suite("encoders", _ENCODERS, about="text encoders"),
        Suite("decoders", _DECODERS, about="text decoders, prefill and one step"),
        Suite("vision", _VISION, about="image models"),
        Suite("latency", _LATENCY, about="batch 1"),
        Suite("ragged", _RAGGED, about="real sentences, padded to the longest"),
        Suite("train", _TRAIN, about="forward, backward and optimiser step"),
        Suite("gpu", _GPU_ROWS, _GPU_SYSTEMS, "bf16 on one GPU, large models and batch 1"),
        Suite("kernels", _KERNELS, about="one operator at a time, against the measured ceiling"),
    )
}
# Names of the roadmap. The rows of every suite that a name stands for run as one suite.
ALIASES: dict[str, tuple[str, ...]] = {
    "transformers": ("encoders", "decoders"),
    "optimization": ("encoders", "decoders", "vision"),
}


def suite(name: str) -> Suite:
    """By name or alias; InputError for another."""
    if name in SUITES:
        return SUITES[name]
    if name in ALIASES:
        parts = [SUITES[part] for part in ALIASES[name]]
        return Suite(name, tuple(row for part in parts for row in part.rows), about=" + ".join(ALIASES[name]))
    raise input_error("benchmark", f"the suite {name!r}", "one that exists", ", ".join([*SUITES, *ALIASES]))


def on_device(suite: Suite, device: str) -> Suite:
    """The suite with each row in its dtype for the device: rows for both run in bf16 on a GPU. Rows of another device
    stay: they are shown as not here."""
    rows = [replace(r, dtype="bf16") if device == "cuda" and r.devices == BOTH else r for r in suite.rows]
    return replace(suite, rows=tuple(rows))

# SPDX-License-Identifier: Apache-2.0
"""Architectures of transformers and torchvision at the sizes of their papers, or of a small published model of the
family where the paper's has billions of weights. Weights are random; made on the GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from . import normal
from .zoo import Entry, ids, image, pixels, text

Maker = Callable[[], nn.Module]


def where() -> torch.device:
    """Where weights are made: drawing a billion numbers takes a GPU milliseconds."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hugging(kind: str, **sizes: object) -> Maker:
    """A bare model of transformers by the name of its configuration; without `sizes` those of its paper."""

    def make() -> nn.Module:
        from transformers import AutoConfig, AutoModel

        return AutoModel.from_config(AutoConfig.for_model(kind, **sizes)).eval()

    return make


def encoder(kind: str, part: str, **sizes: object) -> Maker:
    """The encoder of a model that has two halves, with the inputs of an encoder."""

    def make() -> nn.Module:
        import transformers

        config = transformers.AutoConfig.for_model(kind, **sizes)
        return getattr(transformers, part)(config).eval() if part else hugging(kind, **sizes)().encoder.eval()

    return make


def vision(name: str) -> Maker:
    """A model of torchvision."""

    def make() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, weights=None).eval()

    return make


def _decoder(kind: str, hidden: int, layers: int, heads: int, groups: int, inner: int, words: int) -> Maker:
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    return hugging(
        kind,
        **sizes,
        num_key_value_heads=groups,
        intermediate_size=inner,
        vocab_size=words,
        head_dim=hidden // heads,
        use_cache=False,
        pad_token_id=0,
    )


def features(batch: int, frames: int) -> dict[str, torch.Tensor]:
    """Log-mel spectra."""
    return {"input_features": normal(batch, 80, frames)}


# Name -> how it is made, how it is called, the shape of a call.
_TEXT = {
    "roberta": hugging("roberta"),
    "distilbert": hugging("distilbert"),
    "albert": hugging("albert", hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "electra": hugging("electra", embedding_size=768, hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "mpnet": hugging("mpnet"),
    "modernbert": hugging("modernbert"),
    "t5_encoder": encoder("t5", "T5EncoderModel"),
}
_DECODERS = {
    "opt": hugging("opt", use_cache=False),
    "pythia_410m": hugging(
        "gpt_neox", hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
        use_cache=False,
    ),
    "bloom_560m": hugging("bloom", hidden_size=1024, n_layer=24, n_head=16, use_cache=False),
    "phi_1": hugging("phi", use_cache=False),
    "qwen2_500m": _decoder("qwen2", 896, 24, 14, 2, 4864, 151936),
    "gemma_small": _decoder("gemma", 1024, 12, 8, 1, 8192, 64000),
    "mistral_small": _decoder("mistral", 2048, 12, 16, 4, 7168, 32000),
}  # fmt: skip
_IMAGE = {
    "deit": hugging("deit"),
    "beit": hugging("beit"),
    "swin": hugging("swin"),
    "convnext": hugging("convnext"),
    "dinov2": hugging("dinov2"),
    "clip_vision": hugging("clip_vision_model"),
}
_TORCHVISION = (
    "mobilenet_v3_large",
    "efficientnet_b0",
    "densenet121",
    "vgg16",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "resnet18",
)

# By name; the words of the vocabularies are so few that every family has them.
ARCHITECTURES: dict[str, tuple[Entry, tuple[int, ...]]] = {
    **{name: (Entry(make, text(28000)), (8, 128)) for name, make in _TEXT.items()},
    **{name: (Entry(make, ids(28000)), (2, 256)) for name, make in _DECODERS.items()},
    **{name: (Entry(make, pixels), (8, 224)) for name, make in _IMAGE.items()},
    **{name: (Entry(vision(name), image), (8, 224)) for name in _TORCHVISION},
    "whisper_encoder": (Entry(encoder("whisper", ""), features), (2, 3000)),
}

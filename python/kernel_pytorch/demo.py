# SPDX-License-Identifier: Apache-2.0
"""`python -m kernel_pytorch.demo`: optimises the packaged MiniLM on the sentences of a file and shows what came of it.

Prints the hardware, what was fused, the kernels chosen, time before and after with its interval, the error, and how
similar some sentence pairs are to both models. Exit code 1 where the two models disagree on a similarity.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .cli import show_progress
from .errors import KernelPyTorchError, input_error

_MODEL = "all-MiniLM-L6-v2"
_SENTENCES = Path(__file__).resolve().parents[2] / "examples" / "sentences.txt"
# Similarities are printed with four digits; the two models must agree on them.
_AGREE = 5e-5


def read_sentences(path: Path) -> tuple[list[str], list[tuple[int, int]]]:
    """Sentences of a UTF-8 file, one a line or two as `a | b`, and the index pairs of the latter. Empty lines and
    comments (#) do not count. InputError where there is no pair."""
    if not path.is_file():
        raise input_error("demo", f"no file {path}", "a text file with a sentence a line", "--sentences FILE")
    sentences: list[str] = []
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        parts = [part.strip() for part in line.split(" | ")]
        if len(parts) == 2:
            pairs.append((len(sentences), len(sentences) + 1))
        sentences += parts
    if not pairs:
        raise input_error("demo", f"no line `a | b` in {path}", "a pair to compare", "another file")
    return sentences, pairs


def embed(model: Any, batch: dict[str, Any]) -> Any:
    """Sentence embeddings as the model's card has it: mean over real tokens, then length 1. [sentences, width]."""
    import torch

    with torch.inference_mode():
        hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def run(sentences_file: Path, level: str) -> int:
    sentences, pairs = read_sentences(sentences_file)
    from transformers import AutoTokenizer

    from .models import PACKAGED, load_folder
    from .optimize import auto_optimize

    folder = PACKAGED[_MODEL].path()
    model = load_folder(folder)
    tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True)(sentences, padding=True, return_tensors="pt")
    batch = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    rows, length = batch["input_ids"].shape
    print(f"{_MODEL}: {rows} sentences of {sentences_file.name}, padded to {length} tokens")
    with show_progress(quiet=False) as progress:
        fast = auto_optimize(model, batch, optimization_level=level, progress=progress)
    fast.report.model = _MODEL
    print(_hardware(fast.report.hardware))
    print(fast.report)
    return _similarities(sentences, pairs, embed(model, batch), embed(fast, batch))


def _hardware(facts: dict[str, Any]) -> str:
    return "hardware: " + ", ".join(f"{name} {value}" for name, value in facts.items() if value not in (0, "", False))


def _similarities(sentences: list[str], pairs: list[tuple[int, int]], before: Any, after: Any) -> int:
    print("\n  original  optimised  sentences")
    worst = 0.0
    for i, j in pairs:
        old, new = float(before[i] @ before[j]), float(after[i] @ after[j])
        worst = max(worst, abs(old - new))
        print(f"  {old:8.4f}  {new:9.4f}  {_cut(sentences[i])} | {_cut(sentences[j])}")
    print(f"  largest difference {worst:.1e}")
    return 0 if worst <= _AGREE else 1


def _cut(text: str) -> str:
    return text if len(text) <= 44 else text[:43] + "…"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kernel_pytorch.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sentences", type=Path, default=_SENTENCES, help="text file, a sentence a line")
    parser.add_argument("--level", default="auto", help="optimisation level (default: the setting)")
    options = parser.parse_args(arguments)
    try:
        return run(options.sentences, options.level)
    except KernelPyTorchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch profile`. Exit codes: 0 done, 1 an error, 2 wrong usage."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import input_error

_MODES = ("summary", "detailed", "memory", "trace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", "-m", required=True, help="all-MiniLM-L6-v2, package.module:callable or a .pt2 file")
    parser.add_argument("--input-shape", metavar="8x128", help="sizes of the sample")
    parser.add_argument("--level", "-l", default="conservative", choices=("conservative", "balanced", "aggressive"))
    parser.add_argument("--threads", type=int, help="threads of one call (default: PyTorch's)")
    parser.add_argument("--mode", choices=_MODES, default="summary", help="trace writes a file for ui.perfetto.dev")
    parser.add_argument("--iterations", type=int, default=50, help="calls that are timed (50)")
    parser.add_argument("--sort-by", choices=("time", "bytes", "flops", "percent"), default="time", help="of detailed")
    parser.add_argument("--top-n", type=int, default=1000, help="at most so many lines")
    parser.add_argument("--output", "-o", type=Path, help="file of the trace (default trace.json), of other modes JSON")
    parser.add_argument("--html", type=Path, help="also write a page")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import torch

    from ..models import load, parse_shape
    from ..samples import normalise
    from . import collect, page, roofline, text, trace

    if options.iterations < 3:
        raise input_error("profile", f"--iterations {options.iterations}", "at least 3", "--iterations 50")
    if options.threads is not None:
        if options.threads < 1:
            raise input_error("profile", f"--threads {options.threads}", "at least 1", "--threads 2")
        torch.set_num_threads(options.threads)
    threads = torch.get_num_threads()
    loaded = load(options.model, [parse_shape(options.input_shape)] if options.input_shape else None)
    sample = (loaded.samples or normalise(loaded.model, None))[0]
    model = loaded.model if options.model.endswith(".pt2") else loaded.model.eval()
    found = collect.collect(
        model, sample, loaded.name, options.level, threads, options.iterations, roofline.measure(threads)
    )
    if options.html:
        options.html.write_text(page.page(found), encoding="utf-8")
    if options.mode == "trace":
        path = options.output or Path("trace.json")
        path.write_text(json.dumps(trace.trace(found)), encoding="utf-8")
        print("\n".join([*text.head(found), f"written: {path} (open it at ui.perfetto.dev)"]))
        return 0
    if options.output:
        options.output.write_text(json.dumps(found.to_dict()) + "\n", encoding="utf-8")
    shown = {
        "summary": lambda: text.summary(found, options.top_n),
        "detailed": lambda: text.detailed(found, options.top_n, options.sort_by),
        "memory": lambda: text.memory(found, options.top_n),
    }
    print(shown[options.mode]())
    if options.html:
        print(f"written: {options.html}")
    return 0

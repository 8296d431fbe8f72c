# SPDX-License-Identifier: Apache-2.0
"""BERT-base at 100 random lengths: python lengths.py CACHE_FOLDER. Part `lengths` of test_gpu.py."""

import json
import pathlib
import random
import statistics
import sys
import time

import torch
from models import zoo

import kernel_pytorch as kpt

torch.set_grad_enabled(False)
cache = pathlib.Path(sys.argv[1])
model, sample = zoo.build("bert_base", (1, 128))


def to(values):
    return {name: t.cuda() for name, t in values.items()}


model, sample = model.to("cuda", torch.bfloat16), to(sample)
fast = kpt.auto_optimize(model, sample)
assert fast.report.kept, fast.report.reason


def compiled():
    return sum(1 for f in cache.rglob("*") if f.suffix == ".cubin")


random.seed(0)
calls = []
for length in random.sample(range(8, 513), 100):
    inputs = to(zoo.text(30522)(1, length))
    torch.cuda.synchronize()
    start = time.perf_counter()
    fast(**inputs)
    torch.cuda.synchronize()
    calls.append([length, (time.perf_counter() - start) * 1e3, compiled()])
classes = {}
for length, ms, _ in calls:
    classes.setdefault(length // 64, []).append(ms)
ratios = [ms / statistics.median(classes[length // 64]) for length, ms, _ in calls]
found = {
    "compiles_after_five": calls[-1][2] - calls[4][2],
    "above_twice": sum(r > 2 for r in ratios),
    "worst_ratio": max(ratios),
    "median_ms": statistics.median(ms for _, ms, _ in calls),
    "worst_ms": max(ms for _, ms, _ in calls),
    "by_original": dict(fast.report.calls_to_original),
    "calls": [[n, round(ms, 3)] for n, ms, _ in calls],
}
print(f"RESULT{json.dumps(found)}")

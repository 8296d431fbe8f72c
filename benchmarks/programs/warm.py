# SPDX-License-Identifier: Apache-2.0
"""Seconds from a model on the GPU to the first result, the import of this package among them: python warm.py MODEL
SHAPE. Part `warm` of test_gpu.py, which runs it twice: the second process finds what the first left in its cache."""

import json
import sys
import time

import torch
from models import zoo


def to_gpu(x):
    return x.to("cuda", torch.bfloat16 if x.is_floating_point() else x.dtype) if torch.is_tensor(x) else x


model, inputs = zoo.build(sys.argv[1], tuple(map(int, sys.argv[2].split("x"))))
model = model.to("cuda", torch.bfloat16)
kwargs = {name: to_gpu(x) for name, x in inputs.items()} if isinstance(inputs, dict) else {}
args = () if kwargs else tuple(to_gpu(x) for x in (inputs if isinstance(inputs, (tuple, list)) else (inputs,)))
torch.cuda.synchronize()
start = time.perf_counter()
import kernel_pytorch as kpt  # noqa: E402

with torch.inference_mode():
    fast = kpt.auto_optimize(model, kwargs or args)
    fast(*args, **kwargs)
torch.cuda.synchronize()
seconds = time.perf_counter() - start
assert fast.report.kept, fast.report.reason
print("RESULT" + json.dumps({"first_result_s": seconds, "stages_s": fast.report.compile_seconds}))

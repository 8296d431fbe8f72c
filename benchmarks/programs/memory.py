# SPDX-License-Identifier: Apache-2.0
"""The most that calls hold, eager and ours: python memory.py MODEL SHAPE. Part `memory` of test_gpu.py."""

import gc
import json
import sys

import torch
from models import zoo

import kernel_pytorch as kpt
from kernel_pytorch.benchmark.reference import to
from kernel_pytorch.samples import normalise

torch.set_grad_enabled(False)
model, inputs = zoo.build(sys.argv[1], tuple(map(int, sys.argv[2].split("x"))))
(sample,) = normalise(model, inputs)
model, sample = model.to("cuda", torch.bfloat16), to(sample, "cuda", torch.bfloat16)


def peak(called):
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()  # torch keeps them for eager's products: ours should not pay for them
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(4):
        sample.call(called)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**20


storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in model.state_dict().values()}
weights = sum(s.nbytes() for s in storages.values()) / 2**20
del storages
eager = peak(model)
fast = kpt.auto_optimize(model, sample.kwargs or sample.args, release_original=True)
del model
assert fast.report.kept, fast.report.reason
print("RESULT" + json.dumps({"weights_mb": weights, "eager_mb": eager, "ours_mb": peak(fast)}))

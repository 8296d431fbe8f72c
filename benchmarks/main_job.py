# SPDX-License-Identifier: Apache-2.0
"""The main job on this machine's CPU.

    python benchmarks/main_job.py speed|ready|memory|models|threads|overhead|shapes [--out FILE.jsonl]

speed    MiniLM fp32 at four shapes: eager, torch.compile and ours in one process, rounds A B C C B A
ready    seconds from the call of auto_optimize to the model ready, in a fresh process, by phase
memory   peak resident memory: eager, optimised with the original kept, optimised with it released (a process each)
models   small BERT, GPT-2, ViT, Llama, ResNet-50, CNN, MLP, LSTM: captured, right, paired speed
threads  8 threads calling one optimised MiniLM 10,000 times: same answers, resident memory
overhead microseconds of a call on a graph without work, from Python; beside it the same module in eager
shapes   milliseconds that a size within the bounds costs beyond a call, the first time it comes; what was compiled

Each result is one JSON line with machine, versions and raw samples.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
THREADS = 2


def setup():
    import models
    import torch
    import transformers

    import kernel_pytorch

    torch.set_num_threads(THREADS)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return torch, kernel_pytorch, models


def emit(record: dict, out: str | None) -> None:
    from kernel_pytorch.benchmark import facts

    versions = {name: facts.versions()[name] for name in ("torch", "python")}
    machine = {**facts.machine("cpu", THREADS), **versions, "commit": facts.commit(), "date": facts.today()}
    record = {**record, "machine": machine}
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with open(out, "a") as file:
            file.write(json.dumps(record) + "\n")
    shown = {k: v for k, v in record.items() if k not in ("samples_ms", "machine")}
    print(json.dumps(shown), flush=True)


def call(model, inputs):
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)


def paired(systems: dict, inputs, rounds: int) -> dict[str, list[float]]:
    """Milliseconds by system; each round runs them forwards and backwards, a sample is the mean of the two."""
    from kernel_pytorch.benchmark.rounds import time_all

    return time_all({name: partial(call, model, inputs) for name, model in systems.items()}, rounds)


def ratio(times: dict, rival: str, ours: str = "ours") -> dict:
    from kernel_pytorch.benchmark.summary import interval

    median, low, high = interval(times[ours], times[rival])
    return {"median": round(median, 4), "low": round(low, 4), "high": round(high, 4)}


def speed(args) -> None:
    torch, kpt, models = setup()
    model, _ = models.make("minilm")
    samples = [models.token_inputs(b, s) for b, s in models.MINILM_SHAPES]
    ours = kpt.auto_optimize(model, samples, optimization_level="conservative")
    print(ours.report)
    compiled = torch.compile(model, dynamic=False)
    systems = {"eager": model, "compile": compiled, "ours": ours}
    with torch.inference_mode():
        for (batch, length), inputs in zip(models.MINILM_SHAPES, samples, strict=True):
            times = paired(systems, inputs, args.rounds or (60 if batch == 1 else 16))
            medians = {name: round(statistics.median(v), 3) for name, v in times.items()}
            best = min(("eager", "compile"), key=medians.get)
            emit(
                {
                    "suite": "speed",
                    "shape": f"{batch}x{length}",
                    "ms": medians,
                    "best_rival": best,
                    "vs_best_rival": ratio(times, best),
                    "vs_eager": ratio(times, "eager"),
                    "kept": ours.report.kept,
                    "samples_ms": times,
                },
                args.out,
            )


READY = """
import sys, time, json, torch
sys.path.insert(0, {here!r})
import main_job
_, kpt, models = main_job.setup()
model, sample = models.make("minilm")
start = time.perf_counter()
fast = kpt.auto_optimize(model, sample, optimization_level="conservative")
seconds = time.perf_counter() - start
phases = fast.report.to_dict()["compile_seconds"]
print("RESULT" + json.dumps(dict(seconds=round(seconds, 2), kept=fast.report.kept, phases=phases)))
"""

MEMORY = """
import sys, json, torch
sys.path.insert(0, {here!r})
import main_job
_, kpt, models = main_job.setup()
model, sample = models.make("minilm")
mode = {mode!r}
if mode != "eager":
    samples = [models.token_inputs(b, s) for b, s in models.MINILM_SHAPES]
    model = kpt.auto_optimize(model, samples, optimization_level="conservative", release_original=mode == "released")
with torch.inference_mode():
    for _ in range(5):
        for b, s in models.MINILM_SHAPES:
            main_job.call(model, models.token_inputs(b, s))
print("RESULT" + json.dumps(dict(mode=mode, peak_mb=main_job.peak_mb(), now_mb=main_job.resident_mb())))
"""


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def resident_mb() -> float:
    from kernel_pytorch.benchmark import meters

    return round(meters.resident_mb(), 1)


def in_fresh_process(code: str) -> dict:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT"):
            return json.loads(line[6:])
    raise SystemExit(done.stderr[-2000:])


def ready(args) -> None:
    setup()
    here = str(Path(__file__).parent)
    runs = [in_fresh_process(READY.format(here=here)) for _ in range(args.rounds or 3)]
    emit({"suite": "ready", "seconds": statistics.median(r["seconds"] for r in runs), "runs": runs}, args.out)


def memory(args) -> None:
    setup()
    here = str(Path(__file__).parent)
    modes = ("eager", "kept", "released")
    runs = [
        {mode: in_fresh_process(MEMORY.format(here=here, mode=mode)) for mode in modes} for _ in range(args.rounds or 3)
    ]
    peak = {mode: statistics.median(run[mode]["peak_mb"] for run in runs) for mode in modes}
    emit(
        {
            "suite": "memory",
            "peak_mb": peak,
            "kept_over_eager": round(peak["kept"] / peak["eager"], 3),
            "released_over_eager": round(peak["released"] / peak["eager"], 3),
            "runs": runs,
        },
        args.out,
    )


def models_suite(args) -> None:
    torch, kpt, models = setup()
    for name in args.only or models.MODELS:
        model, sample = models.make(name)
        fast = kpt.auto_optimize(model, sample, optimization_level="conservative")
        report = fast.report.to_dict()
        with torch.inference_mode():
            times = paired({"eager": model, "ours": fast}, sample, args.rounds or 15)
        emit(
            {
                "suite": "models",
                "model": name,
                "kept": report["kept"],
                "reason": report["reason"],
                "error": report["error"],
                "fallbacks": sorted({f["op"] for f in report["fallbacks"]}),
                "vs_eager": ratio(times, "eager"),
                "ms": {k: round(statistics.median(v), 3) for k, v in times.items()},
                "samples_ms": times,
            },
            args.out,
        )


def threads(args) -> None:
    torch, kpt, models = setup()
    model, _ = models.make("minilm")
    inputs = [models.token_inputs(1, 8 + i) for i in range(8)]
    fast = kpt.auto_optimize(model, models.token_inputs(2, 16), optimization_level="conservative")
    calls = (args.rounds or 10000) // 8
    with torch.inference_mode():
        expected = [call(fast, x).last_hidden_state.clone() for x in inputs]
    wrong, resident = [], []

    def caller(index: int) -> None:
        with torch.inference_mode():
            for i in range(calls):
                which = (index + i) % 8
                if not torch.equal(call(fast, inputs[which]).last_hidden_state, expected[which]):
                    wrong.append((index, i))
                if index == 0 and i % (calls // 5) == 0:
                    resident.append(resident_mb())

    pool = [threading.Thread(target=caller, args=(i,)) for i in range(8)]
    start = time.perf_counter()
    for t in pool:
        t.start()
    for t in pool:
        t.join()
    emit(
        {
            "suite": "threads",
            "calls": calls * 8,
            "wrong": len(wrong),
            "resident_mb": [*resident, resident_mb()],
            "seconds": round(time.perf_counter() - start, 1),
            "kept": fast.report.kept,
        },
        args.out,
    )


def plan_of(kpt, model, args: tuple):
    """The plan as a module, whatever the judge would say of its speed: what a call costs is asked here."""
    from kernel_pytorch.module import OptimizedModule
    from kernel_pytorch.plan import Choices, compile_plan
    from kernel_pytorch.program import Program
    from kernel_pytorch.report import Report
    from kernel_pytorch.samples import Sample

    program = Program.capture(model.eval(), Sample(args), "auto", [])
    plan = compile_plan(program, Choices(level="conservative", threads=THREADS))
    return OptimizedModule(model, program, plan, Report(type(model).__name__, "conservative"), allow_fallback=False)


def overhead(args) -> None:
    torch, kpt, _ = setup()

    class Relu(torch.nn.Module):
        def forward(self, x):
            return x.relu()

    x = torch.randn(2, 4)
    with torch.inference_mode():
        for name, model in {"empty": torch.nn.Identity(), "one operator on 8 numbers": Relu()}.items():
            times = paired({"eager": model.eval(), "ours": plan_of(kpt, model, (x,))}, (x,), args.rounds or 200)
            us = {k: round(statistics.median(v) * 1000, 2) for k, v in times.items()}
            worst = round(max(times["ours"]) * 1000, 2)
            emit({"suite": "overhead", "graph": name, "us": us, "max_us": worst, "samples_ms": times}, args.out)


def shapes(args) -> None:
    torch, kpt, models = setup()
    model, _ = models.make("minilm")
    fast = kpt.auto_optimize(model, models.token_inputs(2, 16), optimization_level="conservative")
    native = fast._plan.native
    before = native.counters()
    added, planned = [], []
    with torch.inference_mode():
        for i in range(args.rounds or 40):
            inputs = models.token_inputs(1 + i % 3, 3 + i)  # none was seen before
            seconds = []
            for _ in range(6):
                start = time.perf_counter()
                call(fast, inputs)
                seconds.append(time.perf_counter() - start)
            added.append(1000 * (seconds[0] - statistics.median(seconds[1:])))
            # The planning alone, in processor time of this thread: what others run on this machine is not in it.
            tensors = fast._flatten((), models.token_inputs(1 + i % 3, 200 + i))
            start = time.thread_time()
            native.call_bytes(tensors)
            planned.append(1000 * (time.thread_time() - start))
    after = native.counters()
    emit(
        {
            "suite": "shapes",
            "added_ms": {"median": round(statistics.median(added), 3), "max": round(max(added), 3)},
            "plan_ms": {"median": round(statistics.median(planned), 3), "max": round(max(planned), 3)},
            "shapes_planned": after["shapes_planned"] - before["shapes_planned"],
            "prologue_runs": after["prologue_runs"] - before["prologue_runs"],
            "kept": fast.report.kept,
            "samples_ms": {"added": added, "plan": planned},
        },
        args.out,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    suites = {"speed": speed, "ready": ready, "memory": memory, "models": models_suite, "threads": threads}
    suites |= {"overhead": overhead, "shapes": shapes}
    parser.add_argument("suite", choices=suites)
    parser.add_argument(
        "--rounds", type=int, default=0, help="rounds (speed, models), processes (ready, memory), calls (threads)"
    )
    parser.add_argument("--only", nargs="*", help="models: names")
    parser.add_argument("--out", help="append JSON lines to this file")
    args = parser.parse_args()
    suites[args.suite](args)


if __name__ == "__main__":
    main()

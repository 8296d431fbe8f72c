# SPDX-License-Identifier: Apache-2.0
"""Do the runner's medians agree with clocks that know nothing of it?

    python benchmarks/agreement.py [--bench kpt_kernels_bench] [--tries N] [--out FILE.jsonl]

kernel   the row `linear 1024x1536x384` of the suite kernels against Google Benchmark (`make bench`)
script   the row `MiniLM 8x128` in eager against whole processes: one makes 5 calls, one 25, the difference is 20 calls

The two take turns. Each gives a median and, by bootstrap over its tries, an interval; they agree where the intervals
meet. Exit code 1 where they do not.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kernel_pytorch import _native
from kernel_pytorch.benchmark import facts

THREADS = 2
FEW, MANY = 5, 25
_SCRIPT = """
import sys
sys.path.insert(0, {here!r})
import torch
from models import zoo
torch.set_num_threads({threads})
model, inputs = zoo.build("minilm", (8, 128))
with torch.inference_mode():
    for _ in range({calls}):
        model(**inputs)
"""


def interval(ms: list[float]) -> tuple[float, float, float]:
    median, low, high = _native.bootstrap([math.log(x) for x in ms])
    return median, low, high


def by_runner(suite: str, row: str, system: str) -> float:
    """The median of one run of the runner, in ms."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "kernel_pytorch", "benchmark", "--suite", suite, "--only", row]
        command += ["--systems", system, "--device", "cpu", "--threads", str(THREADS), "--no-history", "--no-energy"]
        command += ["--no-reload", "--output", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (file,) = Path(folder).rglob("*.jsonl")
        records = [json.loads(line) for line in file.read_text().splitlines()]
    return next(r["median_ms"] for r in records if r["system"] == system)


def by_google_benchmark(program: Path) -> float:
    only = "--benchmark_filter=^linear/f32_1536x384/1024/real_time$"
    command = [str(program), only, "--benchmark_repetitions=9", "--benchmark_format=json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["benchmarks"]
    times = [b["real_time"] for b in found if b.get("run_type") == "iteration"]
    assert times and all(b["time_unit"] == "ns" for b in found), found
    return statistics.median(times) / 1e6


def by_processes() -> float:
    def seconds(calls: int) -> float:
        code = _SCRIPT.format(here=str(Path(__file__).parent), threads=THREADS, calls=calls)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start

    # Few, many, many, few: a machine that slows down meanwhile slows both.
    times = [seconds(n) for n in (FEW, MANY, MANY, FEW)]
    return (times[1] + times[2] - times[0] - times[3]) / (2 * (MANY - FEW)) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=facts.ROOT / "build-bench/src/kpt/kernels/kpt_kernels_bench")
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pairs = {
        "kernel": (
            lambda: by_runner("kernels", "linear 1024x1536x384", "ours:conservative"),
            lambda: by_google_benchmark(options.bench),
        ),
        "script": (lambda: by_runner("encoders", "MiniLM 8x128", "eager"), by_processes),
    }
    apart = 0
    for name, (runner, other) in pairs.items():
        ours, theirs = [], []
        for _ in range(options.tries):
            ours.append(runner())
            theirs.append(other())
        a, b = interval(ours), interval(theirs)
        agree = a[1] <= b[2] and b[1] <= a[2]
        apart += not agree
        told = [f"{who} {m:.3f} [{low:.3f}, {high:.3f}] ms" for who, (m, low, high) in (("runner", a), ("other", b))]
        print(f"{name}: {', '.join(told)}: {'agree' if agree else 'APART'}", flush=True)
        if options.out:
            machine = facts.machine("cpu", THREADS) | {"commit": facts.commit(), "date": facts.today()}
            line = {"suite": "agreement", "name": name, "runner_ms": ours, "independent_ms": theirs, "agree": agree}
            with options.out.open("a") as file:
                file.write(json.dumps(line | {"machine": machine}) + "\n")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())

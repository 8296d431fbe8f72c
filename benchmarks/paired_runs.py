# SPDX-License-Identifier: Apache-2.0
"""What the gate (`kernelpytorch benchmark --type regression`) does on this machine.

    python benchmarks/paired_runs.py equal|slowed [--tree FOLDER] [--out FILE.jsonl]

equal    the same build on both sides, MiniLM 1x16: how often it cries wolf. `--busy N` processes work beside it
slowed   one kernel, its new side made slower by a spin of 5 % of its time: how often that is found

Sessions start all processes anew, for equal builds differ from process to process; each session makes several
comparisons. One JSON line a session with every round.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

from kernel_pytorch.benchmark import facts, regression
from kernel_pytorch.benchmark.pairs import Job, Paired, Tree, Worker
from kernel_pytorch.tracking.verdict import REGRESSION

THREADS = 2
SPIN = 0.05
# Loads the faults of the tests (tests/faults) into a worker, in front of the linear kernel.
_PRELUDE = """
import ctypes
from kernel_pytorch import _native
_native.version()
faults = ctypes.CDLL(str(_native.find_library().parent / "libkpt_faults.so"))
faults.kpt_set_spin.argtypes = [ctypes.c_int64]
faults.kpt_set_spin({ns})
assert faults.kpt_plant(b"spin") == 0
"""


def work(seed: int) -> None:
    """A neighbour: bursts of arithmetic of uneven length, and pauses."""
    state = seed
    while True:
        state = (1103515245 * state + 12345) % 2**31
        end = time.perf_counter() + (state % 400) / 1e3
        while time.perf_counter() < end:
            sum(range(1000))
        time.sleep((state // 400 % 400) / 1e3)


def emit(record: dict, out: Path | None) -> None:
    record |= {"machine": facts.machine("cpu", THREADS) | {"commit": facts.commit(), "date": facts.today()}}
    if out:
        with out.open("a") as file:
            file.write(json.dumps(record) + "\n")


def session(baseline: Tree, fresh: Tree, job: Job, comparisons: int, threshold: float) -> list[dict]:
    found = []
    with Paired(baseline, fresh, job) as run:
        for _ in range(comparisons):
            start = time.perf_counter()
            row = regression.decide(run, threshold)
            seconds = time.perf_counter() - start
            print(f"  {row.finding.outcome:<10} {row.finding}  tolerance {row.tolerance:.1%}  "
                  f"{row.finding.rounds} rounds  {seconds:.1f} s", flush=True)  # fmt: skip
            found.append(row.to_dict() | {"seconds": seconds})
    return found


def equal(options: argparse.Namespace, tree: Tree) -> None:
    job = Job("latency", "MiniLM 1x16", "ours:conservative", THREADS)
    neighbours = [multiprocessing.Process(target=work, args=(i + 1,), daemon=True) for i in range(options.busy)]
    for process in neighbours:
        process.start()
    rows = []
    for _ in range(options.sessions):
        made = session(tree, tree, job, options.comparisons, options.threshold)
        emit({"suite": "equal", "busy": options.busy, "threshold": options.threshold, "rows": made}, options.out)
        rows += made
    for process in neighbours:
        process.terminate()
    tell("equal", rows)


def slowed(options: argparse.Namespace, tree: Tree) -> None:
    job = Job("kernels", "linear 1024x1536x384", "ours:conservative", THREADS)
    probe = Worker(tree)
    probe.start(job)
    probe.started()
    probe.warm()
    ms = sorted(probe.ms() for _ in range(15))[7]
    probe.close()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prelude = Path(folder) / "spin.py"
        prelude.write_text(_PRELUDE.format(ns=round(SPIN * ms * 1e6)))
        for _ in range(options.sessions):
            slow = Tree(tree.root, f"{SPIN:.0%} slower", prelude)
            made = session(tree, slow, job, options.comparisons, options.threshold)
            emit({"suite": "slowed", "ms": ms, "spin": SPIN, "threshold": options.threshold, "rows": made}, options.out)
            rows += made
    tell("slowed", rows)


def tell(name: str, rows: list[dict]) -> None:
    outcomes: dict[str, int] = {}
    for row in rows:
        outcome = row["finding"]["outcome"]
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    seconds = sorted(row["seconds"] for row in rows)
    print(f"{name}: {outcomes.get(REGRESSION, 0)} regressions of {len(rows)}; {outcomes}; "
          f"median {seconds[len(seconds) // 2]:.1f} s a comparison")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("equal", "slowed"))
    parser.add_argument("--tree", type=Path, default=facts.ROOT, help="the built tree (default: this one)")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--comparisons", type=int, default=5, help="of a session")
    parser.add_argument("--threshold", type=float, default=0.02)
    parser.add_argument("--busy", type=int, default=2, help="neighbours that work beside `equal`")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    {"equal": equal, "slowed": slowed}[options.what](options, Tree(options.tree.resolve(), "same build"))


if __name__ == "__main__":
    main()

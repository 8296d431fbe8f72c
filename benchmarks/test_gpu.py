# SPDX-License-Identifier: Apache-2.0
"""`make test-gpu`: what only a machine with an NVIDIA GPU can show. One JSON line for each thing that was looked at.

    python benchmarks/test_gpu.py [--build FOLDER] [--parts PART..] [--models NAME..] [--limit S] [--output FILE]

  conformance   every CUDA kernel on its cases against the f64 reference, operator by operator, and the tests of single
                kernels and of graphs (kpt_kernels_test, kpt_cuda_test)
  sanitizer     the same under compute-sanitizer memcheck, racecheck and initcheck
  models        each model: right, and not under 0.98x of eager; each in a process of its own, with an empty cache, one
                on the GPU at a time
  faults        short memory, a device that is not there, a lost context: errors, and never an answer
  lengths       BERT-base at 100 random lengths, each once: compiles after the fifth call, calls above twice the median
                of their class (lengths in the same 64)
  host          how long a call keeps the host, at batch 1: 10 us at most; beside it a call with other memory each time,
                and the replay of a CUDA graph that PyTorch made of the original
  warm          a second process, with what the first left in its cache: seconds to the first result, imports of
                kernel_pytorch included, 2 at most
  memory        the most that calls hold, weights included: eager, then ours with the original released

A machine without a GPU, or a tool that is not there, is "not checked": nothing is claimed and the exit code is 0. It is
1 where something was looked at and is not as it should be. With --limit a part ends in time and says what is left.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "benchmarks/programs"
if not any((Path(p) / "kernel_pytorch").is_dir() for p in sys.path):
    sys.path.insert(0, str(ROOT / "python"))

OK, FAILED, NOT_CHECKED, LEFT = "ok", "failed", "not checked", "left: out of time"
PARTS = ("conformance", "sanitizer", "models", "faults", "lengths", "host", "warm", "memory")
TOOLS = ("memcheck", "racecheck", "initcheck")
_FILTER = "Conformance.EveryCudaKernelAgreesWithTheReference"
_MODELS_AT_A_TIME = 3  # one of them on the GPU, the others reading their modules
_FOUND = 9  # the sanitizer's exit code where it has findings
LOSS = 0.98  # of eager; the interval has to lie wholly below it


@dataclass
class Job:
    """One run of this script."""

    build: Path
    output: Path
    facts: dict[str, Any]
    limit: float
    jobs: int = 1  # processes at a time, where nothing is timed
    found: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, part: str, name: str, status: str, seconds: float = 0.0, **more: Any) -> None:
        """A result: printed, and written at once."""
        line = {"part": part, "name": name, "status": status, "seconds": round(seconds, 2), **more, **self.facts}
        detail = ", ".join(f"{k} {_short(v)}" for k, v in more.items() if v not in (None, "", [], {}))
        with self._lock:
            self.found.append(line)
            print(f"{status:12} {part:12} {name}  {seconds:.1f} s  {detail}", flush=True)
            self.output.parent.mkdir(parents=True, exist_ok=True)
            with self.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 200 else text[:199] + "…"


def no_gpu() -> str | None:
    """Why there is nothing to check; None with a GPU."""
    from kernel_pytorch import machine

    found = machine.gpus()
    if not found["here"]:
        return "no NVIDIA driver" if "no NVIDIA driver" in found["reason"] else found["reason"]
    import torch

    return None if torch.cuda.is_available() else "PyTorch sees no GPU"


def facts(commit: str | None) -> dict[str, Any]:
    from kernel_pytorch.benchmark import facts as source
    from kernel_pytorch.benchmark.meters import clocks

    if commit:
        source.tell_commit(commit)
    return {
        "commit": source.commit(),
        "date": source.today(),
        "machine": source.machine("cuda", os.cpu_count()),
        "versions": source.versions(),
        "clocks": clocks("cuda"),
        "schema": 1,
    }


def run(command: list[str], seconds: float, **environment: str) -> tuple[int | None, str, float]:
    """(exit code or None out of time, output, seconds)."""
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, text=True, errors="replace", timeout=max(1.0, seconds),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        said = late.output or b""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        return None, text, time.perf_counter() - start
    return done.returncode, done.stdout, time.perf_counter() - start


def kernels_test(build: Path) -> Path | None:
    """The test program of the kernels in a build folder, or in one that was carried here."""
    places = (build / "src/kpt/kernels/kpt_kernels_test", build / "bin/kpt_kernels_test")
    return next((p for p in places if p.exists()), None)


def libraries() -> dict[str, str]:
    """NVIDIA's libraries in PyTorch's own packages, for programs that do not run in Python."""
    from kernel_pytorch import _native

    return {} if os.environ.get("KPT_CUDA_PATH") else {"KPT_CUDA_PATH": ",".join(_native._cuda_folders())}


def read_gtest(output: str, code: int | None) -> tuple[str, list[str]]:
    """(status, failures): a skipped test claims nothing, and a program that ended early is a failure."""
    faults = re.findall(r"^.*Failure\n((?:.+\n){1,4})", output, re.MULTILINE)
    words = [" ".join(text.split())[:300] for text in faults]
    if code is None:
        return LEFT, words
    if code != 0 or words:
        return FAILED, words or [f"ended with {code}: {output.strip()[-300:]}"]
    if "[  SKIPPED ]" in output:
        return NOT_CHECKED, re.findall(r"not checked: .*", output)[:1]
    return (OK, []) if "[  PASSED  ] 1 test" in output else (FAILED, ["no test ran"])


@dataclass(frozen=True)
class Task:
    """A test of kpt_kernels_test: the cases of one operator, or a test of its own that needs a GPU, also one of another
    program beside it."""

    name: str
    test: str = _FILTER
    program: Path | None = None

    def arguments(self, program: Path) -> list[str]:
        return [str(self.program or program), f"--gtest_filter={self.test}"]

    def environment(self) -> dict[str, str]:
        return {"KPT_TEST_OPS": self.name} if self.test == _FILTER else {}


def gpu_tests(program: Path) -> list[str]:
    """Its tests that need a GPU: "Suite.OnAGpu..."."""
    code, text, _ = run([str(program), "--gtest_list_tests"], 60)
    if code != 0:
        raise SystemExit(f"test_gpu: {program} does not list its tests: {text[-300:]}")
    suite, found = "", []
    for line in text.splitlines():
        if not line.startswith(" "):
            suite = line.strip()
        elif line.strip().startswith("OnAGpu"):
            found.append(suite + line.strip())
    return found


def tasks(program: Path, only: list[str], shard: str) -> list[Task]:
    """What is named: the cases of operators, tests of single kernels. Where nothing is, all of both, and of graphs."""
    places = (program.parent / "kpt_cuda_test", program.parent.parent / "cuda/kpt_cuda_test")
    graphs = {name: beside for beside in places if beside.exists() for name in gpu_tests(beside)}
    if only:
        return share([Task(n, n, graphs.get(n)) if "OnAGpu" in n else Task(n) for n in only], shard)
    found = [Task(name, name) for name in gpu_tests(program)]
    found += [Task(name, name, beside) for name, beside in graphs.items()]
    return share([*found, *(Task(name) for name in operators())], shard)


def side_by_side(job: Job, work: list[Any], do: Callable[[Any, float], None], at_most: int = 1000) -> None:
    """do(item, seconds left) for each, job.jobs at a time, in one limit."""
    end = time.perf_counter() + job.limit
    with ThreadPoolExecutor(min(job.jobs, at_most)) as pool:
        for done in [pool.submit(lambda item=item: do(item, end - time.perf_counter())) for item in work]:
            done.result()


def conformance(job: Job, only: list[str], shard: str = "1/1") -> None:
    program = kernels_test(job.build)
    if program is None:
        job.tell("conformance", "all", NOT_CHECKED, reason=f"no kpt_kernels_test in {job.build}")
        return
    places = libraries()

    def one(task: Task, left: float) -> None:
        code, text, seconds = run(task.arguments(program), left, **places, **task.environment())
        status, faults = read_gtest(text, code)
        job.tell("conformance", task.name, status, seconds, failures=len(faults), first=faults[:20])

    side_by_side(job, tasks(program, only, shard), one)


def operators() -> list[str]:
    """Operators that CUDA kernels are registered for, by what their sources say."""
    texts = [p.read_text(encoding="utf-8") for p in (ROOT / "src/kpt/kernels").glob("*/*_cuda.cpp")]
    return sorted({name for text in texts for name in re.findall(r'"((?:aten|kpt)\.[A-Za-z_.]+)"', text)})


def find_sanitizer(named: str | None) -> str | None:
    places = [named, shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer"]
    return next((p for p in places if p and Path(p).exists()), None)


def read_sanitizer(output: str, code: int | None) -> tuple[str, list[str]]:
    """(status, findings)."""
    status, faults = read_gtest(output, code)
    summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", output)
    lines = [line for line in output.splitlines() if re.match(r"=========\s+(Invalid|Error|Warning|Race|Unin)", line)]
    # One for each pair of kernels, whatever the places in them.
    found = list(dict.fromkeys(re.sub(r"\+0x[0-9a-f]+", "", line).strip("= ")[:200] for line in lines))
    if summary and int(summary[-1]) > 0:
        passed = read_gtest(output, 0 if code == _FOUND else code)[0] == OK
        if passed and found and all("cudnn_generated" in line for line in found):
            return OK, [f"{summary[-1]} findings, all inside cuDNN's own kernels", *found[:3]]
        return FAILED, [f"{summary[-1]} findings", *found[:10]]
    if "terminated before first instrumented API call" in output and "[  PASSED  ] 1 test" in output:
        return NOT_CHECKED, ["it launches nothing"]
    if status == OK and not summary:
        return FAILED, ["the sanitizer wrote no summary"]
    return status, faults


def sanitizer(job: Job, named: str | None, only: list[str], tools: Sequence[str] = TOOLS, shard: str = "1/1") -> None:
    tool, program = find_sanitizer(named), kernels_test(job.build)
    if tool is None or program is None:
        job.tell(
            "sanitizer", "all", NOT_CHECKED, reason="no compute-sanitizer" if tool is None else "no kpt_kernels_test"
        )
        return
    places = libraries()

    def one(item: tuple[str, Task], left: float) -> None:
        check, task = item
        if left < 1:
            job.tell("sanitizer", f"{check} {task.name}", LEFT)
            return
        command = [tool, "--tool", check, "--error-exitcode", str(_FOUND), *task.arguments(program)]
        code, text, seconds = run(command, left, **places, **task.environment())
        status, faults = read_sanitizer(text, code)
        job.tell("sanitizer", f"{check} {task.name}", status, seconds, first=faults)

    side_by_side(job, [(check, task) for check in tools for task in tasks(program, only, shard)], one)


# ---- models ----------------------------------------------------------------------------------------------------------


def model_rows() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (model, shape): every model of the zoo that fits a short test, and the architectures."""
    from kernel_pytorch.benchmark.suites import suite
    from kernel_pytorch.benchmark.systems import zoo

    zoo()
    from kpt_benchmark_models.architectures import ARCHITECTURES

    rows = {r.name: (r.model, r.shape) for r in (*suite("gpu").rows, *suite("ragged").rows)}
    small = {
        "minilm": (8, 128),
        "bert_small": (4, 64),
        "gpt2_small": (4, 64),
        "llama_small": (4, 64),
        "vit_small": (4, 96),
    }
    small |= {"cnn": (8, 64), "mlp": (32,), "lstm": (8, 32), "llama_1b": (1, 512), "llama_small_decode": (2, 24)}
    rows |= {f"{name} {'x'.join(map(str, shape))}": (name, shape) for name, shape in small.items()}
    return rows | {name: (name, shape) for name, (_, shape) in ARCHITECTURES.items()}


def share(names: list[Any], shard: str) -> list[Any]:
    """Every N-th name from the K-th on, for K/N."""
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise SystemExit(f"test_gpu: got --shard {shard!r}, want K/N with K from 1 to N, try 1/4")
    return names[int(found[1]) - 1 :: int(found[2])]


def models(job: Job, only: list[str], warm: bool, together: int) -> None:
    """Some at a time on the GPU: what is not good then is looked at once more, alone."""
    rows = model_rows()
    unknown = [name for name in only if name not in rows]
    if unknown:
        raise SystemExit(f"test_gpu: got the model {unknown[0]!r}, want one of: {'; '.join(rows)}")
    with tempfile.TemporaryDirectory(prefix="kpt-cache-") as folder:

        def one(name: str, left: float) -> None:
            end = time.perf_counter() + left
            if left < 5:
                job.tell("models", name, LEFT)
                return
            cache = tempfile.mkdtemp(dir=folder)
            status, seconds, more = one_model(name, end - time.perf_counter(), cache, turn)
            if status == FAILED and not turn:
                again.append(name)
                return
            if warm and status != LEFT and end - time.perf_counter() > 5:
                second = one_model(name, end - time.perf_counter(), cache, turn)[2]
                more["second_process_s"] = second.get("ready_s")
            job.tell("models", name, status, seconds, **more, **({} if turn else {"together": together}))

        began, again = time.perf_counter(), []
        turn = "" if together > 1 else f"{folder}/turn"
        side_by_side(job, only, one, at_most=together if together > 1 else _MODELS_AT_A_TIME)
        if again:
            models(replace(job, limit=job.limit - (time.perf_counter() - began)), again, warm, 1)


def one_model(name: str, seconds: float, cache: str, turn: str) -> tuple[str, float, dict[str, Any]]:
    """`turn`: a file that one process holds at a time; with none it takes no turns."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", name]
    places = {"KPT_CACHE_DIR": cache, "KPT_TEST_TURN": turn}
    code, text, spent = run(command, seconds, **places, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    if code is None:
        return LEFT, spent, {}
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if code != 0 or not lines:
        return FAILED, spent, {"reason": f"ended with {code}: {' '.join(text.split())[-500:]}"}
    found = json.loads(lines[-1])
    status = verdict(found)
    found["run_status"] = found.pop("status")
    return status, spent, found


def verdict(found: dict[str, Any]) -> str:
    """Right by the judge's rule for "no worse", and not slower than eager by more than 2 %."""
    if found["status"] != OK or found["eager_status"] != OK:
        return FAILED
    right = found["error"] <= 2 * found["eager_error"] + 1e-6
    return OK if right and found["ratio"][2] >= LOSS else FAILED


def measure(name: str) -> None:
    """The child's side: eager and ours on one model; prints one JSON line."""
    from kernel_pytorch.benchmark.runner import Settings, run_row
    from kernel_pytorch.benchmark.suites import Row
    from kernel_pytorch.benchmark.summary import interval
    from kernel_pytorch.benchmark.systems import select

    class Silent:
        def start(self, *_: object) -> None: ...
        def stage(self, *_: object) -> None: ...
        def sampled(self, *_: object) -> None: ...
        def done(self, *_: object) -> None: ...

    model, shape = model_rows()[name]
    import torchvision  # noqa: F401  what takes seconds and no GPU comes before the turn
    import transformers  # noqa: F401

    if os.environ.get("KPT_TEST_TURN"):
        turn = Path(os.environ["KPT_TEST_TURN"]).open("w")  # noqa: SIM115  held until this process ends
        fcntl.flock(turn, fcntl.LOCK_EX)
    settings = Settings("cuda", os.cpu_count(), budget_s=1.0, warm_up_s=0.5, reload=False, energy=False)
    row = Row(name, model, shape, "bf16", ("cuda",))
    eager, ours = run_row("models", row, select(["eager", "ours:balanced"]), settings, Silent())
    timed = eager.timed and ours.timed
    line = {
        "model": model,
        "shape": list(shape),
        "status": ours.status,
        "reason": ours.reason,
        "eager_status": eager.status,
        "eager_reason": eager.reason,
        "ratio": [round(x, 4) for x in interval(ours.samples_ms, eager.samples_ms)] if timed else None,
        "eager_ms": eager.median_ms,
        "ours_ms": ours.median_ms,
        "error": ours.error,
        "eager_error": eager.error,
        "ready_s": ours.cold_s,
        "launches": [eager.launches, ours.launches],
        "peak_mb": [eager.run_mb, ours.run_mb],
        "percent_of_ceiling": ours.percent_of_ceiling,
        "notes": ours.notes,
    }
    print(json.dumps(line), flush=True)


# ---- faults ----------------------------------------------------------------------------------------------------------

# Each is a program of its own: a lost context cannot be taken back. It prints "right", or says what is wrong.
_HEAD = """
import os
import torch, kernel_pytorch as kpt
from kernel_pytorch import device_memory
torch.set_grad_enabled(False)
torch.manual_seed(0)
def make():
    layers = [torch.nn.Linear(256, 1024), torch.nn.GELU(), torch.nn.LayerNorm(1024), torch.nn.Linear(1024, 64)]
    return torch.nn.Sequential(*layers).eval().cuda().bfloat16()
import kernel_pytorch.timing
kernel_pytorch.timing.Timing.verdict = lambda self: (True, "taken untimed")
model = make()
x = torch.randn(64, 256, device="cuda", dtype=torch.bfloat16)
fast = kpt.auto_optimize(model, x)
assert fast.report.kept, fast.report.reason
want = model(x)
def close(a): return torch.allclose(a.float(), want.float(), rtol=5e-2, atol=5e-2)
assert close(fast(x)) and close(fast(x)) and close(fast(x))
"""
_FAULTS = {
    "asynchronous fault: every later call raises": """
ids = torch.full((4,), 1 << 20, device="cuda")
torch.nn.functional.embedding(ids, torch.zeros(2, 2, device="cuda"))  # an assertion on the device, seen later
raised = 0
for _ in range(4):
    try:
        print("an answer:", fast(x).float().sum().item())
    except RuntimeError as error:
        raised += 1
        last = error
assert raised == 4, raised
assert isinstance(last, kpt.KernelLaunchError) and last.context_lost, (type(last), last)
assert "KPT_SYNC" in str(last), last
try:
    kpt.auto_optimize(model, x)
except RuntimeError:
    print("right", flush=True)
    os._exit(0)  # what torch would still free is gone with the context
""",
    "steps one by one give what the recording gives": """
from kernel_pytorch import _native
before = fast(x)
_native.set_setting("sync", "1")
assert close(fast(x)) and close(before)
print("right")
""",
    "short memory: an error with numbers, then calls work": """
large = torch.randn(1 << 19, 256, device="cuda", dtype=torch.bfloat16)
need = fast.memory_needed(large)
state = device_memory.memory_state()
assert need > 1 << 29, need
held = torch.empty(state.available - need // 2, dtype=torch.uint8, device="cuda")
assert not kpt.check_memory_available(need)
fast.__dict__["_allow_fallback"] = False
try:
    fast(large)
    print("no error")
except kpt.OutOfMemoryError as error:
    assert "bytes" in str(error), error
try:
    kpt.allocate_with_oom_protection((need,), torch.uint8)
    print("no error")
except kpt.OutOfMemoryError as error:
    assert "MiB free of" in str(error), error
assert close(fast(x))
del held
fast(large)
print("right")
""",
    "a device that is not there": """
from kernel_pytorch import _native
try:
    _native.device_memory(torch.cuda.device_count())
except kpt.CUDADeviceError:
    print("right")
""",
}


def faults(job: Job) -> None:
    end = time.perf_counter() + job.limit
    for name, program in _FAULTS.items():
        path = os.pathsep.join(p for p in sys.path if p)
        code, text, seconds = run([sys.executable, "-c", _HEAD + program], end - time.perf_counter(), PYTHONPATH=path)
        good = (
            code == 0
            and text.strip().splitlines()[-1:] == ["right"]
            and "an answer" not in text
            and "no error" not in text
        )
        status = LEFT if code is None else OK if good else FAILED
        job.tell("faults", name, status, seconds, reason="" if good else " ".join(text.split())[-600:])


# ---- lengths ---------------------------------------------------------------------------------------------------------


def lengths(job: Job) -> None:
    with tempfile.TemporaryDirectory() as cache:

        def good(found: dict[str, Any]) -> bool:
            return not found["compiles_after_five"] and not found["above_twice"] and not found["by_original"]

        script(job, "lengths", "BERT-base", ["lengths", cache], job.limit, good, KPT_CACHE_DIR=cache)


def script(
    job: Job,
    part: str,
    name: str,
    command: list[str],
    left: float,
    good: Callable[[dict[str, Any]], bool],
    **environment: str,
) -> None:
    """Runs one of benchmarks/programs (its name, then its arguments) and tells what it found."""
    code, text, seconds = program(command, left, **environment)
    found = result(text)
    if code != 0 or found is None:
        job.tell(part, name, LEFT if code is None else FAILED, seconds, reason=" ".join(text.split())[-600:])
    else:
        job.tell(part, name, OK if good(found) else FAILED, seconds, **found)


def program(command: list[str], left: float, **environment: str) -> tuple[int | None, str, float]:
    """One of benchmarks/programs: (exit code or None out of time, output, seconds)."""
    path = os.pathsep.join([str(ROOT / "benchmarks"), *(p for p in sys.path if p)])
    return run([sys.executable, str(PROGRAMS / f"{command[0]}.py"), *command[1:]], left, PYTHONPATH=path, **environment)


def result(text: str) -> dict[str, Any] | None:
    """What a program printed after RESULT."""
    lines = [line for line in text.splitlines() if line.startswith("RESULT")]
    return json.loads(lines[-1][6:]) if lines else None


# ---- host ------------------------------------------------------------------------------------------------------------

_HOST_ROWS = ("MiniLM 1x128", "BERT-base 1x128", "ViT-L b1", "ResNet-50 b1", "GPT-2 medium 1x128")
HOST_US = 10.0


def host(job: Job, only: list[str]) -> None:
    rows, end = model_rows(), time.perf_counter() + job.limit
    for name in [n for n in _HOST_ROWS if n in only or not only]:  # one after the other: the host is what is measured
        model, shape = rows[name]
        command = ["host", model, "x".join(map(str, shape))]
        script(job, "host", name, command, end - time.perf_counter(), lambda found: found["call_us"] <= HOST_US)


# ---- warm ------------------------------------------------------------------------------------------------------------

WARM_S = 2.0


def warm(job: Job, only: list[str]) -> None:
    """A process that fills a cache for each row of the suite gpu, some at a time; then a second one for each, alone,
    which is timed."""
    from kernel_pytorch.benchmark.suites import suite

    rows, end = model_rows(), time.perf_counter() + job.limit
    names = [r.name for r in suite("gpu").rows if r.name in only or not only]
    arguments = {n: ["warm", rows[n][0], "x".join(map(str, rows[n][1]))] for n in names}
    with tempfile.TemporaryDirectory(prefix="kpt-cache-") as folder:
        caches = {name: f"{folder}/{i}" for i, name in enumerate(names)}

        def fill(name: str, left: float) -> None:
            code, text, seconds = program(arguments[name], left, KPT_CACHE_DIR=caches[name])
            if code == 0 and result(text) is not None:
                filled.append(name)
                return
            reason = "the first process: " + " ".join(text.split())[-600:]
            job.tell("warm", name, LEFT if code is None else FAILED, seconds, reason=reason)

        filled: list[str] = []
        side_by_side(job, names, fill, at_most=_MODELS_AT_A_TIME)
        for name in (n for n in names if n in filled):
            left, cache = end - time.perf_counter(), caches[name]
            script(
                job, "warm", name, arguments[name], left, lambda f: f["first_result_s"] <= WARM_S, KPT_CACHE_DIR=cache
            )


# ---- memory ----------------------------------------------------------------------------------------------------------

_MEMORY_ROWS = ("MiniLM 1x128", "BERT-large 32x128", "ViT-L/16 b32", "ResNet-50 b64", "GPT-2 medium 8x1024")


def memory(job: Job) -> None:
    rows = model_rows()

    def one(name: str, left: float) -> None:
        model, shape = rows[name]
        command = ["memory", model, "x".join(map(str, shape))]
        script(job, "memory", name, command, left, lambda found: found["ours_mb"] <= found["eager_mb"])

    side_by_side(job, list(_MEMORY_ROWS), one, at_most=_MODELS_AT_A_TIME)


# ---- the command -----------------------------------------------------------------------------------------------------


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tests that need an NVIDIA GPU.")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="build folder, or one with bin/ and lib/")
    parser.add_argument("--output", type=Path, help="file of results (benchmarks/results/<device>/test_gpu.jsonl)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="NAME", help="of the parts models, host and warm; default: all"
    )
    parser.add_argument(
        "--operators",
        nargs="+",
        default=[],
        metavar="OP",
        help="of conformance and sanitizer, or their tests; default: all",
    )
    parser.add_argument("--shard", default="1/1", metavar="K/N", help="the K-th of N parts of models and operators")
    parser.add_argument("--sanitizer", help="path of compute-sanitizer")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS), help="of compute-sanitizer")
    parser.add_argument("--warm", action="store_true", help="of the part models: each in a second process, too")
    parser.add_argument("--together", type=int, default=1, metavar="N", help="models on the GPU at a time (1)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=max(1, (os.cpu_count() or 1) // 2),
        metavar="N",
        help="processes at a time (half the processors); models: 3 at most",
    )
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds for each part (1800)")
    parser.add_argument("--commit", help="of the source, where its repository is not here")
    parser.add_argument("--list", action="store_true", help="print the models and operators; check nothing")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if options.list:
        print("\n".join(["models:", *model_rows(), "", "operators:", *operators()]))
        return 0
    if options.measure:
        measure(options.measure)
        return 0
    why = no_gpu()
    if why is not None:
        print(f"not checked: {why}")
        return 0
    from kernel_pytorch.benchmark.facts import device_name

    where = options.output or ROOT / "benchmarks/results" / device_name("cuda", 0) / "test_gpu.jsonl"
    job = Job(options.build, where, facts(options.commit), options.limit, max(1, options.jobs))
    for part in options.parts:
        if part == "conformance":
            conformance(job, options.operators, options.shard)
        elif part == "sanitizer":
            sanitizer(job, options.sanitizer, options.operators, options.tools, options.shard)
        elif part == "models":
            models(job, share(options.models or list(model_rows()), options.shard), options.warm, options.together)
        elif part == "lengths":
            lengths(job)
        elif part == "host":
            host(job, options.models)
        elif part == "warm":
            warm(job, options.models)
        elif part == "memory":
            memory(job)
        else:
            faults(job)
    return summary(job.found, where)


def summary(found: list[dict[str, Any]], where: Path) -> int:
    """Prints the counts; the exit code."""
    count = {status: sum(1 for line in found if line["status"] == status) for status in (OK, FAILED, NOT_CHECKED, LEFT)}
    print(f"written: {where}")
    print(", ".join(f"{number} {status}" for status, number in count.items() if number) or "nothing was looked at")
    for line in found:
        if line["status"] == FAILED:
            print(f"failed: {line['part']} {line['name']}")
    return 1 if count[FAILED] else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Measures one row: every system built, held against the truth, warmed up, then timed with all others in rounds.

A system that is not installed, fails or is wrong becomes a record that says so; nothing is dropped.
"""

from __future__ import annotations

import gc
import math
import os
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from .. import _native
from ..models import load, parse_shape
from ..samples import normalise
from ..tracking import identity
from . import facts
from .clock import Clock, make_clock, warm_up
from .limit import Deadline, RowLimitError
from .meters import PeakMemory, clocks, cpu_seconds, energy_meter, energy_per_call
from .records import FAILED, MISSING, WRONG, Record
from .reference import Ceiling, Least, Truth, ceiling, least, to, truth
from .rounds import WARM_UP_CALLS, WARM_UP_S, CallFailedError, rounds
from .suites import Row, Suite
from .summary import HEADLINES
from .systems import DTYPES, Built, System, Work, tensors_of, zoo

# Share of the processors that others may use during the rounds before the record says so.
_BUSY = 0.05


@dataclass(frozen=True)
class Settings:
    """How to measure. `budget_s`: of the rounds, for each system of a row."""

    device: str = "cpu"
    threads: int = 1
    runs: int = 0  # rounds; 0: as many as the budget allows
    budget_s: float = 2.0
    warm_up_s: float = WARM_UP_S
    warm_up_calls: int = WARM_UP_CALLS
    reload: bool = True  # also measure the warm load
    energy: bool = True
    limit_s: float = 0.0  # of a row; what is not built by then is recorded as not measured; 0: none


class Display(Protocol):
    """Who watches. live.py has two."""

    def start(self, row: Row, systems: list[str]) -> None: ...
    def stage(self, system: str, text: str) -> None: ...
    def sampled(self, samples: dict[str, list[float]]) -> None: ...
    def done(self, row: Row, records: list[Record]) -> None: ...


@dataclass
class _Candidate:
    """A system on its way through a row."""

    system: System
    record: Record
    built: Built | None = None

    def fail(self, error: BaseException) -> None:
        self.built = None
        self.record.status, self.record.reason = FAILED, _words(error)
        spent = _limit_behind(error)
        if spent is not None:
            self.record.status, self.record.reason = MISSING, str(spent)


def _limit_behind(error: BaseException | None) -> RowLimitError | None:
    """The end of the row's time, also where a compiler made an error of its own of it."""
    while error is not None and not isinstance(error, RowLimitError):
        error = error.__cause__ or error.__context__
    return error


def run_suite(
    suite: Suite, systems: list[System], settings: Settings, show: Display, save: Callable[[list[Record]], None]
) -> list[Record]:
    """All rows; `save` is called with the records of each row as it is done, so that a break loses one row at most."""
    found: list[Record] = []
    for row in suite.rows:
        show.start(row, [s.name for s in systems])
        records = run_row(suite.name, row, systems, settings, show)
        save(records)
        show.done(row, records)
        found += records
    return found


def run_row(suite: str, row: Row, systems: list[System], settings: Settings, show: Display) -> list[Record]:
    """A record for each system, in their order."""
    candidates = [_Candidate(s, _record(suite, row, s, settings)) for s in systems]
    with tempfile.TemporaryDirectory(prefix="kpt-benchmark-") as folder:
        why, status = _not_on(row, settings), MISSING
        work = None
        if why is None:
            try:
                work = make_work(row, settings, Path(folder))
            except Exception as error:  # noqa: BLE001  a model may fail to be made in any way; the row says how
                why, status = _words(error), FAILED
        if work is None:
            for c in candidates:
                c.record.status, c.record.reason = status, why
        else:
            _measure(candidates, work, settings, show)
    records = [c.record for c in candidates]
    del candidates, work
    _let_go(settings)
    return records


def _let_go(settings: Settings) -> None:
    torch._dynamo.reset()
    gc.collect()
    if settings.device == "cuda":
        torch.cuda.empty_cache()


def _not_on(row: Row, settings: Settings) -> str | None:
    if settings.device in row.devices:
        return None
    return "no GPU" if settings.device == "cpu" else "a row for CPUs"


def make_work(row: Row, settings: Settings, folder: Path) -> Work:
    """The row's model and inputs in its dtype on the device."""
    dtype = DTYPES[row.dtype]
    if ":" in row.model or row.model.endswith(".pt2"):
        return _users_model(row, settings, folder)
    models = zoo()
    entry = models.entry(row.model)
    model, raw = models.build(row.model, row.shape)
    model = model.to(settings.device, dtype)
    sample = to(normalise(model, raw)[0], settings.device, dtype)
    return Work(model, sample, row.dtype, settings.device, settings.threads, folder, row.kind,
                entry.family, entry.heads, entry.hidden)  # fmt: skip


def _users_model(row: Row, settings: Settings, folder: Path) -> Work:
    loaded = load(row.model, [row.shape] if row.shape else None)
    samples = loaded.samples or normalise(loaded.model, None)
    dtype = DTYPES[row.dtype]
    model = loaded.model.to(settings.device, dtype)
    if not row.model.endswith(".pt2"):
        model = model.eval()
    return Work(model, to(samples[0], settings.device, dtype), row.dtype, settings.device, settings.threads, folder)


def _measure(candidates: list[_Candidate], work: Work, settings: Settings, show: Display) -> None:
    show.stage("", "reference")
    deadline = Deadline(settings.limit_s)
    reference, work_needed, graph = truth(work), least(work), identity.graph_text(work.model, work.sample)
    for c in sorted(candidates, key=_builds_first) if settings.limit_s else candidates:
        c.record.reference = reference.dtype
        kind = f"{work.kind} {c.system.name}"
        c.record.key = identity.key(kind, graph, work.sample, c.record.machine, c.record.versions)
        show.stage(c.system.name, "build")
        result = _build(c, work, settings, deadline)
        if c.built is not None:
            _judge(c.record, reference, result)
    clock = make_clock(settings.device, cold=work.kind == "kernel")
    with work.mode():
        _in_rounds(candidates, clock, settings, show)
        live = [c for c in candidates if c.built is not None]
        for c in live:
            show.stage(c.system.name, "memory and energy")
            _after_rounds(c, clock, settings)
    top = ceiling(settings.device, work.dtype, settings.threads)
    for c in live:
        _fill(c.record, clock, work_needed, top)


def _in_rounds(candidates: list[_Candidate], clock: Clock, settings: Settings, show: Display) -> None:
    """Warms all up and times them. One that fails now is taken out, and the rounds start again without it."""
    warm = {}
    for c in candidates:
        if c.built is not None:
            show.stage(c.system.name, "warm-up")
            try:
                warm[c.system.name] = w = warm_up(clock, c.built.call, settings.warm_up_s, settings.warm_up_calls)
            except Exception as error:  # noqa: BLE001  as in _build
                c.fail(error)
                continue
            c.record.warm_up_calls, c.record.steady = w.calls, w.steady
    while live := [c for c in candidates if c.built is not None]:
        calls = {c.system.name: c.built.call for c in live}
        before, busy, start = clocks(settings.device), cpu_seconds(), time.perf_counter()
        show.stage("", "rounds")
        try:
            samples = rounds(calls, clock, warm, settings.runs, settings.budget_s * len(live), show.sampled)
        except CallFailedError as failed:
            next(c for c in live if c.system.name == failed.name).fail(failed.__cause__)
            continue
        others = _share_of_others(busy, start)
        for c in live:
            c.record.samples_ms = [round(ms, 6) for ms in samples[c.system.name]]
            c.record.clocks = {"before": before, "after": clocks(settings.device), "others": others}
            if others > _BUSY:
                c.record.notes.append(f"busy machine: others used {others:.0%} of it during the rounds")
        return


def _share_of_others(before: tuple[float, float], start: float) -> float:
    """Of all processors since `start`: what was used that this process did not use."""
    now = cpu_seconds()
    used = (now[0] - before[0]) - (now[1] - before[1])
    return round(max(0.0, used) / (os.cpu_count() * (time.perf_counter() - start)), 3)


def _builds_first(c: _Candidate) -> int:
    """With a limit, what every comparison needs comes first: eager, then ours, then the rivals."""
    return 0 if c.system.name == "eager" else 1 if c.system.ours else 2


def _build(c: _Candidate, work: Work, settings: Settings, deadline: Deadline) -> object:
    """Cold build, first call, warm load; the first result. `built` stays None where there is nothing to time."""
    try:
        why = c.system.missing(work)
        if why is not None:
            c.record.status, c.record.reason = MISSING, why
            return None
        with PeakMemory(settings.device) as peak, deadline:
            built, c.record.cold_s, result = _first(lambda: c.system.build(work), work)
        c.record.build_mb = peak.mb
        if built.reload is not None and settings.reload and not deadline.over:
            with deadline:
                again, c.record.warm_s, _ = _first(built.reload, work)
            again.notes = [*built.notes, *again.notes]
            built = again
    except Exception as error:  # noqa: BLE001  a rival may fail in any way; its error is the result that is shown
        c.fail(error)
        return None
    c.built, c.record.launches = built, built.launches
    c.record.notes += built.notes
    if settings.device == "cuda" and built.launches is None:
        c.record.launches = _launches_of(c, work)
    return result


def _launches_of(c: _Candidate, work: Work) -> int | None:
    """None, and a note, where the profiler does not work here: it needs more rights than a program has."""
    try:
        with work.mode():
            return _count_launches(c.built)
    except RuntimeError as error:
        c.record.notes.append(f"launches not counted: {_words(error)}")
        return None


def _first(build: Callable[[], Built], work: Work) -> tuple[Built, float, list[torch.Tensor]]:
    """What was built, seconds until its first result, copies of the result's tensors: systems that replay CUDA graphs
    write the next result over it."""
    start = time.perf_counter()
    built = build()
    with work.mode():
        result = built.call()
    if work.device == "cuda":
        torch.cuda.synchronize()
    seconds = round(time.perf_counter() - start + built.extra_s, 6)
    return built, seconds, [t.detach().clone() for t in tensors_of(result)]


def _judge(record: Record, reference: Truth, result: object) -> None:
    error, cosine = reference.error(result)
    record.error = error if math.isfinite(error) else None
    record.cosine = cosine
    largest, smallest = reference.bounds
    if not (error <= largest and cosine >= smallest):
        record.status = WRONG
        record.reason = f"error {error:.1e}, cosine {cosine:.6f} (bounds {largest:.3g}, {smallest:.6g})"


def _count_launches(built: Built) -> int:
    """Kernels that one call starts, by the profiler; copies and fills count."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        built.call()
        torch.cuda.synchronize()
    found = sum(1 for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA)
    if not found:
        raise RuntimeError("the profiler saw none")
    return found


def _after_rounds(c: _Candidate, clock: Clock, settings: Settings) -> None:
    """Memory and energy of a call: outside the rounds, for both disturb the clock."""
    with PeakMemory(settings.device) as peak:
        c.built.call()
        clock.synchronise()
    c.record.run_mb = peak.mb
    meter = energy_meter(settings.device) if settings.energy else "not asked for"
    if isinstance(meter, str):
        c.record.energy_mj = f"not here: {meter}"
    else:
        c.record.energy_mj = round(energy_per_call(meter, c.built.call, clock.synchronise), 3)


def _fill(record: Record, clock: Clock, needed: Least, top: Ceiling) -> None:
    median, low, high = _native.bootstrap([math.log(ms) for ms in record.samples_ms])
    record.median_ms, record.low_ms, record.high_ms = round(median, 6), round(low, 6), round(high, 6)
    record.rounds, record.clock = len(record.samples_ms), clock.name
    record.flops, record.bytes = needed.flops, needed.bytes
    record.tflops, record.gbs = needed.flops / median / 1e9, needed.bytes / median / 1e6
    record.ceiling_tflops, record.ceiling_gbs = round(top.tflops, 4), round(top.gbs, 2)
    record.bound, record.ceiling_ms = top.bound(needed)
    record.percent_of_ceiling = 100 * record.ceiling_ms / median


def _words(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _record(suite: str, row: Row, system: System, settings: Settings) -> Record:
    return Record(
        suite,
        row.name,
        system.name,
        row.model,
        row.shape_text(),
        row.dtype,
        settings.device,
        row.kind,
        command=command(suite, row, system, settings.device),
        commit=facts.commit(),
        date=facts.today(),
        machine=facts.machine(settings.device, settings.threads),
        versions=facts.versions(),
    )


def command(suite: str, row: Row, system: System, device: str = "cpu") -> str:
    """What measures this number again, beside eager and ours: a time alone says little."""
    systems = list(dict.fromkeys(["eager", system.name, HEADLINES[device]]))
    where = ["--model", row.model] if suite == "model" else ["--suite", suite, "--only", row.name]
    if suite == "model" and row.shape:
        where += ["--input-shape", row.shape_text()]
    on = ["--device", "cuda"] if device == "cuda" else []
    return shlex.join(["kernelpytorch", "benchmark", *where, *on, "--systems", *systems])


def rows_of_model(model: str, shapes: list[str], batches: list[int], dtype: str) -> Suite:
    """A suite out of a model of the user's: each shape, with each batch in the place of its first size."""
    sizes: list[tuple[int, ...]] = [parse_shape(text) for text in shapes] or [()]
    if batches and sizes != [()]:
        sizes = [(batch, *shape[1:]) for shape in sizes for batch in batches]
    rows = [Row("x".join(map(str, s)) or "its own sample", model, s, dtype) for s in sizes]
    return Suite("model", tuple(replace(r, name=f"{model} {r.name}") for r in rows))

# SPDX-License-Identifier: Apache-2.0
"""One record for each row and system, as JSON lines (everything, raw samples too) and as CSV (the numbers)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SCHEMA = 1
OK, WRONG, FAILED, MISSING = "ok", "wrong", "failed", "not here"
# Too long for a cell of a table, or the same in every line.
_NOT_IN_CSV = ("samples_ms", "machine", "versions", "clocks", "notes", "command", "key")


@dataclass
class Record:
    """What was measured of one system on one row. None: not measured, `notes` or `reason` says why."""

    suite: str
    row: str
    system: str
    model: str = ""
    shape: str = ""
    dtype: str = ""
    device: str = ""
    kind: str = "model"
    status: str = OK
    reason: str = ""  # why it is not here, how it failed, what is wrong with its result
    median_ms: float | None = None
    low_ms: float | None = None  # 95 % interval of the median, bootstrap over rounds
    high_ms: float | None = None
    rounds: int = 0
    warm_up_calls: int = 0
    steady: bool | None = None
    clock: str = ""
    cold_s: float | None = None  # build and first call with empty caches
    warm_s: float | None = None  # the same from what the first build left on disk
    build_mb: float | None = None  # peak while it was built and first called, above what was held before
    run_mb: float | None = None  # peak of a call
    launches: int | None = None
    error: float | None = None  # relative RMSE against the reference, the worst output
    cosine: float | None = None
    reference: str = ""
    energy_mj: float | str | None = None  # of a call, or why it is not known
    flops: int | None = None
    bytes: int | None = None
    tflops: float | None = None
    gbs: float | None = None
    bound: str = ""
    ceiling_ms: float | None = None  # the least work of the row at the ceiling of this machine
    ceiling_tflops: float | None = None
    ceiling_gbs: float | None = None
    percent_of_ceiling: float | None = None
    samples_ms: list[float] = field(default_factory=list)  # one a round, of all systems in the same rounds
    notes: list[str] = field(default_factory=list)
    command: str = ""
    key: str = ""  # of the history: graph, shapes, dtypes, device, versions and system
    commit: str = ""
    date: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    clocks: dict[str, Any] = field(default_factory=dict)  # before and after the rounds
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def timed(self) -> bool:
        return self.median_ms is not None


def append(path: Path, records: Iterable[Record]) -> None:
    """Adds lines to a file, made with its folder where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(asdict(record)) + "\n")


def read(path: Path) -> list[Record]:
    """ValueError with file and line where a line is no record of this schema."""
    known = {f.name for f in fields(Record)}
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        values = json.loads(line)
        if values.get("schema") != SCHEMA or not set(values) <= known:
            got = f"schema {values.get('schema')}, unknown {sorted(set(values) - known)}"
            raise ValueError(f"[benchmark] {path}:{number}: got {got}, want schema {SCHEMA}, try measuring again")
        found.append(Record(**values))
    return found


def latest(records: Iterable[Record]) -> list[Record]:
    """Of each row and system the last record, in the order in which the rows came first."""
    kept: dict[tuple[str, str, str, str], Record] = {}
    for record in records:
        key = (record.suite, record.row, record.dtype, record.system)
        kept[key] = record
    return list(kept.values())


def write_csv(path: Path, records: Iterable[Record]) -> None:
    names = [f.name for f in fields(Record) if f.name not in _NOT_IN_CSV]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)


def by_row(records: Iterable[Record]) -> dict[str, list[Record]]:
    rows: dict[str, list[Record]] = {}
    for record in records:
        rows.setdefault(record.row, []).append(record)
    return rows

# SPDX-License-Identifier: Apache-2.0
"""The history as typed objects. Everything that is decided here is decided by the core (src/kpt/tracking/store.h):
durability, schema, locks, what may be stored. Faults of the file are OptimizationError (a lock, a full disk, a folder
that may not be written), InputError (damaged, not ours) or UnsupportedError (of a newer program)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import _native
from ..errors import InputError, OptimizationError


def default_path() -> Path:
    """The user's history: $XDG_DATA_HOME/kernel_pytorch/history.sqlite, in ~/.local/share where that is not set."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "kernel_pytorch" / "history.sqlite"


@dataclass(frozen=True)
class Metric:
    """One measured quantity. Unit and direction of a metric that the core knows may be left empty."""

    name: str
    samples: Sequence[float] = ()
    value: float | None = None  # None: the median of the samples
    unit: str = ""
    direction: str = ""  # which way is better: lower, higher

    def fields(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.name}
        if self.samples:
            found["samples"] = list(self.samples)
        if self.value is not None:
            found["value"] = self.value
        return found | {k: v for k, v in (("unit", self.unit), ("direction", self.direction)) if v}


@dataclass(frozen=True)
class Entry:
    """A record as it is stored."""

    id: int
    key: str
    suite: str
    name: str
    system: str
    commit: str
    created: str
    device: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()

    def metric(self, name: str) -> Metric | None:
        return next((m for m in self.metrics if m.name == name), None)


def _entry(record: dict[str, Any]) -> Entry:
    metrics = tuple(
        Metric(m["name"], tuple(m.get("samples", ())), m["value"], m["unit"], m["direction"]) for m in record["metrics"]
    )
    known = {name: record[name] for name in ("id", "key", "suite", "name", "system", "commit", "created")}
    return Entry(**known, device=record["device"], versions=record["versions"], metrics=metrics)


class History:
    """A history file. mode "read" never changes it; "write" makes it where it is not there. Thread-safe."""

    def __init__(self, path: Path | str | None = None, mode: str = "write"):
        self.path = Path(path) if path is not None else default_path()
        if mode == "write":
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OptimizationError(
                    f"[tracking] got {error.strerror} for the folder {self.path.parent}, want one that may be written, "
                    "try --database with another path"
                ) from error
        self._native = _native.History(str(self.path), mode)

    def record(
        self,
        key: str,
        suite: str,
        name: str,
        system: str,
        metrics: Sequence[Metric],
        *,
        commit: str = "",
        device: dict[str, Any] | None = None,
        versions: dict[str, Any] | None = None,
        created: str = "",
    ) -> int:
        """Stores a measurement and returns its id; when it returns, the record is on the disk."""
        fields: dict[str, Any] = {"key": key, "suite": suite, "name": name, "system": system, "commit": commit}
        fields |= {k: v for k, v in (("device", device), ("versions", versions)) if v is not None}
        if created:
            fields["created"] = created
        return self._native.call("record", **fields, metrics=[m.fields() for m in metrics])["id"]

    def list(self, **filter_by: Any) -> list[Entry]:
        """Newest first. key, suite, name, system, commit, since, until, limit, samples."""
        return [_entry(r) for r in self._native.call("list", **filter_by)["records"]]

    def get(self, record: int) -> Entry:
        found = next((e for e in self.list(samples=False) if e.id == record), None)
        if found is not None:  # with its samples now
            return next(e for e in self.list(key=found.key) if e.id == record)
        raise InputError(f"[tracking] got record {record}, want one of {self.path}, try `kernelpytorch history list`")

    def compare(self, **fields: Any) -> list[dict[str, Any]]:
        """Metric by metric: baseline and fresh (ids), [previous, tolerance, false_alarms, gain_expected]."""
        return self._native.call("compare", **fields)["metrics"]

    def baseline(self, key: str, metric: str = "") -> Entry | None:
        """The record that was set for this key, and metric where one is named."""
        found = self._native.call("baseline", key=key, metric=metric)["record"]
        return _entry(found) if found else None

    def set_baseline(self, record: int, metric: str = "") -> Entry:
        """Replaces the one before."""
        return _entry(self._native.call("baseline", set=record, metric=metric)["record"])

    def export_jsonl(self, path: Path, **filter_by: Any) -> int:
        return self._native.call("export_jsonl", path=str(path), filter=filter_by)["exported"]

    def import_jsonl(self, path: Path) -> tuple[int, int]:
        """(added, skipped because they were there); all lines or none."""
        found = self._native.call("import_jsonl", path=str(path))
        return found["added"], found["skipped"]

    def check(self) -> str:
        """ "ok", or what is wrong with the file."""
        return self._native.call("check")["check"]


def key_of(
    graph: str,
    shapes: list[list[int]],
    dtypes: list[str],
    device: dict[str, Any] | None = None,
    versions: dict[str, Any] | None = None,
) -> str:
    """The identity of a benchmark, the same in every process. None: this processor, this library."""
    fields: dict[str, Any] = {"graph": graph, "shapes": shapes, "dtypes": dtypes}
    fields |= {k: v for k, v in (("device", device), ("versions", versions)) if v is not None}
    return _native.history_function("key", **fields)["key"]


def machine() -> tuple[dict[str, Any], dict[str, Any]]:
    """(device, versions) as records of this processor carry them."""
    found = _native.history_function("machine")
    return found["device"], found["versions"]

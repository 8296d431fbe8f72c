# SPDX-License-Identifier: Apache-2.0
"""Who watches a run: a live table in a terminal, plain lines elsewhere. Drawn between rounds only, never in a thread of
its own: that would run while something is timed."""

from __future__ import annotations

import statistics
import sys
from typing import Any

from .records import FAILED, OK, WRONG, Record
from .runner import Display
from .suites import Row


def cells(record: Record) -> tuple[str, ...]:
    """system, ms [low, high], cold s, warm s, MB, launches, error, remark."""
    if not record.timed:
        return record.system, "", "", "", "", "", "", f"{record.status}: {record.reason}"
    time = f"{record.median_ms:.3f} [{record.low_ms:.3f}, {record.high_ms:.3f}]"
    return (
        record.system,
        time,
        _number(record.cold_s, ".2f"),
        _number(record.warm_s, ".2f"),
        _number(record.build_mb, ".0f"),
        _number(record.launches, "d"),
        _number(record.error, ".1e"),
        "" if record.status == OK else f"{record.status}: {record.reason}",
    )


HEADINGS = ("system", "ms [95 %]", "cold s", "warm s", "peak MB", "launches", "error", "")


def _number(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


class PlainLines:
    """One line for each system as its row is done."""

    def start(self, row: Row, systems: list[str]) -> None:
        print(f"\n{row.name}  ({row.model} {row.shape_text()}, {row.dtype})", flush=True)

    def stage(self, system: str, text: str) -> None:
        """Stages pass too quickly for a log."""

    def sampled(self, samples: dict[str, list[float]]) -> None:
        """As above."""

    def done(self, row: Row, records: list[Record]) -> None:
        reasons = {r.reason for r in records}
        if len(reasons) == 1 and records[0].reason and len(records) > 1:
            print(f"  all systems: {records[0].status}: {records[0].reason}", flush=True)
            return
        lines = [HEADINGS, *map(cells, records)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS) - 1)]
        for line in lines:
            shown = [line[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(line[1:-1], widths[1:], strict=True))]
            print(f"  {'  '.join(shown)}  {line[-1]}".rstrip(), flush=True)


class LiveTable:
    """A table of the row at work with its stage and a bar over all rows; the finished table of each row stays."""

    def __init__(self, total: int):
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, auto_refresh=False)
        self._task = self._bar.add_task("rows", total=total)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._title, self._stage = "", ""
        self._running: dict[str, str] = {}

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def start(self, row: Row, systems: list[str]) -> None:
        self._title = f"{row.name}  ({row.model} {row.shape_text()}, {row.dtype})"
        self._running = dict.fromkeys(systems, "")
        self._draw()

    def stage(self, system: str, text: str) -> None:
        self._stage = f"{system}: {text}" if system else text
        if system:
            self._running[system] = text
        self._draw()

    def sampled(self, samples: dict[str, list[float]]) -> None:
        for name, values in samples.items():
            self._running[name] = f"{statistics.median(values):.3f} ms in {len(values)} rounds"
        self._draw()

    def done(self, row: Row, records: list[Record]) -> None:
        self._bar.advance(self._task)
        self._console.print(_table(self._title, records))
        self._running = {}
        self._draw()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.table import Table

        table = Table(title=self._title, title_justify="left", box=None)
        table.add_column("system")
        table.add_column("now")
        for name, text in self._running.items():
            table.add_row(name, text)
        self._bar.update(self._task, description=self._stage)
        self._live.update(Group(table, self._bar), refresh=True)


def _table(title: str, records: list[Record]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None)
    for i, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if i in (0, len(HEADINGS) - 1) else "right")
    styles = {OK: "", WRONG: "yellow", FAILED: "red"}
    for record in records:
        table.add_row(*(Text(cell) for cell in cells(record)), style=styles.get(record.status, "dim"))
    return table


def display(total: int) -> Display:
    return LiveTable(total) if sys.stdout.isatty() else PlainLines()

# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch benchmark --type regression`, `--compare-baseline`, and `kernelpytorch bisect-performance`.

Exit codes: 0 nothing got worse, 1 a regression, 2 no verdict (or wrong usage).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import input_error

if TYPE_CHECKING:
    from .records import Record
    from .regression import RowVerdict
    from .runner import Settings
    from .suites import Suite

_MAX_ROUNDS = 320
# The roadmap's: what a change has to be before anybody is asked about it.
THRESHOLD = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The group of `kernelpytorch benchmark`."""
    group = parser.add_argument_group("did it get worse (--type regression)")
    group.add_argument(
        "--baseline",
        metavar="REV|FILE",
        help="a git revision (built in a folder of its own; both builds alternate in one run), the folder of a built "
        "tree, or a .jsonl file of an earlier run",
    )
    group.add_argument(
        "--compare-baseline",
        nargs="?",
        const="",
        metavar="FILE",
        help="after measuring, hold each row against this file, without one against the history",
    )
    _verdict_arguments(group)


def _verdict_arguments(group: Any) -> None:
    group.add_argument(
        "--threshold",
        "--regression-threshold",
        dest="threshold",
        type=float,
        default=THRESHOLD,
        help="the least change that counts, as a share (0.05)",
    )
    group.add_argument("--max-rounds", type=int, default=_MAX_ROUNDS, help="cap of a paired comparison (320)")
    group.add_argument("--expect-gain", action="store_true", help="do not flag gains as unexplained")
    group.add_argument("--markdown", type=Path, help="also write the table here, for a comment")


def check(options: argparse.Namespace) -> None:
    if not 0 <= options.threshold < 1:
        raise input_error("benchmark", f"--threshold {options.threshold}", "a share in [0, 1)", "--threshold 0.05")
    if options.max_rounds < 20:
        raise input_error("benchmark", f"--max-rounds {options.max_rounds}", "at least 20", "--max-rounds 320")
    if (options.type == "regression") != bool(options.baseline):
        raise input_error("benchmark", "--type regression and --baseline", "both or none", "--baseline HEAD~1")


def is_paired(options: argparse.Namespace) -> bool:
    """A revision or a folder; a file is historical."""
    return options.type == "regression" and not Path(options.baseline).is_file()


def run_paired(options: argparse.Namespace, suite: Suite, systems: list[Any], settings: Settings) -> int:
    from . import revision
    from .pairs import Job
    from .regression import paired_row

    baseline, fresh = revision.tree_of(options.baseline), revision.here()
    rows = []
    for row in suite.rows:
        for system in systems:
            job = Job(suite.name, row.name, system.name, settings.threads, settings.device)
            rows.append(
                paired_row(
                    baseline,
                    fresh,
                    job,
                    options.threshold,
                    options.max_rounds,
                    gain_expected=options.expect_gain,
                    progress=progress(f"{row.name}, {system.name}"),
                )
            )
    return finish(rows, baseline.name, fresh.name, options)


def progress(what: str) -> Callable[[str], None]:
    """A line that is written over, on a terminal only."""
    if not sys.stderr.isatty():
        return lambda text: None
    return lambda text: print(f"\r\033[K{what}: {text}", end="", file=sys.stderr, flush=True)


def finish(rows: list[RowVerdict], baseline: str, fresh: str, options: argparse.Namespace) -> int:
    from .regression import exit_code, markdown, settle, table

    settle(rows)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if options.markdown:
        options.markdown.write_text(markdown(rows, baseline, fresh), encoding="utf-8")
    folder = getattr(options, "output", None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "regression.jsonl"
        path.write_text("".join(json.dumps(r.to_dict()) + "\n" for r in rows), encoding="utf-8")
        print(f"written: {path}")
    print(table(rows, baseline, fresh), flush=True)
    return exit_code(rows)


def run_historical(
    records: list[Record], options: argparse.Namespace, again: Callable[[set[str]], list[Record]], database: Path | None
) -> int:
    """After a run: against a file, or against the history."""
    from ..tracking.store import History
    from .historical import compare, from_file, from_history

    name = options.baseline or options.compare_baseline
    if name:
        baseline = from_file(Path(name))
    else:
        history = History(database, "read")
        baseline, name = from_history(history, records), f"of the history {history.path}"
    rows = compare(records, baseline, options.threshold, again, options.expect_gain)
    return finish(rows, name, "this run", options)


# ---- bisect-performance --------------------------------------------------------------------------------------------


def add_bisect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--good", required=True, metavar="REV", help="a revision that was fast")
    parser.add_argument("--bad", required=True, metavar="REV", help="a later one that is slow")
    parser.add_argument("--suite", "-s", required=True, help="where the slowdown shows")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows of the suite; else the one that lost most")
    parser.add_argument("--system", default="ours:conservative", help="what is timed (ours:conservative)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, help="threads of each side (default: PyTorch's)")
    _verdict_arguments(parser)
    parser.set_defaults(run=run_bisect)


def run_bisect(options: argparse.Namespace) -> int:
    from .bisection import hunt

    options.type, options.baseline = "bisect", ""
    check(options)
    return hunt(options, progress)

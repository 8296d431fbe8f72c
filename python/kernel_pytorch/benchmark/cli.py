# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch benchmark`, also as `kpt-benchmark`. Torch is imported only once something is measured.

Exit codes: 0 measured (also where rivals failed: their errors are results), 1 nothing of ours could be measured where
something should have been, or an error, 2 wrong usage. With --type regression or --compare-baseline: 0 nothing got
worse, 1 a regression, 2 no verdict. With --type stress: 0 all results right, memory steady; else 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KernelPyTorchError, input_error
from . import regression_cli

if TYPE_CHECKING:
    from .records import Record

_SUITES = "quick, encoders, decoders, vision, latency, ragged, train, gpu, kernels, transformers, optimization"
# Of warm-up and of rounds, for each system of a row: five systems and four rows then take half of two minutes.
_QUICK_S = 0.5
_LEVELS = ("conservative", "balanced", "aggressive")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is measured")
    what.add_argument("--suite", "-s", "--predefined", dest="suite", metavar="NAME", help=f"one of {_SUITES}")
    what.add_argument("--quick", action="store_true", help="the suite quick, about two minutes; the default")
    what.add_argument("--only", "--rows", nargs="+", metavar="ROW", help="rows of the suite, by their names")
    what.add_argument("--model", "-m", help="a model of your own instead: package.module:callable or a .pt2 file")
    what.add_argument("--input-shape", action="append", metavar="8x128", help="with --model: sizes, may be repeated")
    what.add_argument("--batch-sizes", nargs="+", type=int, metavar="N", help="with --model: in the place of the first")
    what.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), help="instead of the dtype of the row")
    against = parser.add_argument_group("what is compared")
    against.add_argument(
        "--type",
        choices=("compare", "model", "regression", "stress"),
        default="compare",
        help="model: eager and ours only; regression: against --baseline; stress: many callers at once",
    )
    against.add_argument(
        "--systems", nargs="+", metavar="NAME", help="folders of benchmarks/rivals, with :variant or :*"
    )
    against.add_argument("--levels", nargs="+", choices=_LEVELS, help="of ours; default: what the suite says, or all")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: the GPU where there is one"
    )
    how.add_argument("--threads", type=int, help="threads of each system (default: PyTorch's)")
    how.add_argument("--runs", type=int, default=0, help="rounds of a row, at least 3 (default: by time)")
    how.add_argument("--warmup", type=int, default=0, help="most calls of a warm-up (default 400)")
    how.add_argument("--seconds", type=float, default=2.0, help="of rounds, for each system of a row (default 2)")
    how.add_argument("--callers", type=int, default=8, help="threads that call at once, of --type stress (8)")
    how.add_argument("--no-reload", action="store_true", help="leave the warm load out")
    how.add_argument("--no-energy", action="store_true", help="leave energy out: a second for each system of a row")
    how.add_argument(
        "--limit",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds for a row, building eager, ours, then rivals",
    )
    out = parser.add_argument_group("what comes out")
    out.add_argument(
        "--output", "-o", type=Path, default=Path("results"), help="folder; a folder for each device in it"
    )
    out.add_argument(
        "--format", choices=("all", "json", "csv", "html"), default="all", help="JSON lines are always written"
    )
    out.add_argument("--history", type=Path, help="history file to record into (default: the user's own)")
    out.add_argument("--commit", help="of the source, where its repository is not on this machine")
    out.add_argument("--no-history", action="store_true", help="record into the output only")
    out.add_argument("--list", action="store_true", help="print suites, rows and systems; measure nothing")
    out.add_argument("--verbose", "-v", action="store_true", help="also print the notes of each system")
    regression_cli.add_arguments(parser)
    parser.set_defaults(run=run)


def main(arguments: list[str] | None = None) -> int:
    """The command `kpt-benchmark`."""
    parser = argparse.ArgumentParser(prog="kpt-benchmark", description="Measures models side by side with rivals.")
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except KernelPyTorchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished rows are in the output", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Measures what the options say, prints and writes it."""
    if options.list:
        print(_listing())
        return 0
    from .. import _native

    regression_cli.check(options)
    if options.limit < 0:
        raise input_error("benchmark", f"--limit {options.limit}", "seconds, 0 for none", "--limit 200")
    if options.commit:
        from .facts import tell_commit

        tell_commit(options.commit)
    _native.version()  # without the library nothing can be judged: say so before an hour of measuring
    settings = _settings(options)
    suite = _suite(options, settings.device)
    systems = _systems(options, suite, settings.device)
    _quiet()
    if options.type == "stress":
        from .stress import run_rows

        return run_rows(suite.rows, systems, settings, options.callers, options.seconds)
    if regression_cli.is_paired(options):
        return regression_cli.run_paired(options, suite, systems, settings)
    return _measure(options, suite, systems, settings)


def _measure(options: argparse.Namespace, suite: Any, systems: list[Any], settings: Any) -> int:
    from dataclasses import replace

    from ..tracking.store import History
    from . import historical, records
    from .live import LiveTable, display
    from .runner import run_suite

    history = None if options.no_history else History(options.history)  # its faults show before anything is measured
    paths = _paths(options.output, suite.name, settings)

    def save(made: list[Record]) -> None:
        records.append(paths["jsonl"], made)
        if history is not None:
            historical.record(history, made)

    def measure(rows: Any) -> list[Record]:
        part = replace(suite, rows=rows)
        show = display(len(rows))
        if isinstance(show, LiveTable):
            with show:
                return run_suite(part, systems, settings, show, save)
        return run_suite(part, systems, settings, show, save)

    found = measure(suite.rows)
    code = _finish(found, paths, options)
    if options.type != "regression" and options.compare_baseline is None:
        return code

    def again(names: set[str]) -> list[Record]:
        return measure(tuple(r for r in suite.rows if r.name in names))

    return regression_cli.run_historical(found, options, again, options.history)


def _settings(options: argparse.Namespace) -> Any:
    import torch

    from .rounds import WARM_UP_CALLS, WARM_UP_S
    from .runner import Settings

    if options.runs and options.runs < 3:
        raise input_error("benchmark", f"--runs {options.runs}", "at least 3: an interval needs them", "--runs 5")
    if options.threads is not None:
        if options.threads < 1:
            raise input_error("benchmark", f"--threads {options.threads}", "at least 1", "--threads 2")
        torch.set_num_threads(options.threads)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise input_error("benchmark", "--device cuda without a GPU", "one that PyTorch sees", "--device cpu")
    quick = options.model is None and (options.suite in (None, "quick"))
    return Settings(
        device,
        torch.get_num_threads(),
        options.runs,
        min(options.seconds, _QUICK_S) if quick else options.seconds,
        _QUICK_S if quick else WARM_UP_S,
        options.warmup or WARM_UP_CALLS,
        not (options.no_reload or quick),
        not options.no_energy,
        options.limit,
    )


def _suite(options: argparse.Namespace, device: str) -> Any:
    from dataclasses import replace

    from .runner import rows_of_model
    from .suites import on_device, suite

    if options.model:
        if options.suite or options.quick:
            raise input_error("benchmark", "--model and --suite", "one of the two", "--model alone")
        return rows_of_model(
            options.model, options.input_shape or [], options.batch_sizes or [], options.dtype or "fp32"
        )
    if options.quick and options.suite not in (None, "quick"):
        raise input_error("benchmark", "--quick and --suite", "one of the two", "--suite alone")
    found = on_device(suite(options.suite or "quick"), device)
    rows = found.rows
    if options.only:
        unknown = [name for name in options.only if name not in {r.name for r in rows}]
        if unknown:
            names = "; ".join(r.name for r in rows)
            raise input_error("benchmark", f"--only {unknown[0]!r}", f"rows of {found.name}", names)
        rows = tuple(r for r in rows if r.name in options.only)
    if options.dtype:
        rows = tuple(replace(r, dtype=options.dtype) for r in rows)
    return replace(found, rows=rows)


def _systems(options: argparse.Namespace, suite: Any, device: str) -> list[Any]:
    from .summary import HEADLINES
    from .systems import select

    names = options.systems or list(suite.systems)
    if options.type == "model" and not options.systems:
        names = ["eager", "ours:*"]
    elif options.type in ("regression", "stress") and not options.systems:
        names = [HEADLINES[device]]
    chosen = select(names)
    if options.levels:
        kept = [s for s in chosen if not s.ours]
        chosen = kept + select([f"ours:{level}" for level in options.levels])
    return chosen


def _paths(output: Path, suite: str, settings: Any) -> dict[str, Path]:
    from .facts import device_name

    folder = output / device_name(settings.device, settings.threads)
    return {ending: folder / f"{suite}.{ending}" for ending in ("jsonl", "csv", "html")}


def _quiet() -> None:
    """Loggers of libraries would tear the table."""
    import logging
    import warnings
    from importlib.util import find_spec

    warnings.filterwarnings("ignore")
    logging.getLogger("torch").setLevel(logging.ERROR)
    if find_spec("transformers") is not None:
        from transformers.utils import logging as of_transformers

        of_transformers.set_verbosity_error()
        of_transformers.disable_progress_bar()


def _finish(records: list[Record], paths: dict[str, Path], options: argparse.Namespace) -> int:
    from .page import page
    from .records import OK, latest, read, write_csv
    from .summary import lines

    everything = latest(read(paths["jsonl"]))  # earlier calls may have measured other rows of the suite
    if options.format in ("all", "csv"):
        write_csv(paths["csv"], everything)
    if options.format in ("all", "html"):
        paths["html"].write_text(page(everything), encoding="utf-8")
    if options.verbose:
        for r in records:
            for note in r.notes:
                print(f"{r.row}, {r.system}: {note}")
    written = [str(p) for ending, p in paths.items() if ending == "jsonl" or options.format in ("all", ending)]
    print(f"\nwritten: {', '.join(written)}")
    here = {(r.row, r.dtype) for r in records}
    rest = [r for r in everything if (r.row, r.dtype) not in here]
    if rest:
        print(f"with rows of earlier calls: {lines(rest + latest(records))[-1]}")
    print("\n".join(lines(records)), flush=True)
    ours = [r for r in records if r.system.startswith("ours")]
    broken = [r for r in ours if r.status not in (OK, "not here")]
    return 1 if broken else 0


def _listing() -> str:
    from .suites import ALIASES, SUITES
    from .systems import systems

    lines = []
    for suite in SUITES.values():
        lines.append(f"{suite.name}: {suite.about}")
        lines += [f"  {row.name}  ({row.dtype}, {' or '.join(row.devices)})" for row in suite.rows]
    lines += [f"{name} = {' + '.join(parts)}" for name, parts in ALIASES.items()]
    return "\n".join([*lines, f"systems: {', '.join(systems())}"])

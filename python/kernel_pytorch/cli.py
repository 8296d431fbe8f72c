# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch optimize | doctor | explain | benchmark | bisect-performance | profile | history`. Torch is imported
only once a command needs it, so --help is quick.

Exit codes: 0 done (optimize: also where the original was kept because nothing was gained), 1 failed, 2 wrong usage;
doctor: 0 all good, 1 something is broken, 2 warnings only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import KernelPyTorchError

if TYPE_CHECKING:
    from .models import LoadedModel
    from .module import OptimizedModule

_LEVELS = ("conservative", "balanced", "aggressive", "auto", "basic", "jit", "compile", "triton", "production")
_MODEL_HELP = "all-MiniLM-L6-v2 (packaged), package.module:callable, or a .pt2 file; never a pickle"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kernelpytorch", description="Makes PyTorch models faster and proves it.")
    parser.add_argument("--version", action="version", version=f"kernelpytorch {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    optimize = commands.add_parser("optimize", help="optimise a model, compare it with the original, print the report")
    _model_arguments(optimize)
    optimize.add_argument("--output", "-o", type=Path, help="write the report as JSON to this file")
    optimize.add_argument("--no-fallback", action="store_true", help="refuse operators that only PyTorch can run")
    optimize.add_argument("--verbose", "-v", action="store_true", help="also print the optimised graph and the plan")
    optimize.set_defaults(run=_optimize)

    doctor = commands.add_parser("doctor", help="check this installation and this machine")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)

    explain = commands.add_parser("explain", help="tell how one value of a model is computed and why")
    explain.add_argument("model", help=_MODEL_HELP)
    explain.add_argument("node", nargs="?", help="name of a value of the optimised graph; left out: list the names")
    _compile_arguments(explain)
    explain.set_defaults(run=_explain)

    from .benchmark import cli as benchmark
    from .benchmark import regression_cli as regression
    from .profiling import cli as profile
    from .tracking import cli as history

    benchmark.add_arguments(commands.add_parser("benchmark", help="measure models side by side with rivals, in rounds"))
    bisect = commands.add_parser("bisect-performance", help="find the commit that made a suite slower")
    regression.add_bisect_arguments(bisect)
    profile.add_arguments(commands.add_parser("profile", help="where the time of a model goes and what bounds it"))
    history.add_arguments(commands.add_parser("history", help="stored measurements: list, show, plot, compare"))
    return parser


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", "-m", required=True, help=_MODEL_HELP)
    _compile_arguments(parser)


def _compile_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--level", "-l", choices=_LEVELS, default="auto", help="how far precision may go (default: the setting)"
    )
    parser.add_argument("--input-shape", action="append", metavar="8x128", help="sizes of a sample; may be given again")
    parser.add_argument("--hardware", choices=("auto", "cpu"), default="auto", help="device to optimise for")
    parser.add_argument("--threads", type=int, help="threads of one call, for both models")
    parser.add_argument("--dynamic-shapes", choices=("auto", "off"), default="auto", help="let batch and sequence vary")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except KernelPyTorchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _load(options: argparse.Namespace) -> LoadedModel:
    import torch

    from .errors import input_error
    from .models import load, parse_shape

    if options.threads is not None:
        if options.threads < 1:
            raise input_error("threads", options.threads, "at least 1", "--threads 2")
        torch.set_num_threads(options.threads)
    return load(options.model, [parse_shape(text) for text in options.input_shape or ()])


def _run(options: argparse.Namespace, loaded: LoadedModel, allow_fallback: bool) -> OptimizedModule:
    from .optimize import auto_optimize

    samples = loaded.samples
    with show_progress(quiet=options.json) as progress:
        return auto_optimize(
            loaded.model,
            [_as_input(s) for s in samples] if samples else None,
            optimization_level=options.level,
            dynamic_shapes="auto" if options.dynamic_shapes == "auto" else False,
            allow_fallback=allow_fallback,
            progress=progress,
        )


def _as_input(sample: Any) -> Any:
    """A sample call as auto_optimize takes it; positional and keyword arguments together have no such form."""
    from .errors import input_error

    if sample.args and sample.kwargs:
        raise input_error("models", "a sample of positional and keyword arguments", "one of the two", "keywords only")
    return sample.args or sample.kwargs


@contextmanager
def show_progress(quiet: bool) -> Iterator[Callable[[str, float], None] | None]:
    """A bar for each stage on stderr; nothing where stderr is no terminal or JSON was asked for."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:>9}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=share)

        yield show


def _optimize(options: argparse.Namespace) -> int:
    loaded = _load(options)
    fast = _run(options, loaded, not options.no_fallback)
    report = fast.report
    report.model = loaded.name
    if options.output is not None:
        options.output.write_text(report.to_json() + "\n", encoding="utf-8")
    print(report.to_json() if options.json else report)
    if options.verbose and not options.json:
        print(f"\n{fast.graph}\n{fast.plan_text}")
    return 0


def _explain(options: argparse.Namespace) -> int:
    loaded = _load(options)
    fast = _run(options, loaded, True)
    names = [] if not fast.graph else _names(fast.graph)
    if options.node is None:
        print(json.dumps(names) if options.json else "\n".join(names) or fast.report.reason)
        return 0
    text = fast.explain(options.node)
    print(json.dumps({"node": options.node, "explanation": text}) if options.json else text)
    return 0


def _names(graph: str) -> list[str]:
    from .plan import defined

    return defined(graph)


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import BROKEN, WARNING, checks

    found = checks()
    if options.json:
        print(json.dumps([check.__dict__ for check in found], indent=2))
    else:
        width = max(len(check.name) for check in found)
        for check in found:
            print(f"{check.status:<11}  {check.name:<{width}}  {check.detail}")
    states = {check.status for check in found}
    return 1 if BROKEN in states else 2 if WARNING in states else 0

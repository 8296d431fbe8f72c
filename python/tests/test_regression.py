# SPDX-License-Identifier: Apache-2.0
"""`benchmark --type regression` and `bisect-performance`, without a stopwatch: trees whose package says how long it
takes stand for revisions; the workers, their protocol and the verdicts are the real ones."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from kernel_pytorch import InputError, OptimizationError, cli
from kernel_pytorch.benchmark import bisection, historical, regression, revision
from kernel_pytorch.benchmark.pairs import Job, MissingError, Paired, Tree, Worker
from kernel_pytorch.benchmark.records import Record, append
from kernel_pytorch.benchmark.regression import RowVerdict, paired_row
from kernel_pytorch.tracking import History
from kernel_pytorch.tracking.verdict import GAIN, NO_VERDICT, NONE, REGRESSION, Finding

ROW = "MLP 32x256"
JOB = Job("quick", ROW, "ours:conservative", 1)
# A package as a worker needs it. SPEED.json: ms of a call, noise, launches, weights.
_FAKE = {
    "torch/__init__.py": "uint8 = 'u8'\ndef set_num_threads(n): pass\n",
    "kernel_pytorch/__init__.py": "",
    "kernel_pytorch/benchmark/__init__.py": "",
    "kernel_pytorch/benchmark/clock.py": """
import itertools, json, pathlib
speed = json.loads(pathlib.Path("SPEED.json").read_text())
print("a library prints to stdout")
class Clock:
    noise = itertools.cycle([1.0, 1.002, 0.998, 1.001, 0.999, 1.003, 0.997])
    def measure(self, call, repeats):
        call()
        return speed["ms"] * next(self.noise)
    def synchronise(self): pass
def make_clock(device): return Clock()
class Warm:
    ms, steady = speed["ms"], True
def warm_up(clock, call, seconds, calls): return Warm
""",
    "kernel_pytorch/benchmark/meters.py": """
class PeakMemory:
    mb = 3.5
    def __init__(self, device): pass
    def __enter__(self): return self
    def __exit__(self, *exception): pass
""",
    "kernel_pytorch/benchmark/suites.py": """
class Row: name = "MLP 32x256"
class Suite: rows = [Row]
def suite(name): return Suite
def on_device(suite, device): return suite
""",
    "kernel_pytorch/benchmark/runner.py": """
import contextlib, hashlib
from .clock import speed
class T:
    dtype, shape = "f32", (1,)
    def numel(self): return 1
    def detach(self): return self
    cpu = contiguous = numpy = detach
    def view(self, _): return self
    def tobytes(self): return speed.get("weights", "same").encode()
class Model:
    def state_dict(self): return {"w": T()}
class Sample:
    def tensors(self): return []
class Work:
    model, sample, kind, device = Model(), Sample(), "model", "cpu"
    def mode(self): return contextlib.nullcontext()
def Settings(device, threads): return None
def make_work(row, settings, folder): return Work()
""",
    "kernel_pytorch/benchmark/systems.py": """
from .clock import speed
class Built:
    notes, launches = [], speed.get("launches", 7)
    def call(self):
        if speed.get("raises"): raise ValueError("the kernel is broken")
        if speed.get("dies"): import os; os._exit(3)
class System:
    ours = True
    def missing(self, work): return speed.get("missing")
    def build(self, work): assert work.kind == "kernel"; return Built()
def select(names): return [System()]
""",
}


def tree(folder: Path, ms: float, **more: object) -> Tree:
    for name, text in _FAKE.items():
        path = folder / "python" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "SPEED.json").write_text(json.dumps({"ms": ms, **more}))
    return Tree(folder, folder.name)


def compare(tmp_path: Path, ms: float, threshold: float = 0.02, **more: object) -> RowVerdict:
    base, new = tree(tmp_path / "base", 2.0), tree(tmp_path / "new", ms, **more)
    return paired_row(base, new, JOB, threshold, max_rounds=40, pairs=2)


# ---- paired --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "outcome", "severity"),
    [
        (2.0, NONE, "none"),
        (2.01, NONE, "none"),  # below the threshold of 2 %
        (2.1, REGRESSION, "minor"),
        (2.3, REGRESSION, "moderate"),
        (3.0, REGRESSION, "severe"),
        (1.5, GAIN, "none"),
    ],
)
def test_two_builds_alternate_and_the_slower_one_is_found(
    tmp_path: Path, ms: float, outcome: str, severity: str
) -> None:
    found = compare(tmp_path, ms)
    assert (found.finding.outcome, found.finding.severity) == (outcome, severity), found.finding.reason
    assert found.finding.change == pytest.approx(ms / 2.0 - 1, abs=0.005)
    assert (found.baseline_ms, found.fresh_ms) == (pytest.approx(2.0, rel=0.01), pytest.approx(ms, rel=0.01))
    assert found.tolerance == pytest.approx(0.02)
    assert len(found.log_ratios) == 20
    assert [len(rounds) for rounds in found.equal_log_ratios] == [40, 40]
    assert found.finding.unexplained_gain is (outcome == GAIN)


def test_a_launch_more_is_a_regression_however_fast(tmp_path: Path) -> None:
    found = compare(tmp_path, 1.5, launches=8)
    assert found.finding.outcome == REGRESSION
    assert "more launches" in found.finding.reason


def test_other_weights_are_another_benchmark(tmp_path: Path) -> None:
    found = compare(tmp_path, 2.0, weights="others")
    assert found.finding.outcome == NO_VERDICT
    assert "differ between the two revisions" in found.finding.reason


def test_what_a_side_cannot_run_has_no_verdict_and_what_fails_is_an_error(tmp_path: Path) -> None:
    assert "new: no GPU" in compare(tmp_path, 2.0, missing="no GPU").finding.reason
    with pytest.raises(OptimizationError, match="new: ValueError: the kernel is broken"):
        compare(tmp_path, 2.0, raises=True)
    with pytest.raises(OptimizationError, match="the worker of new ended with 3"):
        compare(tmp_path, 2.0, dies=True)


def test_a_revision_without_the_row_says_so(tmp_path: Path) -> None:
    base = tree(tmp_path / "base", 2.0)
    with pytest.raises(MissingError, match="no row 'x' in quick"), Paired(base, base, Job("quick", "x", "ours", 1)):
        pass


def test_a_prelude_runs_in_the_worker_first(tmp_path: Path) -> None:
    prelude = tmp_path / "prelude.py"
    prelude.write_text("import json, pathlib\npathlib.Path('SPEED.json').write_text(json.dumps({'ms': 9.0}))\n")
    base = tree(tmp_path / "base", 2.0)
    worker = Worker(Tree(base.root, "slowed", prelude))
    worker.start(JOB)
    worker.started()
    worker.warm()
    assert worker.facts["ms"] == 9.0
    assert worker.memory_mb() == 3.5
    worker.close()


def test_noise_above_the_threshold_is_no_all_clear() -> None:
    quiet = Finding(NONE, reason="+0.1 %")
    assert regression.threshold_rule(quiet, 0.01, 0.05) is quiet
    found = regression.threshold_rule(quiet, 0.12, 0.05)
    assert (found.outcome, "noise here is 12.0%" in found.reason) == (NO_VERDICT, True)
    loud = Finding(REGRESSION)
    assert regression.threshold_rule(loud, 0.12, 0.05) is loud


def test_exit_codes_and_tables() -> None:
    def rows(*outcomes: str) -> list[RowVerdict]:
        return [RowVerdict("a|b", "ours", Finding(o, reason="why", p=1e-9), 1.0, 2.0, 0.05, 7, 7) for o in outcomes]

    assert regression.exit_code(rows(NONE, GAIN)) == 0
    assert regression.exit_code(rows(NONE, REGRESSION, NO_VERDICT)) == 1
    assert regression.exit_code(rows(NONE, NO_VERDICT)) == 2
    assert regression.exit_code([]) == 2
    text = regression.markdown(rows(NONE, REGRESSION), "base", "head")
    assert "| a/b | ours | 1 | 2 |" in text
    assert "### Performance: 1 regressions, 0 gains, 0 without a verdict, of 2 rows" in text
    assert "why" in regression.table(rows(REGRESSION), "base", "head")


def test_one_of_many_with_weak_evidence_is_taken_back() -> None:
    weak = RowVerdict("a", "ours", Finding(REGRESSION, "minor", p=0.04))
    rows = [weak, *[RowVerdict(str(i), "ours", Finding(NONE, p=0.9)) for i in range(30)]]
    assert regression.exit_code(regression.settle(rows)) == 2


# ---- revisions -----------------------------------------------------------------------------------------------------


def run_git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six commits; the fourth makes it slower, the third cannot be built."""
    root = tmp_path / "repository"
    root.mkdir()
    run_git(root, "init", "-q", "-b", "main")
    for number, ms in enumerate((2.0, 2.0, 2.0, 2.4, 2.4, 2.4)):
        tree(root, ms, number=number)
        run_git(root, "add", "-A")
        run_git(root, "commit", "-qm", f"commit {number}")
    monkeypatch.setattr(revision, "ROOT", root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(revision, "build", build)
    return root


def build(folder: Path) -> None:
    if json.loads((folder / "SPEED.json").read_text())["number"] == 2:
        raise OptimizationError("[benchmark] it does not compile")


def test_a_revision_is_built_once_in_a_folder_of_its_own(repository: Path) -> None:
    said: list[str] = []
    made = revision.tree_of("HEAD~5", say=said.append)
    assert json.loads((made.root / "SPEED.json").read_text())["number"] == 0
    assert made.root.parent == revision.folder_of_revisions()
    assert revision.tree_of("HEAD~5", say=said.append).root == made.root
    assert len(said) == 1
    assert (repository / "SPEED.json").read_text() != (made.root / "SPEED.json").read_text()


def test_a_half_built_folder_is_made_again(repository: Path) -> None:
    with pytest.raises(OptimizationError, match="does not compile"):
        revision.tree_of("HEAD~3")
    made = revision.folder_of_revisions() / revision.resolve("HEAD~4")
    made.mkdir(parents=True)
    (made / "rest").write_text("of a build that was stopped")
    assert not (revision.tree_of("HEAD~4").root / "rest").exists()


def test_names_that_are_no_revision_are_refused(repository: Path) -> None:
    with pytest.raises(InputError, match="a git revision, a folder of a built tree or a .jsonl file"):
        revision.tree_of("no-such-name")
    with pytest.raises(InputError, match="bad after good"):
        revision.commits_between("HEAD", "HEAD~2")
    assert revision.tree_of(str(repository)).root == repository


def test_bisect_finds_the_commit_and_steps_around_one_that_does_not_build(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["bisect-performance", "--good", "HEAD~5", "--bad", "HEAD", "--suite", "quick", "--only", ROW]
    code = cli.main([*words, "--max-rounds", "40", "--threads", "1"])
    out = capsys.readouterr().out
    assert code == 2  # the third commit does not build, so it and the fourth cannot be told apart
    assert "it does not compile" in out
    suspects = [revision.resolve(name)[:10] for name in ("HEAD~3", "HEAD~2")]
    assert f"one of these, the others could not be asked: {', '.join(suspects)}" in out
    monkeypatch.setattr(revision, "build", lambda folder: None)
    code = cli.main([*words, "--max-rounds", "40", "--threads", "1"])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "commit 3" in out.splitlines()[-2]
    assert out.splitlines()[-1].startswith(f"{ROW}: regression against the commit before it, +20")


def test_bisect_says_when_bad_is_not_slower(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bisect-performance", "--good", "HEAD~2", "--bad", "HEAD", "--suite", "quick", "--only", ROW]
    assert cli.main([*words, "--max-rounds", "40", "--threads", "1"]) == 1
    assert "0 regressions" in capsys.readouterr().out


@pytest.mark.parametrize("guilty", range(9))
def test_every_place_of_the_guilty_commit_is_found_in_few_questions(guilty: int) -> None:
    asked: list[str] = []

    def ask(commit: str) -> RowVerdict:
        asked.append(commit)
        return RowVerdict("r", "ours", Finding(REGRESSION if int(commit) >= guilty else NONE))

    found = bisection.Bisection([str(i) for i in range(9)], ask, say=lambda text: None).run()
    assert found == [str(guilty)]
    assert len(asked) <= 4


# ---- the command, historical ---------------------------------------------------------------------------------------

SAMPLES = [2.0, 2.01, 1.99, 2.005, 1.995, 2.002, 1.998, 2.0]


def record(factor: float = 1.0, **more: object) -> Record:
    fields = {"machine": {"cpu": "x", "threads": 1, "memory_gb": 1.0}, "dtype": "fp32", "key": "ab" * 32}
    fields |= {"samples_ms": [s * factor for s in SAMPLES], "median_ms": 2.0 * factor}
    return Record("quick", ROW, "ours:conservative", **fields | more)


def judged(now: Record, second: Record, before: Record | None = None) -> tuple[RowVerdict, list[set[str]]]:
    base = {(ROW, "fp32", "ours:conservative"): historical.Stored(SAMPLES, 7, (before or record()).machine, 2.0)}
    asked: list[set[str]] = []

    def again(rows: set[str]) -> list[Record]:
        asked.append(rows)
        return [second]

    (row,) = historical.compare([now], base, 0.05, again)
    return row, asked


def test_a_warning_is_measured_again_and_counts_only_if_confirmed() -> None:
    row, asked = judged(record(1.2), record(1.2))
    assert (row.finding.outcome, row.finding.confirmed, asked) == (REGRESSION, True, [{ROW}])
    row, asked = judged(record(1.2), record(1.0))
    assert (row.finding.outcome, asked) == (NO_VERDICT, [{ROW}])
    assert "one run of two" in row.finding.reason
    row, asked = judged(record(1.02), record(9.9))
    assert (row.finding.outcome, asked) == (NONE, [])


def test_another_machine_a_missing_row_and_a_failure_have_no_verdict() -> None:
    row, _ = judged(record(machine={"cpu": "y"}), record())
    assert "another machine" in row.finding.reason
    assert judged(record(machine={"cpu": "x", "threads": 1, "memory_gb": 1.1}), record())[0].finding.outcome == NONE
    assert historical.compare([record()], {}, 0.05, lambda _: [])[0].finding.reason == "not in the baseline"
    failed = record(status="failed", reason="boom")
    assert judged(failed, failed)[0].finding.reason == "now failed: boom"


def test_a_file_that_is_no_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for text in ("", "notes\n", "[1]\n", '{"schema": 99}\n'):
        path.write_text(text)
        with pytest.raises(InputError, match="x.jsonl"):
            historical.from_file(path)
    append(path.with_name("y.jsonl"), [record()])
    assert historical.from_file(path.with_name("y.jsonl"))[ROW, "fp32", "ours:conservative"].samples_ms == SAMPLES


def test_a_run_goes_into_the_history_and_is_found_as_baseline(tmp_path: Path) -> None:
    history = History(tmp_path / "h.sqlite")
    assert historical.record(history, [record(launches=7, cold_s=1.5), record(status="wrong")]) == 1
    historical.record(history, [record(1.5)])
    (entry, first) = history.list()
    assert (first.name, first.system) == (f"{ROW} fp32", "ours:conservative")
    assert first.metric("kernel_count").value == 7
    assert first.metric("compile_time").value == 1.5
    stored = historical.from_history(history, [record(1.0)])[ROW, "fp32", "ours:conservative"]
    assert (stored.samples_ms, stored.launches) == (SAMPLES, 7)  # the oldest
    history.set_baseline(entry.id)
    assert historical.from_history(history, [record()])[ROW, "fp32", "ours:conservative"].median_ms == 3.0


def test_the_command_refuses_what_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    for words, text in (
        (["--type", "regression"], "--type regression and --baseline"),
        (["--baseline", "HEAD"], "--type regression and --baseline"),
        (["--type", "regression", "--baseline", "HEAD", "--threshold", "7"], "--threshold 7"),
        (["--type", "regression", "--baseline", "HEAD", "--max-rounds", "3"], "--max-rounds 3"),
    ):
        assert cli.main(["benchmark", *words]) == 1
        assert text in capsys.readouterr().err


def test_the_command_compares_two_trees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = tree(tmp_path / "base", 2.0), tree(tmp_path / "new", 2.6)
    monkeypatch.setattr(revision, "here", lambda: new)
    words = ["benchmark", "--type", "regression", "--baseline", str(base.root), "--only", ROW, "--max-rounds", "40"]
    words += ["--output", str(tmp_path / "out"), "--markdown", str(tmp_path / "comment.md"), "--threads", "1"]
    assert cli.main(words) == 1
    out = capsys.readouterr().out
    assert "regression (severe)" in out
    assert out.splitlines()[-1] == "1 regressions, 0 gains, 0 without a verdict, of 1 rows"
    (line,) = (tmp_path / "out" / "regression.jsonl").read_text().splitlines()
    assert json.loads(line)["finding"]["severity"] == "severe"
    assert "| MLP 32x256 |" in (tmp_path / "comment.md").read_text()

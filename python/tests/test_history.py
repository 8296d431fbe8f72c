# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch history` and the typed history below it: what is printed, and what a file that is no history gives."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kernel_pytorch import InputError, OptimizationError, UnsupportedError, cli
from kernel_pytorch.tracking import History, Metric
from kernel_pytorch.tracking.cli import sparkline
from kernel_pytorch.tracking.store import default_path, key_of, machine

KEY = "ab" * 32
SAMPLES = [10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98, 10.01, 9.99, 10.03]


def put(history: History, factor: float = 1.0, launches: int = 12, **more: str) -> int:
    metrics = [Metric("latency", [s * factor for s in SAMPLES]), Metric("kernel_count", value=launches)]
    return history.record(more.pop("key", KEY), "quick", more.pop("name", "MiniLM 1x16"), "ours", metrics, **more)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def run(capsys: pytest.CaptureFixture[str], database: Path, *words: object) -> tuple[int, str]:
    code = cli.main(["history", "--database", str(database), *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def child(code: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, with this package."""
    root = Path(cli.__file__).resolve().parents[1]
    env = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


# ---- what is stored ------------------------------------------------------------------------------------------------


def test_a_record_comes_back_with_every_sample(database: Path) -> None:
    number = put(History(database), commit="abc")
    entry = History(database, "read").get(number)
    assert (entry.key, entry.suite, entry.name, entry.system, entry.commit) == (
        KEY,
        "quick",
        "MiniLM 1x16",
        "ours",
        "abc",
    )
    assert list(entry.metric("latency").samples) == SAMPLES
    assert entry.metric("latency").value == pytest.approx(10.005)
    assert (entry.metric("latency").unit, entry.metric("latency").direction) == ("ms", "lower")
    assert entry.device == machine()[0]


def test_a_baseline_is_found_from_another_process_and_folder(database: Path, tmp_path: Path) -> None:
    history = History(database)
    number = put(history)
    put(history, 1.1)
    history.set_baseline(number)
    code = (
        "import sys; from kernel_pytorch.tracking import History\n"
        f"print(History(sys.argv[1], 'read').baseline('{KEY}').id)"
    )
    done = child(code, database, cwd=tmp_path)
    assert done.stdout.strip() == str(number), done.stderr


def test_the_key_does_not_depend_on_the_order_of_facts() -> None:
    one = key_of("g", [[1, 2]], ["f32"], {"a": 1, "b": 2}, {"v": "1"})
    assert one == key_of("g", [[1, 2]], ["f32"], {"b": 2, "a": 1}, {"v": "1"})
    assert one != key_of("g", [[2, 1]], ["f32"], {"a": 1, "b": 2}, {"v": "1"})


def test_the_default_lies_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path() == tmp_path / "kernel_pytorch" / "history.sqlite"
    put(History())
    assert default_path().exists()


# ---- the command ---------------------------------------------------------------------------------------------------


def test_list_is_newest_first_and_filters(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = History(database)
    put(history, created="2026-01-01T00:00:00.000000Z")
    put(history, created="2026-02-01T00:00:00.000000Z", name="MLP", commit="0123456789abcdef")
    code, text = run(capsys, database, "list")
    lines = text.splitlines()
    assert code == 0
    assert lines[0].split() == ["id", "when", "suite", "benchmark", "system", "commit", "value"]
    assert lines[1].split() == [
        "2",
        "2026-02-01",
        "00:00",
        "quick",
        "MLP",
        "ours",
        "0123456789",
        "latency",
        "10.005",
        "ms",
    ]
    assert "MiniLM" in lines[2]
    assert "MiniLM" not in run(capsys, database, "list", "--since", "2026-02")[1]
    assert run(capsys, database, "list", "--name", "nothing")[1].startswith("no such record in ")
    found = [json.loads(line) for line in run(capsys, database, "list", "--json")[1].splitlines()]
    assert found[1]["metrics"][0]["samples"] == SAMPLES


def test_show_prints_device_samples_and_spread(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(History(database), commit="abc")
    code, text = run(capsys, database, "show", 1)
    assert code == 0
    assert "record 1: quick / MiniLM 1x16 / ours" in text
    assert "latency 10.005 ms (lower is better)" in text
    assert "10 samples, quartiles 9.9725, 10.005, 10.035" in text
    assert "kernel_count 12 launches" in text
    code, text = run(capsys, database, "show", 7)
    assert code == 1
    assert "got record 7, want one of" in text


def test_plot_draws_a_line_for_each_record_to_one_scale(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = History(database)
    put(history, 1.0, created="2026-01-01T00:00:00.000000Z")
    put(history, 2.0, created="2026-02-01T00:00:00.000000Z")
    code, text = run(capsys, database, "plot")
    title, first, second, _ = text.splitlines()
    assert code == 0
    assert title == "quick / MiniLM 1x16 / ours: latency, ms"
    assert "2026-01-01" in first
    assert first.index("●") < 35 < second.index("●")  # the older record was faster: further left
    assert "no record with memory" in run(capsys, database, "plot", "--metric", "memory")[1]


@pytest.mark.parametrize(("factor", "launches", "code"), [(1.0, 12, 0), (1.3, 12, 1), (1.0, 13, 1), (0.7, 11, 0)])
def test_compare_exits_by_its_verdict(
    database: Path, capsys: pytest.CaptureFixture[str], factor: float, launches: int, code: int
) -> None:
    history = History(database)
    put(history)
    put(history, factor, launches)
    got, text = run(capsys, database, "compare", 1, 2)
    assert got == code, text
    if factor == 1.3:
        assert "+30.0%" in text
        assert "regression (severe)" in text
    if factor == 0.7:
        assert "-30.0%" in text
        assert "gain" in text


def test_compare_says_when_keys_differ_and_confirms_by_the_run_before(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History(database)
    for factor in (1.0, 1.2, 1.2):
        put(history, factor)
    put(history, key="cd" * 32)
    assert "the keys differ" in run(capsys, database, "compare", 1, 4)[1]
    assert "not confirmed by the run before" in run(capsys, database, "compare", 1, 3)[1]
    assert "as in the run before" in run(capsys, database, "compare", 1, 3, "--previous", 2)[1]


def test_export_and_import_carry_everything_once(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(History(database))
    lines = tmp_path / "out.jsonl"
    assert run(capsys, database, "export", lines) == (0, f"1 records in {lines}\n")
    other = tmp_path / "other.sqlite"
    assert run(capsys, other, "import", lines) == (0, "1 records added, 0 were there\n")
    assert run(capsys, other, "import", lines) == (0, "0 records added, 1 were there\n")
    assert run(capsys, other, "check") == (0, f"{other}: ok\n")
    lines.write_text(lines.read_text().replace('"MiniLM', '"MaxiLM'))
    code, text = run(capsys, other, "import", lines)
    assert code == 1
    assert "line 1" in text


def test_baseline_names_the_record(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(History(database))
    assert run(capsys, database, "baseline", 1)[1] == "record 1 is the baseline of MiniLM 1x16 / ours\n"
    assert History(database, "read").baseline(KEY).id == 1


def test_a_sparkline_rises_with_its_values() -> None:
    assert sparkline([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) == "▁▂▃▄▅▆▇█"
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert len(sparkline(list(range(1000)))) == 60


# ---- files that are no history, disks that are full ----------------------------------------------------------------


def test_a_missing_file_is_not_made_by_reading(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, database, "list")
    assert code == 1
    assert str(database) in text
    assert "Traceback" not in text
    assert not database.exists()


def test_a_damaged_file_is_named_and_left_alone(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = History(database)
    for _ in range(30):
        put(history)
    del history
    data = bytearray(database.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    database.write_bytes(data)
    for verb in (["list"], ["import", "x.jsonl"]):
        code, text = run(capsys, database, *verb)
        assert code == 1
        assert str(database) in text
        assert "Traceback" not in text
    assert database.read_bytes() == bytes(data)


def test_text_and_foreign_databases_are_refused(database: Path, tmp_path: Path) -> None:
    database.write_text("notes of somebody\n" * 100)
    with pytest.raises(InputError, match="history.sqlite"):
        History(database)
    assert database.read_text().startswith("notes of somebody")
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as other:
        other.execute("CREATE TABLE bookmarks(url TEXT)")
    with pytest.raises(InputError, match="foreign.sqlite"):
        History(foreign)
    with sqlite3.connect(foreign) as other:
        assert [row[0] for row in other.execute("SELECT name FROM sqlite_master")] == ["bookmarks"]


def test_a_file_of_a_newer_program_is_refused(database: Path) -> None:
    put(History(database))
    with sqlite3.connect(database) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(UnsupportedError, match="99"):
        History(database)


def test_two_writers_the_second_is_told_and_nothing_is_lost(database: Path) -> None:
    put(History(database))
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OptimizationError, match="lock"):
        put(History(database))
    other.execute("ROLLBACK")
    assert len(History(database, "read").list()) == 1
    assert put(History(database)) == 2


def test_a_full_disk_is_told_and_old_records_stay(database: Path) -> None:
    """A limit on the size of files stands for the disk."""
    put(History(database))
    code = (
        "import resource, sys\n"
        "from kernel_pytorch import OptimizationError\n"
        "from kernel_pytorch.tracking import History, Metric\n"
        "history = History(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try:\n"
        "    for _ in range(100):\n"
        f"        history.record('{KEY}', 's', 'n', 'x', [Metric('latency', [1.0] * 1000)])\n"
        "except OptimizationError as error:\n"
        "    print(error)\n"
    )
    done = child(code, database)
    assert done.returncode == 0, done.stderr
    assert str(database) in done.stdout
    assert any(word in done.stdout for word in ("full", "room", "disk")), done.stdout
    left = History(database)
    assert left.check() == "ok"
    assert left.list()[-1].metric("latency").samples == tuple(SAMPLES)


def test_a_read_only_folder_is_named() -> None:
    """Root may write everywhere, so as root the child becomes nobody once everything is loaded."""
    folder = Path(tempfile.mkdtemp(prefix="kpt-history-"))
    put(History(folder / "h.sqlite"))
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    code = (
        "import os, sys\n"
        "from kernel_pytorch import OptimizationError, _native\n"
        "from kernel_pytorch.tracking import History, Metric\n"
        "_native.version()\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        f"        History(path).record('{KEY}', 's', 'n', 'x', [Metric('latency', [1.0])])\n"
        "    except OptimizationError as error:\n"
        "        print(error)\n"
    )
    try:
        done = child(code, folder / "h.sqlite", folder / "deeper" / "h.sqlite")
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert f"{folder}/h.sqlite" in first
        assert f"got Permission denied for the folder {folder}/deeper" in second
    finally:
        folder.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptimizationError, match="for the folder .*/file, want one that may be written"):
        History(tmp_path / "file" / "h.sqlite")

# SPDX-License-Identifier: Apache-2.0
"""The command line, run in this process; start-up in a fresh one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_pytorch import __version__, cli, demo, doctor

_BUILD = """import torch
def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.GELU()).eval(), torch.randn(4, 16)
"""
_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "cli_model_for_test.py").write_text(_BUILD)
    monkeypatch.chdir(tmp_path)
    return "cli_model_for_test:build"


def test_help_and_version_do_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['kernelpytorch', '--version']\n"
        "from kernel_pytorch.cli import main\n"
        "try: main()\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert 'torch' not in sys.modules and 'rich' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"kernelpytorch {__version__}\n"


def test_module_form() -> None:
    command = [sys.executable, "-m", "kernel_pytorch", "--help"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "optimize" in done.stdout


def test_optimize_prints_the_report(model: str, any_speed: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["optimize", "--model", model, "--level", "basic"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("cli_model_for_test:build on ")
    assert "level conservative" in out


def test_optimize_json_and_file(
    model: str, any_speed: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "report.json"
    arguments = ["optimize", "-m", model, "--json", "-o", str(output), "--input-shape", "3x16", "--input-shape", "9x16"]
    assert cli.main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(output.read_text())
    assert [s["shape"] for s in printed["samples"]] == ["3x16", "9x16"]
    assert printed["kept"] is True


def test_verbose_prints_graph_and_plan(model: str, any_speed: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["optimize", "-m", model, "-v"]) == 0
    assert "kpt.graph 1" in capsys.readouterr().out


def test_errors_go_to_stderr_with_exit_code_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["optimize", "--model", "weights.bin"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("InputError: [models] got weights.bin, a pickle")


@pytest.mark.parametrize(
    "wrong",
    [[], ["optimize"], ["optimize", "-m", "x", "--level", "fast"], ["optimize", "-m", "x", "--hardware", "tpu"]],
)
def test_wrong_usage_is_exit_code_two(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(wrong)
    assert caught.value.code == 2


def test_explain(model: str, any_speed: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", model]) == 0
    names = capsys.readouterr().out.split()
    assert names
    assert cli.main(["explain", model, names[-1]]) == 0
    assert names[-1] in capsys.readouterr().out
    assert cli.main(["explain", model, "nonsense"]) == 1
    assert "no value 'nonsense'" in capsys.readouterr().err


def test_doctor_json(any_speed: None, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["doctor", "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {"python", "torch", "native library", "cpu", "settings", "small model", "gpu"} <= set(checks)
    assert checks["gpu"]["status"] == "not checked"
    assert checks["small model"]["status"] == "ok", checks["small model"]
    assert code in (0, 2)


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("not checked", 0), ("warning", 2), ("broken", 1)])
def test_doctor_exit_codes(status: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "checks", lambda: [doctor.Check("x", status, "")])
    assert cli.main(["doctor"]) == code


def test_demo_sentences(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_text("# note\na | b\n\nc\nd | e\n", encoding="utf-8")
    assert demo.read_sentences(path) == (["a", "b", "c", "d", "e"], [(0, 1), (3, 4)])
    path.write_text("alone\n", encoding="utf-8")
    assert demo.main(["--sentences", str(path)]) == 1
    assert demo.main(["--sentences", str(tmp_path / "none.txt")]) == 1

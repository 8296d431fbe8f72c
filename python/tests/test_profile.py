# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch profile`: numbers that add up, a trace that nests, a page that a browser opens. Never how fast."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from kernel_pytorch import cli
from kernel_pytorch.profiling import collect, page, roofline, text, trace
from kernel_pytorch.profiling.roofline import Roof

ROOF = Roof(100.0, ((1 << 18, 80.0), (1 << 20, 40.0), (1 << 28, 10.0)))
_BUILD = """import torch
def build():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.LayerNorm(256), torch.nn.Linear(256, 8)]
    return torch.nn.Sequential(*layers).eval(), torch.randn(16, 64)
"""


def step(value: str, start: int, ns: int, flops: int | None, moved: int, provider: str = "kpt") -> dict:
    names = {"value": value, "op": f"aten.{value}", "provider": provider, "kernel": f"{value}_cpu", "config": ""}
    more = {"where": "encoder", "stack": f"model.py:{start} forward < main.py:1"}
    times = {"start_ns": [start] * 3, "ns": [ns] * 3}
    return names | more | times | {"flops": flops, "bytes_read": moved // 2, "bytes_written": moved - moved // 2}


def made_up() -> collect.Profile:
    found = {
        "rounds": 3,
        "threads": 2,
        "call_start_ns": [0, 2_000_000, 4_000_000],
        "call_ns": [1_000_000, 1_100_000, 1_000_000],
        "steps": [
            step("linear", 10_000, 500_000, 40_000_000, 1 << 18),
            step("softmax", 520_000, 10_000, 0, 1 << 18),
            step("tiny", 540_000, 200_000, 0, 64),
            step("lstm", 750_000, 200_000, None, 64, "aten"),
        ],
        "memory": {
            "arena_bytes": 4096,
            "workspace_bytes": 64,
            "in_outputs_bytes": 0,
            "live_bytes": [1024, 2048, 2048, 512],
        },
    }
    return collect.from_steps(found, "toy <b>", "x 16x64", "conservative", ROOF, {"lstm": "no kernel of ours"})


def test_each_node_has_its_place_under_the_roof() -> None:
    p = made_up()
    linear, softmax, tiny, lstm = p.nodes
    assert (linear.bound, linear.percent) == ("compute", pytest.approx(80.0))  # 40 MFLOP at 100 GFLOP/s: 0.4 of 0.5 ms
    assert softmax.bound == "memory"
    assert softmax.percent == pytest.approx(100 * (1 << 18) / 80e9 * 1e3 / 0.01)
    assert tiny.bound == "neither"
    assert (lstm.bound, lstm.percent, lstm.fallback) == ("unknown", None, True)
    assert (p.call_ms, p.outside_ms) == (1.0, pytest.approx(0.09))
    assert linear.share == pytest.approx(0.5)


def test_bandwidth_lies_between_the_sizes_that_were_measured() -> None:
    assert [ROOF.bandwidth(n) for n in (1, 1 << 18, 1 << 19, 1 << 20, 1 << 30)] == [80, 80, pytest.approx(60), 40, 10]
    assert ROOF.least_ms(0, 0) == ("memory", 0.0)


def test_texts_name_source_fallback_and_bound() -> None:
    p = made_up()
    lines = text.detailed(p, 99, "time")
    assert "fallbacks: aten.lstm" in lines
    assert "fallback lstm: no kernel of ours" in lines
    row = next(line for line in lines.splitlines() if line.startswith("linear"))
    assert row.split()[1:5] == ["aten.linear", "kpt/linear_cpu", "model.py:10000", "forward"]
    assert row.endswith("compute")
    assert text.summary(p, 1).splitlines()[-1].startswith("aten.linear")
    assert "live at most 0.00 MiB" in text.memory(p, 9)


def test_the_trace_nests_steps_in_calls() -> None:
    events = trace.trace(made_up())["traceEvents"]
    calls = [e for e in events if e.get("cat") == "call"]
    steps = [e for e in events if e.get("cat") in ("step", "fallback")]
    assert (len(calls), len(steps)) == (3, 12)
    for i, s in enumerate(steps):
        call = calls[i // 4]
        assert call["ts"] <= s["ts"]
        assert s["ts"] + s["dur"] <= call["ts"] + call["dur"]
    assert steps[3]["cat"] == "fallback"
    assert [e["args"]["live bytes"] for e in events if e["ph"] == "C"][:4] == [1024, 2048, 2048, 512]


@pytest.fixture
def small_roof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "measure", lambda threads: ROOF)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "profile_model_for_test.py").write_text(_BUILD)
    monkeypatch.chdir(tmp_path)
    return "profile_model_for_test:build"


def test_a_real_model_adds_up(model: str, small_roof: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["profile", "--model", model, "--iterations", "5"]
    assert cli.main([*words, "--mode", "detailed", "--output", "p.json", "--html", "p.html"]) == 0
    assert "kpt/" in capsys.readouterr().out
    p = json.loads((tmp_path / "p.json").read_text())
    assert p["rounds"] == 5
    inside = sum(n["ms"] for n in p["nodes"])
    assert 0 < inside <= 1.5 * p["call_ms"]
    assert sum(n["flops"] for n in p["nodes"]) == 2 * 16 * 64 * 256 + 2 * 16 * 256 * 8
    assert cli.main([*words, "--mode", "trace", "--output", "t.json"]) == 0
    assert len([e for e in json.loads(Path("t.json").read_text())["traceEvents"] if e.get("cat") == "call"]) == 5
    for mode in ("summary", "memory"):
        assert cli.main([*words, "--mode", mode]) == 0
    assert cli.main([*words[:3], "--iterations", "1"]) == 1


def test_the_roof_is_measured() -> None:
    roof = roofline.measure(torch.get_num_threads())
    assert roof.gflops > 0
    assert len(roof.gbs) == 6
    assert all(rate > 0 for _, rate in roof.gbs)


def browser() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(browser() is None, reason="no chromium: tools/setup_system.sh browser installs it where apt may")
def test_a_browser_opens_the_page(tmp_path: Path) -> None:
    """The screenshot stays in $ARTIFACTS where that is set, as CI does."""
    folder = Path(os.environ.get("ARTIFACTS") or tmp_path)
    path, shot = tmp_path / "profile.html", folder / "profile.png"
    path.write_text(page.page(made_up()), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1400"]
    flags += [f"--user-data-dir={tmp_path / 'browser'}"]
    command = [browser(), *flags, "--virtual-time-budget=2000"]
    dom = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    assert dom.stdout.count('class="step"') == 4
    assert "toy &lt;b&gt;" in dom.stdout
    subprocess.run([*command, f"--screenshot={shot}", path.as_uri()], capture_output=True, check=True, timeout=120)
    assert shot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert shot.stat().st_size > 10_000  # a blank page of this size is 5 kB

# SPDX-License-Identifier: Apache-2.0
"""KernelPyTorchConfig mirrors the core's settings table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kernel_pytorch as kpt

_ROOT = Path(__file__).resolve().parents[1]


def test_values_have_their_types() -> None:
    config = kpt.KernelPyTorchConfig()
    assert config.level == "balanced"
    assert config.allow_fallback is True
    assert isinstance(config["num_threads"], int)
    assert set(config.to_dict()) == {setting.name for setting in config}
    assert all(setting.env.startswith("KPT_") and setting.doc for setting in config)


def test_unknown_names() -> None:
    config = kpt.KernelPyTorchConfig()
    with pytest.raises(AttributeError, match="no setting 'speed'"):
        _ = config.speed
    with pytest.raises(kpt.InputError, match="num_threads"):
        _ = config["speed"]


def test_environment_and_misspelt_names() -> None:
    code = (
        "import json, kernel_pytorch as kpt; c = kpt.KernelPyTorchConfig()\n"
        "print(json.dumps([c.level, c.unknown, {s.name: s.source for s in c}['level']]))"
    )
    env = os.environ | {"KPT_LEVEL": "conservative", "KPT_LEVLE": "x"}
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["conservative", ["KPT_LEVLE"], "environment"]

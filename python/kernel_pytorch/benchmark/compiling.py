# SPDX-License-Identifier: Apache-2.0
"""Several torch.compile variants of one model side by side in one process, each cold at first."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def own_code(model: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls the model and has a code object of its own. Dynamo keeps compiled graphs by code object:
    with a shared one, variants would find each other's graphs, and a reset would throw away those still measured."""

    def top(*args: Any, **kwargs: Any) -> Any:
        return model(*args, **kwargs)

    return types.FunctionType(top.__code__.replace(), globals(), "top", None, top.__closure__)


@contextmanager
def inductor_cache(folder: Path) -> Iterator[None]:
    """Inside, Inductor and Triton keep what they compile in this folder."""
    names = {"TORCHINDUCTOR_CACHE_DIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

# SPDX-License-Identifier: Apache-2.0
"""The structured log: one line an event under the logger `kernel_pytorch`, fields as key=value.

    event=kept model=BertModel speedup=1.31 low=1.28 high=1.34 rounds=12

Lines of the core come under the same logger with the place they were written at (where=runtime.memory). Each record
also has `event` and `fields` for handlers that want them unformatted. The core writes what the logger's level lets
through, unless KPT_LOG says otherwise.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any

LOGGER = logging.getLogger("kernel_pytorch")
LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}
_PLAIN = re.compile(r"[^\s\"=]+")


def event(level: int, name: str, **fields: Any) -> None:
    """Logs an event; fields that are None are left out."""
    if not LOGGER.isEnabledFor(level):
        return
    known = {key: value for key, value in fields.items() if value is not None}
    words = [f"event={name}", *(f"{key}={_word(value)}" for key, value in known.items())]
    LOGGER.log(level, "%s", " ".join(words), extra={"event": name, "fields": known}, stacklevel=2)


def core_line(level: str, where: str, text: str) -> None:
    """A line of the core: its text is in this form already where it tells an event."""
    if not text.startswith("event="):
        text = f"event=note text={_word(text)}"
    name = text.partition(" ")[0].removeprefix("event=")
    LOGGER.log(
        LEVELS[level], "%s where=%s", text, where, extra={"event": name, "fields": {"where": where}}, stacklevel=3
    )


def print_from(level: str) -> None:
    """What KPT_LOG asks for: lines of this level and above are printed, by the program's own handlers where it has
    some, else to stderr."""
    if LOGGER.level == logging.NOTSET:
        LOGGER.setLevel(LEVELS[level])
    if not LOGGER.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("kpt %(levelname)s %(message)s"))
        LOGGER.addHandler(handler)


def core_level() -> str:
    """The core's word for the least important level that the logger lets through."""
    wanted = LOGGER.getEffectiveLevel()
    return next((word for word, level in reversed(LEVELS.items()) if level >= wanted), "error")


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)

# SPDX-License-Identifier: Apache-2.0
"""A limit on the time of a row: what does not get built in time is recorded so, and the row goes on with the rest."""

from __future__ import annotations

import signal
import time
from typing import Any, NoReturn

# An exception out of a signal may fall into a place that swallows exceptions, a weak reference's callback for one.
_AGAIN_S = 10.0


class RowLimitError(Exception):
    """The row's time was spent."""


class Deadline:
    """`with deadline:` ends a block by RowLimitError when the time since the deadline was made is spent. 0 seconds: no
    limit. The signal is looked at between steps of Python: a single long call of C++ ends by itself first. Main thread
    only."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._end = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        return self._end - time.perf_counter() if self._seconds else float("inf")

    @property
    def over(self) -> bool:
        return self.left <= 0

    def __enter__(self) -> None:
        if not self._seconds:
            return
        if self.over:
            raise self._error()
        self._before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self.left, _AGAIN_S)

    def __exit__(self, *exception: Any) -> None:
        if self._seconds:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)

    def _ring(self, *_: Any) -> NoReturn:
        raise self._error()

    def _error(self) -> RowLimitError:
        return RowLimitError(f"not measured: the limit of {self._seconds:g} s for the row was spent (--limit)")

# SPDX-License-Identifier: Apache-2.0
"""Measurements that last, and verdicts about them: a thin layer over the core's room `tracking` (src/kpt/tracking).

store.py    records in an SQLite file, as typed objects
verdict.py  paired, historical and exact verdicts; tolerance from A/A rounds; false discoveries
tracker.py  PerformanceTracker: measure a model, keep it, compare it
cli.py      `kernelpytorch history`

Importing this package is light: torch is loaded by the first name that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .store import Entry, History, Metric
    from .tracker import (
        MetricType,
        PerformanceMetrics,
        PerformanceTracker,
        RegressionResult,
        RegressionSeverity,
        detect_regression,
        get_performance_tracker,
        track_performance,
    )
    from .verdict import Finding

_LAZY = {
    "Entry": "store",
    "History": "store",
    "Metric": "store",
    "Finding": "verdict",
    "MetricType": "tracker",
    "PerformanceMetrics": "tracker",
    "PerformanceTracker": "tracker",
    "RegressionResult": "tracker",
    "RegressionSeverity": "tracker",
    "detect_regression": "tracker",
    "get_performance_tracker": "tracker",
    "track_performance": "tracker",
}
__all__ = [
    "Entry",
    "Finding",
    "History",
    "Metric",
    "MetricType",
    "PerformanceMetrics",
    "PerformanceTracker",
    "RegressionResult",
    "RegressionSeverity",
    "detect_regression",
    "get_performance_tracker",
    "track_performance",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)

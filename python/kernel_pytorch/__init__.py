# SPDX-License-Identifier: Apache-2.0
"""KernelPyTorch: one call makes a PyTorch model faster and proves that it is still right.

>>> import kernel_pytorch as kpt
>>> fast = kpt.auto_optimize(model, sample_inputs)
>>> print(fast.report)

Importing this package is light: torch and the native library are loaded by the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .errors import (
    CaptureError,
    ConfigurationError,
    CUDADeviceError,
    CUDANotAvailableError,
    FallbackError,
    HardwareNotFoundError,
    InputError,
    InvalidArchitectureError,
    InvalidComputeCapabilityError,
    KernelLaunchError,
    KernelPyTorchError,
    MemoryAllocationError,
    ModelOptimizationError,
    NVIDIABackendError,
    OptimizationError,
    OutOfMemoryError,
    StaleWeightsError,
    UnsupportedError,
    ValidationError,
)

if TYPE_CHECKING:
    from .config import KernelPyTorchConfig
    from .device_memory import allocate_with_oom_protection, check_memory_available, memory_state
    from .module import OptimizedModule
    from .optimize import auto_optimize
    from .report import Report
    from .tracking import PerformanceMetrics, PerformanceTracker, RegressionResult, RegressionSeverity

__version__ = "0.1.0"

# Public name -> module that defines it.
_LAZY = {
    "auto_optimize": "optimize",
    "allocate_with_oom_protection": "device_memory",
    "check_memory_available": "device_memory",
    "memory_state": "device_memory",
    "OptimizedModule": "module",
    "Report": "report",
    "KernelPyTorchConfig": "config",
    "PerformanceTracker": "tracking",
    "PerformanceMetrics": "tracking",
    "RegressionResult": "tracking",
    "RegressionSeverity": "tracking",
}

__all__ = [
    "CUDADeviceError",
    "CUDANotAvailableError",
    "CaptureError",
    "ConfigurationError",
    "FallbackError",
    "HardwareNotFoundError",
    "InputError",
    "InvalidArchitectureError",
    "InvalidComputeCapabilityError",
    "KernelLaunchError",
    "KernelPyTorchConfig",
    "KernelPyTorchError",
    "MemoryAllocationError",
    "ModelOptimizationError",
    "NVIDIABackendError",
    "OptimizationError",
    "OptimizedModule",
    "OutOfMemoryError",
    "PerformanceMetrics",
    "PerformanceTracker",
    "RegressionResult",
    "RegressionSeverity",
    "Report",
    "StaleWeightsError",
    "UnsupportedError",
    "ValidationError",
    "__version__",
    "allocate_with_oom_protection",
    "auto_optimize",
    "check_memory_available",
    "memory_state",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))

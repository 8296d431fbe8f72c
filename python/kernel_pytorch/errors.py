# SPDX-License-Identifier: Apache-2.0
"""The errors of the package. Every message says [where] what it got, what it wants and what to try."""

from __future__ import annotations


class KernelPyTorchError(RuntimeError):
    """Base of every error raised on purpose here."""


class CaptureError(KernelPyTorchError):
    """The model cannot be captured whole. `auto_optimize` answers it with the original model and the reason."""


class OptimizationError(KernelPyTorchError):
    """A fault of ours while compiling or running a plan."""


class ValidationError(KernelPyTorchError):
    """The result could not be compared with the original."""


class UnsupportedError(KernelPyTorchError):
    """Asked for something that does not exist (yet). Nothing was changed."""


class FallbackError(UnsupportedError):
    """`allow_fallback=False` and an operator, a shape or a call that only PyTorch can run."""


class StaleWeightsError(KernelPyTorchError):
    """The weights were changed so that the plan no longer holds and the original is not there to run instead."""


class InputError(KernelPyTorchError, ValueError):
    """A wrong argument: also a ValueError, so that callers may catch either."""


def input_error(where: str, got: object, want: str, attempt: str) -> InputError:
    """An InputError in the one form that all messages share."""
    return InputError(f"[{where}] got {got}, want {want}, try {attempt}")

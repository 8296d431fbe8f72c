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


class MemoryAllocationError(KernelPyTorchError, MemoryError):
    """Memory was refused, of whatever device. What the caller held is as it was, and smaller calls still work."""


class HardwareNotFoundError(UnsupportedError):
    """The device that was asked for is not on this machine."""


class NVIDIABackendError(KernelPyTorchError):
    """Base of what can go wrong on an NVIDIA GPU."""


class CUDANotAvailableError(NVIDIABackendError, HardwareNotFoundError):
    """No NVIDIA driver, one that is too old, or one that sees no device."""


class CUDADeviceError(NVIDIABackendError, HardwareNotFoundError):
    """The driver has no such device, or refused a call."""


class ConfigurationError(NVIDIABackendError):
    """A library of NVIDIA's (NVRTC, cuBLASLt) is missing or too old: see the setting KPT_CUDA_PATH."""


class InvalidComputeCapabilityError(NVIDIABackendError, UnsupportedError):
    """The GPU is older than what the kernels are written for."""


class InvalidArchitectureError(NVIDIABackendError, UnsupportedError):
    """The compiler in hand (NVRTC) does not know the GPU's architecture: most often it is older than the GPU."""


class ModelOptimizationError(NVIDIABackendError, OptimizationError):
    """A kernel's source was refused by the compiler: a fault of ours."""


class KernelLaunchError(NVIDIABackendError):
    """A kernel was refused, or failed while it ran. With `context_lost` (an illegal address and the like) no later
    result of this process could be trusted, so every later call on the GPU raises this, too. The message names the
    step, or the steps queued since the last wait; with KPT_SYNC=1 always the one."""

    context_lost = False


class OutOfMemoryError(NVIDIABackendError, MemoryAllocationError):
    """A GPU's memory is short after all that is idle here was freed."""


def input_error(where: str, got: object, want: str, attempt: str) -> InputError:
    """An InputError in the one form that all messages share."""
    return InputError(f"[{where}] got {got}, want {want}, try {attempt}")

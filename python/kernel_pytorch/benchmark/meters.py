# SPDX-License-Identifier: Apache-2.0
"""What else the machine tells: peak memory, energy, clocks, throttling. A meter that is not there says why."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..machine import busy_seconds

# Energy counters tick every millisecond (RAPL) to 100 ms (NVML): a burst of this length holds enough ticks.
_BURST_S = 1.0
_RAPL = Path("/sys/class/powercap")
_CPU = Path("/sys/devices/system/cpu/cpu0")


class Nvml:
    """The few calls of libnvidia-ml that are needed. OSError where there is no driver."""

    def __init__(self, index: int = 0):
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._handle = ctypes.c_void_p()
        self._check(self._library.nvmlInit_v2())
        self._check(self._library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(self._handle)))

    def _check(self, code: int) -> None:
        if code:
            raise OSError(f"[benchmark] got error {code} of NVML, want 0, try nvidia-smi")

    def driver(self) -> str:
        """Version of the driver, 580.95.05 for one."""
        text = ctypes.create_string_buffer(96)
        self._check(self._library.nvmlSystemGetDriverVersion(text, 96))
        return text.value.decode()

    def energy_mj(self) -> float:
        """Millijoules since the driver was loaded."""
        value = ctypes.c_ulonglong()
        self._check(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(value)))
        return float(value.value)

    def sm_mhz(self) -> int:
        value = ctypes.c_uint()
        self._check(self._library.nvmlDeviceGetClockInfo(self._handle, 1, ctypes.byref(value)))  # 1: the SM clock
        return value.value

    def throttle_reasons(self) -> int:
        """Bits of nvmlClocksEventReasons; 0 or 1 (idle) is none."""
        value = ctypes.c_ulonglong()
        self._check(self._library.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle, ctypes.byref(value)))
        return value.value


@cache
def nvml() -> Nvml | str:
    """NVML, or why it is not here."""
    try:
        return Nvml()
    except OSError as error:
        return str(error)


def _rapl_files() -> list[Path]:
    # Packages only (intel-rapl:0, also on AMD): their parts are inside the package's own count.
    return sorted(f for f in _RAPL.glob("*-rapl:[0-9]*/energy_uj") if f.parent.name.count(":") == 1)


def energy_meter(device: str) -> Callable[[], float] | str:
    """A function that gives millijoules spent so far, or why there is none."""
    if device == "cuda":
        found = nvml()
        return found if isinstance(found, str) else found.energy_mj
    files = _rapl_files()
    if not files:
        return "no RAPL counters under /sys/class/powercap"
    if not all(os.access(f, os.R_OK) for f in files):
        return f"{files[0]} is readable by root only"
    return lambda: sum(int(f.read_text()) for f in files) / 1e3


def energy_per_call(meter: Callable[[], float], call: Callable[[], Any], synchronise: Callable[[], None]) -> float:
    """Millijoules of a call over a burst, the whole package with what it burns idle."""
    synchronise()
    start, before, calls = time.perf_counter(), meter(), 0
    while time.perf_counter() - start < _BURST_S:
        call()
        synchronise()
        calls += 1
    return (meter() - before) / calls


class PeakMemory:
    """Peak of the process above what it held at the start, in MB: resident memory on the CPU, allocated on the GPU.

    with PeakMemory("cpu") as peak: ...; peak.mb is None where the kernel does not let the peak be reset.
    """

    def __init__(self, device: str):
        self._device = device
        self.mb: float | None = None

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self._device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated() / 2**20
            return self
        ctypes.CDLL(None).malloc_trim(0)  # else memory that others freed hides what this one needs
        try:
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
        except OSError:
            self._before = None
            return self
        self._before = resident_mb()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before is None:
            return
        peak = torch.cuda.max_memory_allocated() / 2**20 if self._device == "cuda" else resident_mb("VmHWM")
        self.mb = round(max(0.0, peak - self._before), 1)


def resident_mb(field: str = "VmRSS") -> float:
    """Resident memory of this process now, or with VmHWM its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise OSError(f"[benchmark] got no {field} in /proc/self/status, want Linux")


def cpu_seconds() -> tuple[float, float]:
    """Seconds that all processors together were busy since boot, and those that this process had of them."""
    own, busy = os.times(), busy_seconds()
    if busy is None:
        raise OSError("[benchmark] got no times of the processors from /proc/stat, want Linux")
    return busy, own.user + own.system


def clocks(device: str) -> dict[str, Any]:
    """Clock, throttling and load at this moment; what cannot be read is left out."""
    facts: dict[str, Any] = {"load": round(os.getloadavg()[0], 2)}
    frequency = _CPU / "cpufreq" / "scaling_cur_freq"
    if frequency.exists():
        facts["cpu_mhz"] = round(int(frequency.read_text()) / 1000)
    throttled = _CPU / "thermal_throttle" / "core_throttle_count"
    if throttled.exists():
        facts["cpu_throttle_count"] = int(throttled.read_text())
    found = nvml() if device == "cuda" else ""
    if isinstance(found, Nvml):
        facts["gpu_mhz"], facts["gpu_throttle_reasons"] = found.sm_mhz(), found.throttle_reasons()
    return facts

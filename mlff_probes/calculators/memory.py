"""Out of memory: how host and device say so, and how to have back what a failed call held."""

from __future__ import annotations

import contextlib
import gc
import math
import re
import resource
import sys
from pathlib import Path

from mlff_probes.core.records import NOT_STATED

HOST = ("DefaultCPUAllocator", "alloc_cpu.cpp", "std::bad_alloc")
"""How torch says it of the host, in a plain RuntimeError."""

DEVICE = ("out of memory", "ALLOC_FAILED", "RESOURCE_EXHAUSTED")
"""How torch (compiled models included), CUDA's libraries and JAX say it of a device."""


def exhausted(error: BaseException, device: str) -> str | None:
    """Whose memory ran out, ``host`` or for instance ``cuda:0``; None if `error` is about something else.

    Parameters
    ----------
    error
        What a calculator raised, or whose cause it was.
    device
        Where that calculator computes.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return "host"
        if isinstance(cause, RuntimeError) and any(words in str(cause) for words in HOST):
            return "host"
        if _of_device(cause):
            gpu = re.search(r"\bGPU (\d+)", str(cause))
            return f"cuda:{gpu[1]}" if gpu else {"cpu": "host", NOT_STATED: "the device"}.get(device, device)
        cause = cause.__cause__
    return None


def _of_device(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # who has not loaded it raises none of its errors
    if isinstance(error, getattr(torch, "OutOfMemoryError", ())):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in DEVICE)


def release() -> None:
    """Give back what nobody holds any more; on a device torch would keep it for itself."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None:
        with contextlib.suppress(RuntimeError):  # a device that has failed altogether
            torch.cuda.empty_cache()


def reset_host_peak() -> bool:
    """Reset the peak memory of this process; False where the system cannot (not Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def host_bytes_available() -> float:
    """Memory that this process could still have, in bytes; infinite where the system does not say (not Linux)."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else math.inf


def host_peak_bytes() -> int:
    """Peak resident memory of this process, in bytes: since `reset_host_peak` where that can be, else so far."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found:
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB

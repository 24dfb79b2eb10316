"""Where a calculator computes: how to wait for it, and what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _nothing() -> None:
    """Stand-in for a device that needs no synchronising and no resetting."""


@dataclass(frozen=True)
class Device:
    """What a timer must be able to ask of the device that a calculator computes on.

    Attributes
    ----------
    synchronize
        Waits until the device has finished; called before a clock is read.
    reset_peak, peak_bytes
        Resets the peak, and the peak memory of the device since then, in bytes. `peak_bytes` is None
        where the device has no memory of its own, as a CPU, whose memory is that of the process.
    allocated_bytes
        All memory that was ever asked for on the device, in bytes, as torch's allocator counts it: it grows with every
        call that computes there. None where nobody counts.
    """

    synchronize: Callable[[], None] = _nothing
    reset_peak: Callable[[], None] = _nothing
    peak_bytes: Callable[[], int] | None = None
    allocated_bytes: Callable[[], int] | None = None

    @property
    def waits(self) -> bool:
        """Whether `synchronize` does anything."""
        return self.synchronize is not _nothing

    def now(self, clock: Callable[[], float]) -> float:
        """What `clock` says once the device has finished."""
        self.synchronize()
        return clock()


HOST = Device()
"""The processor and memory of the process itself."""


def torch_device_of(device: str) -> Device:
    """The device of this torch name."""
    import torch

    if device == "mps":
        return Device(synchronize=torch.mps.synchronize)
    if not device.startswith("cuda"):
        return HOST
    return Device(
        synchronize=lambda: torch.cuda.synchronize(device),
        reset_peak=lambda: torch.cuda.reset_peak_memory_stats(device),
        peak_bytes=lambda: int(torch.cuda.max_memory_allocated(device)),
        allocated_bytes=lambda: int(torch.cuda.memory_stats(device).get("allocated_bytes.all.allocated", 0)),
    )

"""A GPU that nobody has: it works behind the host's back, in a time of its own, until it is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.device import Device
from mlff_probes.calculators.stages import stage
from mlff_probes.core.records import CalculatorIdentity


class FakeGpu:
    """Work is queued, and done while the host goes on; `synchronize` waits for it.

    Attributes
    ----------
    now
        The time, s.
    idle_at
        When all that was queued is done, s.
    """

    def __init__(self) -> None:
        self.now = self.idle_at = 0.0
        self.allocated = self.peak = 0
        self.waits = 0

    def clock(self) -> float:
        """The time, s."""
        return self.now

    def host(self, seconds: float) -> None:
        """The host is busy."""
        self.now += seconds

    def launch(self, seconds: float, size: int = 1) -> None:
        """Queue work that takes so long, and so many bytes."""
        self.idle_at = max(self.idle_at, self.clock()) + seconds
        self.allocated += size
        self.peak = max(self.peak, size)

    def synchronize(self) -> None:
        """Wait until all is done."""
        self.waits += 1
        self.now = max(self.now, self.idle_at)

    def reset_peak(self) -> None:
        """Forget the peak."""
        self.peak = 0

    @property
    def device(self) -> Device:
        """As the suite sees it."""
        return Device(self.synchronize, self.reset_peak, lambda: self.peak, lambda: self.allocated)


class RealTimeGpu(FakeGpu):
    """The same in the time of the wall."""

    def clock(self) -> float:
        """The time, s."""
        return time.perf_counter()

    def synchronize(self) -> None:
        """Wait until all is done."""
        while time.perf_counter() < self.idle_at:
            pass


Cost = Callable[[int, int], float]
"""(number of the call, atoms) -> seconds on the device."""


class OnGpu(AseCalculator):
    """Zero energy and forces, in a known time: `launch_s` on the host, then `cost` on the device.

    A batched pass takes the host as long as a single call: 40 % for neighbours, 60 % for the rest, and 10 % of
    the time on the device are copies.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, gpu: FakeGpu, cost: Cost, *, launch_s: float = 1e-3, bytes_an_atom: int = 2**20) -> None:
        super().__init__()
        self.gpu, self.cost, self.launch_s, self.bytes_an_atom = gpu, cost, launch_s, bytes_an_atom
        self.calls = 0
        self.seen: list[np.ndarray] = []
        self.asked: list[tuple[str, ...]] = []

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.seen.append(atoms.positions.copy())
        self.asked.append(tuple(properties))
        self.gpu.host(self.launch_s)
        self.work(len(atoms))
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}

    def work(self, atoms: int, part: float = 1.0) -> None:
        """Queue a call's work."""
        self.calls += 1
        self.gpu.launch(part * self.cost(self.calls, atoms), self.bytes_an_atom * atoms)

    def batch(self, frames, forces):
        """One pass; energies alone take half the time of the device."""
        atoms = sum(map(len, frames))
        with stage("neighbours"):
            self.gpu.host(0.4 * self.launch_s)
        with stage("copies"):
            self.gpu.launch(0.1 * self.cost(self.calls, atoms))
        with stage("model"):
            self.gpu.host(0.6 * self.launch_s)
            self.work(atoms, 0.9 if forces else 0.4)
        return [(0.0, np.zeros((len(frame), 3)) if forces else None) for frame in frames]


def on_gpu(model: OnGpu, *, batch: bool = True, **changes) -> Calculator:
    """The calculator of the suite around `model`."""
    identity = CalculatorIdentity(
        spec="on_gpu", label="on_gpu", family="mace", dtype="float32", device="cuda:0", device_name="Fake H100",
        threads=1, kernels="cuequivariance", tf32=False, cuda="12.8", driver="570.86", batched=batch,
        versions={"torch": "2.13.0"},
    )  # fmt: skip
    return Calculator(
        identity, model, batch=model.batch if batch else None, batch_atoms=10**6,
        properties=frozenset(model.implemented_properties), device=changes.pop("device", model.gpu.device), **changes,
    )  # fmt: skip

"""Says how far a simulation is, how fast it goes, and when it will be done."""

from __future__ import annotations

from collections.abc import Callable

from mlff_probes.core.progress import Paced, Report, unheard
from mlff_probes.methods.simulation.recorder import Recorder
from mlff_probes.methods.simulation.settings import SimulationSettings

DAY_S, FS_IN_NS = 86400.0, 1e6


class Progress:
    """Says how far a simulation is, how fast it goes, and when it will be done."""

    def __init__(
        self, protocol: SimulationSettings, report: Report, clock: Callable[[], float], *, paced: Paced = unheard
    ) -> None:
        self._protocol, self._report, self._clock, self._paced = protocol, report, clock, paced
        self._start_s, self._first = 0.0, 0

    def begin(self, step: int) -> None:
        """Start the clock at `step`."""
        self._start_s, self._first = self._clock(), step

    def tell(self, step: int, recorder: Recorder) -> None:
        """Report the sample at `step`."""
        protocol = self._protocol
        before = protocol.equilibration_steps
        stage = (
            f"{protocol.equilibrated_in} equilibration, step {step:,} of {before:,}"
            if step < before
            else f"{protocol.ensemble} production, step {step - before:,} of {protocol.steps:,}"
        )
        sample = recorder.last()
        kelvin = sample.temperatures(3 * len(sample.masses)).mean()
        step_s = max(self._clock() - self._start_s, 1e-9) / (step - self._first)
        self._paced(step_s / recorder.replicas)
        self._paced = unheard  # from now on
        speed = protocol.timestep_fs / FS_IN_NS * recorder.replicas * DAY_S / step_s
        minutes, seconds = divmod(round((before + protocol.steps - step) * step_s), 60)
        pace = f"{speed:.2f}" if speed < 10 else f"{speed:,.0f}"
        self._report(f"{stage}, {minutes}:{seconds:02d} left, {pace} ns/day, {kelvin:.0f} K")

"""What has ended a simulation: numbers that are none, atoms that fused or fell apart, heat that runs away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase import Atoms

from mlff_probes.core.structures import derived
from mlff_probes.methods.bands import outcomes
from mlff_probes.methods.bands.outcomes import structure_explosion
from mlff_probes.methods.neighbours import widest_gap

if TYPE_CHECKING:
    from mlff_probes.methods.simulation.engine import Sample
    from mlff_probes.methods.simulation.settings import SimulationSettings

Kind = outcomes.Kind | Literal["runaway temperature", "rough start"]
"""How a simulation may end: as the structures of bands do, by its heat, and by its start before it began."""

GEOMETRY_STEPS = 10
"""Distances are looked at this many steps apart or more: in some 10 fs no fragment leaves, and atoms that fused stay
so. A look takes 1 ms at 300 atoms, where ten steps of a model take a second. The last steps of the equilibration and
of the whole simulation are looked at in any case: nothing comes after them that would show what they missed."""

RUNAWAY_FACTOR, RUNAWAY_K, RUNAWAY_DEVIATIONS = 3.0, 1000.0, 10.0
"""A temperature has run away that is this many times its target, and this far above it, and above it by this many
standard deviations of the canonical ensemble. The second leaves room for the potential energy of a start that is not
at rest, where the target is low; the third for small cells, whose temperature fluctuates by T sqrt(2 / 3N): with
five atoms it passes three times the target once in some ten thousand samples, and 4.7 times never."""


@dataclass(frozen=True)
class End:
    """What ended a simulation, and where: the step counts from the first one of the equilibration, and so does time."""

    kind: Kind
    reason: str
    step: int
    time_fs: float
    replica: int


class Watch:
    """Looks at samples of one simulation and says when it has ended.

    Parameters
    ----------
    start
        The structure at the beginning: which gaps are normal is measured there.
    protocol
        Temperature, timestep, how many steps there are, and how often samples are taken.
    """

    def __init__(self, start: Atoms, protocol: SimulationSettings) -> None:
        self._frame = derived(start)
        self._timestep_fs = protocol.timestep_fs
        self._freedom = 3 * len(start)
        self._gap = widest_gap(start)
        self._highest_k = runaway_temperature(protocol.temperature, self._freedom)
        self._every = -(-GEOMETRY_STEPS // protocol.sample_every) * protocol.sample_every
        self._always = (protocol.equilibration_steps, protocol.equilibration_steps + protocol.steps)

    def sample(self, step: int, sample: Sample) -> End | None:
        """What has ended the simulation in this sample, or None."""
        for replica, temperature in enumerate(sample.temperatures(self._freedom)):
            if not temperature <= self._highest_k:  # nor where it is no number
                reason = f"{temperature:,.0f} K, above {self._highest_k:,.0f} K"
                return self.end("runaway temperature", reason, step, replica)
        if step % self._every and step not in self._always:
            return None
        for replica, (positions, cell) in enumerate(zip(sample.positions, sample.cells, strict=True)):
            self._frame.cell[:] = cell
            self._frame.positions[:] = positions
            if found := self.geometry(step, replica, self._frame):
                return found
        return None

    def geometry(self, step: int, replica: int, atoms: Atoms) -> End | None:
        """What is wrong with the geometry of one replica, or None."""
        found = structure_explosion(atoms, self._gap)
        return None if found is None else self.end(*found, step, replica)

    def end(self, kind: Kind, reason: str, step: int, replica: int) -> End:
        """An end at `step`."""
        return End(kind, reason, step, step * self._timestep_fs, replica)


def runaway_temperature(target: float, degrees_of_freedom: int) -> float:
    """The temperature, K, above which that of a few atoms is no fluctuation any more."""
    deviations = 1 + RUNAWAY_DEVIATIONS * np.sqrt(2 / degrees_of_freedom)
    return float(max(target * RUNAWAY_FACTOR, target * deviations, target + RUNAWAY_K))
